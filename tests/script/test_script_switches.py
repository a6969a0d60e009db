"""The model under every switch of the review against a transcription by somebody who had not seen it.

:mod:`tests.oracles.oracle_switches` was written from the sources alone.  Pages are asked about under every
value of every switch, and by random search under any combination of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.kernel.switches import SWITCHES as POINTS
from hwsim.machine import Machine
from hwsim.memory.layout import MemoryLayout
from tests.oracles.oracle_switches import SwitchCase, Switches, TaskPolicy, decide
from tests.oracles.oracle_v5 import FLAGS, Mapper, Mapping, PageCase, contradictions, flagset
from tests.script.test_script_oracle import MAPPINGS, cases, every_flags, make_machine, run_case
from tests.support.worlds import world

VALUES: dict[str, tuple[Any, ...]] = {
    name: get_args(hint) for name, hint in get_type_hints(Switches).items() if name != "keeps_poisoned"
}
#: What the oracle has no field for: it decides nothing about one page.
ELSEWHERE = {"close_reports", "meminfo_name", "mca_recovery", "unmap_retry_chance"}
KILLS = ("default", "early", "late")


@lru_cache(maxsize=64)
def machine(switches: Switches) -> Machine:
    """A machine whose kernel has these switches."""
    chosen = tuple((each.name, getattr(switches, each.name)) for each in fields(Switches))
    spec = world(switches=chosen)
    return Machine(spec, 0, MemoryLayout(spec), trace=True)


def check(case: PageCase, switches: Switches, policies: dict[str, TaskPolicy] | None = None) -> None:
    asked = SwitchCase(case, switches, policies or {})
    wanted = decide(asked)
    known = {name: (each.mce_kill, each.catches) for name, each in (policies or {}).items()}
    found = run_case(machine(switches), case, known)
    found.pop("before")
    for name, value in found.items():
        assert value == getattr(wanted, name), (name, asked)


def test_every_switch_is_asked_with_all_its_values() -> None:
    model = {each.name: set(each.allowed) for each in POINTS if each.name not in ELSEWHERE}
    assert {name: set(values) for name, values in VALUES.items()} == model


def test_without_a_switch_it_is_the_transcription_of_v5() -> None:
    from tests.oracles.oracle_v5 import decide as decide_v5

    compared = 0
    for flags in every_flags()[::5]:
        for mapping in MAPPINGS:
            where: Mapping | None = "swapper" if "swapcache" in flags else mapping
            case = PageCase(flags, anon=mapping is None, mapping=where, mappers=(Mapper("app", 100),))
            if not contradictions(case):
                assert vars(decide(SwitchCase(case))) == vars(decide_v5(case))
                compared += 1
    assert compared > 1000


SWITCHED_ONCE = [(name, value) for name in VALUES for value in VALUES[name][1:]]


def flags_cases(*, both: bool) -> Iterator[PageCase]:
    """All 2048 flag combinations, mapped and not, dirty or not in the page table.

    Each with one kind of owner in turn and, unless ``both``, with one policy in turn.
    """
    for number, flags in enumerate(every_flags()):
        mapping = MAPPINGS[number % len(MAPPINGS)]
        where: Mapping | None = "swapper" if "swapcache" in flags else mapping
        for mapped, pte_dirty in ((False, False), (True, False), (True, True)):
            mappers = (Mapper("app", 100, pte_dirty=pte_dirty),) if mapped else ()
            for early_kill in (0, 1) if both else (number // len(MAPPINGS) % 2,):
                yield PageCase(
                    flags, anon=mapping is None, mapping=where, mappers=mappers, early_kill=early_kill
                )


@pytest.mark.parametrize(("name", "value"), SWITCHED_ONCE)
def test_all_flags_under_one_switch(name: str, value: Any) -> None:
    switches = replace(Switches(), **{name: value})
    cases_ = [case for case in flags_cases(both=False) if not contradictions(case)]
    assert len(cases_) > 4_500
    for case in cases_:
        check(case, switches)


@pytest.mark.parametrize("private", [None, "idle", "busy"])
@pytest.mark.parametrize("flags", ["lru", "lru dirty", "lru mlocked", "lru dirty mlocked", "", "dirty"])
@pytest.mark.parametrize("test", VALUES["blockdev_test"])
def test_block_device_pages(test: Any, flags: str, private: Any) -> None:
    for pins in (0, 1):
        for mappers in ((), (Mapper("app", 100),), (Mapper("app", 100, writable=True),)):
            case = PageCase(flagset(flags), mapping="blockdev", private=private, pins=pins, mappers=mappers)
            check(case, Switches(blockdev_test=test))


SWITCHED = st.builds(Switches, **{name: st.sampled_from(values) for name, values in VALUES.items()})
POLICIES = st.builds(TaskPolicy, mce_kill=st.sampled_from(KILLS), catches=st.booleans())


@given(cases(), SWITCHED, st.dictionaries(st.sampled_from(["a", "b", "c"]), POLICIES))
@settings(max_examples=2000)
def test_odd_pages_under_any_switches(
    case: PageCase, switches: Switches, policies: dict[str, TaskPolicy]
) -> None:
    if not contradictions(case):
        check(case, switches, policies)


def test_the_search_knows_all_flags() -> None:
    assert len(every_flags()) == 2 ** len(FLAGS)
    assert make_machine().kernel.profile == machine(Switches()).kernel.profile
