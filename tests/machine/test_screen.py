"""Machines that are settled over arrays leave what they leave when they are played."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from hwsim.machine import Machine, MemoryLayout, run_replications
from hwsim.machine.screen import screened
from hwsim.record import Replication
from hwsim.spec import Delay, ErrorSpec, KernelPoolSpec, Place, ScrubSpec, Spec, TimesSpec
from hwsim.units import MAX_NS
from tests.support.all_kinds import DAY_NS, FEW_FLAGS, all_kinds

HOUR_NS = DAY_NS // 24
SLOW = TimesSpec(
    rendezvous=Delay("lognormal", mean_ns=300_000_000, sigma=1.0),  # some take longer than a second
    lock_wait=Delay("exponential", mean_ns=5_000_000, chance=0.3),
    workqueue=Delay("uniform", low_ns=1, high_ns=HOUR_NS),
    page_handler=Delay("exponential", mean_ns=HOUR_NS, chance=0.7),
)
AT_ONCE = TimesSpec(rendezvous=Delay(), return_to_user=Delay(), workqueue=Delay(), page_handler=Delay())
WORLDS: dict[str, dict[str, Any]] = {
    "v5": {},
    "2.6.32": {"kernel": "2.6.32", "early_kill": 1},
    "few flags": FEW_FLAGS,
    "logged only": {"scrub": ScrubSpec(HOUR_NS, "UCNA")},
    "fatal": {"scrub": ScrubSpec(HOUR_NS, "fatal"), "reboot_ns": HOUR_NS},
    "no scrubber": {"scrub": ScrubSpec(None)},
    "not signalled": {"scrub": ScrubSpec(HOUR_NS, "none")},
    "the end": {"reboot_ns": None},
    "rarely repaired": {"repair_share": 0.4, "reboot_ns": HOUR_NS},
    "slow": {"times": SLOW, "scrub": ScrubSpec(HOUR_NS)},
    "slow, and a panic if it is": {"times": SLOW, "tolerant": 0},
    "blocks": {"alloc_per_s": 0.05, "alloc_order": 3, "scrub": ScrubSpec(HOUR_NS)},
    "off the list": {"switches": (("free_page_policy", "take_off_buddy"),), "scrub": ScrubSpec(HOUR_NS)},
    "not all is seen": {"hidden_pages": 2000, "scrub": ScrubSpec(HOUR_NS)},
}


def play(spec: Spec, index: int, layout: MemoryLayout) -> Replication:
    machine = Machine(spec, index, layout)
    machine.run()
    return machine.result()


def settled_and_played(spec: Spec, indices: range) -> Counter[str]:
    """How many were settled in which way, each of them held against the machine."""
    found, layout = screened(spec, indices, MemoryLayout(spec)), MemoryLayout(spec)
    for index, result in found.items():
        assert result._replace(settled="") == play(spec, index, layout)
    return Counter(result.settled for result in found.values())


@pytest.mark.parametrize("more", WORLDS.values(), ids=list(WORLDS))
def test_as_if_played(more: dict[str, Any]) -> None:
    ways = settled_and_played(all_kinds(days=3, **more), range(400))
    assert ways.total() - ways[""] > 60


@pytest.mark.parametrize(
    "more",
    [
        {"times": AT_ONCE, "scrub": ScrubSpec(HOUR_NS)},  # nobody can tell the find from what comes of it
        {"kernel": "2.6.32", "recovery": 0, "repair_share": 0.4, "scrub": ScrubSpec(DAY_NS)},  # it panics
    ],
    ids=["at once", "no recovery"],
)
def test_where_arithmetic_cannot_tell_machines_are_played(more: dict[str, Any]) -> None:
    ways = settled_and_played(all_kinds(days=2, **more), range(600))
    assert ways["free page, found by the scrubber"] == ways["kernel page, found by the scrubber"] == 0


def test_a_worker_may_come_after_decades() -> None:
    later = Delay("uniform", low_ns=0, high_ns=1 << 61)
    spec = all_kinds(days=40_000, alloc_per_s=0.0, user_share=0.0, times=TimesSpec(workqueue=later))
    assert settled_and_played(spec, range(400))["free page, found by the scrubber"] > 10


def test_in_every_way() -> None:
    ways = settled_and_played(all_kinds(days=2), range(600))
    logged = settled_and_played(all_kinds(days=2, scrub=ScrubSpec(HOUR_NS, "UCNA")), range(200))
    assert set(ways + logged) - {""} == {
        "never found",
        "healed",
        "panic",
        "found, and logged only",
        "free page, found by the scrubber",
        "clean file page, found by the scrubber",
        "kernel page, found by the scrubber",
    }


def test_errors_of_several_sources_that_come_at_a_rate() -> None:
    """Machines with one error are settled; those with none are not asked for, those with more are played."""
    spec = all_kinds(
        ErrorSpec(0.4 / 86_400, Place("kind", "slab"), permanent=1.0),
        ErrorSpec(0.4 / 86_400, Place("region", "free"), start_ns=HOUR_NS, end_ns=20 * HOUR_NS),
    )
    found, layout = screened(spec, range(400), MemoryLayout(spec)), MemoryLayout(spec)
    errors = {index: len(play(spec, index, layout).errors) for index in range(400)}
    assert {errors[index] for index in found} == {1}
    assert set(errors.values()) > {0, 1, 2}
    assert {row.source for result in found.values() for row in result.errors} == {0, 1}
    settled_and_played(spec, range(400))


def test_up_to_the_longest_horizon() -> None:
    """Errors, reads and owners that come once a century: waits that only an int64 can hold."""
    per_s = 1.0 / (100 * 365.25 * 86_400)
    spec = replace(
        all_kinds(ErrorSpec(per_s), scrub=ScrubSpec(MAX_NS // 2), alloc_per_s=6_000 * per_s),
        horizon_ns=MAX_NS,
        tasks=(),
        files=(),
        pools=(KernelPoolSpec("slab", 3_000, load_per_s=64 * per_s, lifetime_ns=MAX_NS),),
    )
    ways = settled_and_played(spec, range(400))
    assert {"healed", "panic", "free page, found by the scrubber"} <= set(ways)


def test_who_is_not_alone_is_not_screened() -> None:
    spec = all_kinds()
    for other in (
        replace(spec, errors=(ErrorSpec(count=1, burst_pages=2),)),
        replace(spec, errors=(ErrorSpec(count=2),)),
        replace(spec, machine=replace(spec.machine, tolerant=3)),
    ):
        assert screened(other, range(30), MemoryLayout(other)) == {}


def test_a_machine_is_settled_alike_in_whatever_company() -> None:
    spec = all_kinds(days=3)
    together = list(run_replications(spec, range(200)))
    apart = [each for first in range(0, 200, 40) for each in run_replications(spec, range(first, first + 40))]
    assert apart == together


def test_a_case_that_goes_another_way_than_expected_is_always_played(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes a nanosecond for something that the arithmetic knows nothing of."""
    spec = all_kinds(days=3)
    result = Machine.result

    def later(machine: Machine) -> Replication:
        found = result(machine)
        rows = [row._replace(poisoned_ns=row.poisoned_ns and row.poisoned_ns + 1) for row in found.errors]
        return found._replace(errors=rows)

    monkeypatch.setattr(Machine, "result", later)
    ways = Counter(result.settled for result in screened(spec, range(300), MemoryLayout(spec)).values())
    assert set(ways) == {"never found", "healed", "panic", ""}
