"""The accelerated scenarios together meet everything the v5 kernel can do, and nothing beside it."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwsim.explaining.reach import UNREACHABLE, possible_reach
from hwsim.machine import run_replication
from hwsim.record import Ecc, FaultEnd, FaultMode, LostEnd, Permanence, ReadsFind, Result, Swallowed, ToldBy
from hwsim.spec import MachineSpec, Spec
from tests.support.rows import allowed, values
from tests.whole.accelerated import accelerated_spec, run
from tests.whole.shipped import NAMES

pytestmark = pytest.mark.xdist_group("accelerated")  # those who look at these runs share a process
# Words that no shipped scenario comes to, each with what does.
ELSEWHERE: dict[tuple[str, str], dict[Any, str]] = {
    ("signals", "result"): {Result.LOOPING: "a handler that returns to the access"},
    ("lost_writes", "eio"): {0: "a page that another handler has dropped"},
    ("lost_writes", "told_by"): {ToldBy.READ: "a page that is kept in the cache"},
    ("lost_writes", "reads_find"): {ReadsFind.EIO: "the same"},
    ("lost_writes", "swallowed"): {Swallowed.EXIT: "a task that dies, where close() tells"},
    ("lost_writes", "end"): {LostEnd.TRUNCATED: "a script"},
    ("faults", "mode"): dict.fromkeys(
        (FaultMode.WORD, FaultMode.BANK, FaultMode.MULTI_BANK, FaultMode.MULTI_RANK, FaultMode.CHANNEL),
        "more machines: they are rare",
    ),
    ("faults", "permanence"): {Permanence.INTERMITTENT: "dram.intermittent"},
    ("faults", "outcome"): {
        Ecc.NONE: "on-die ECC",
        Ecc.SILENT: "machines without ECC",
        Ecc.MISCORRECTED: "SECDED and a fault of many bits",
    },
    ("faults", "end"): {
        FaultEnd.OVERWRITTEN: "a line that is seldom read",
        FaultEnd.REBOOTED: "the same, in a machine that panics",
        FaultEnd.SPARED: "row sparing",
        FaultEnd.PPR: "post-package repair",
    },
}
HWSIM = Path(__file__).resolve().parents[2] / "hwsim"
V5 = Spec("small", 1, 1, 1, MachineSpec(memory_pages=1))
POSSIBLE = possible_reach(V5)


def _met() -> Counter[str]:
    met: Counter[str] = Counter()
    for name in NAMES:
        for early_kill in (1, 0):
            met.update(run(name, early_kill).reach)
    return met


def test_the_scenarios_meet_all_that_v5_can_do() -> None:
    assert set(POSSIBLE) - set(_met()) == set()


def test_nothing_is_met_that_should_not_exist() -> None:
    assert set(_met()) - set(POSSIBLE) == set()


def test_the_rows_come_to_every_word_that_their_columns_allow() -> None:
    held = values(each for name in NAMES for kill in (1, 0) for each in run(name, kill).replications)
    unseen = {column: words - held[column] for column, words in allowed().items() if words - held[column]}
    assert unseen == {column: set(words) for column, words in ELSEWHERE.items()}


def test_the_merged_kernel_meets_only_what_it_can() -> None:
    """The accelerated scenarios under 2.6.32, each a few times."""
    met: Counter[str] = Counter()
    for name in NAMES:
        spec = accelerated_spec(name)
        spec = replace(spec, machine=replace(spec.machine, kernel="2.6.32", early_kill=None))
        for index in range(3):
            met.update(run_replication(spec, index).reach)
    merged = Spec("small", 1, 1, 1, MachineSpec(memory_pages=1, kernel="2.6.32"))
    assert set(met) - set(possible_reach(merged)) == set()
    assert met["exit:non_lru"] > 100
    assert {f"row:{row}" for row in (6, 7, 8, 9, 12, 13)} <= set(met)


def test_possible_and_unreachable_share_nothing() -> None:
    assert set(POSSIBLE) & set(UNREACHABLE) == set()
    assert all(text.strip() for text in (*POSSIBLE.values(), *UNREACHABLE.values()))


def _emitted() -> tuple[set[str], set[str]]:
    """The keys that the source hands to reach(): whole ones, and the beginnings of composed ones."""
    whole: set[str] = set()
    begun: set[str] = set()
    for path in HWSIM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr != "reach" or len(node.args) != 1:
                continue
            key = node.args[0]
            if isinstance(key, ast.JoinedStr) and isinstance(key.values[0], ast.Constant):
                begun.add(str(key.values[0].value))
            else:
                whole |= {
                    part.value
                    for part in ast.walk(key)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
    return whole, begun


def test_every_key_in_the_source_is_known() -> None:
    """A new call of reach() needs a line in POSSIBLE, and so a scenario that comes there."""
    whole, begun = _emitted()
    assert "ring:overflow" in whole, "the search itself finds nothing"
    assert "row:" in begun, "the search itself finds nothing"
    assert whole - set(POSSIBLE) - set(UNREACHABLE) == set()
    assert {start for start in begun if not any(key.startswith(start) for key in POSSIBLE)} == set()


def test_every_known_key_is_in_the_source() -> None:
    whole, begun = _emitted()
    assert {key for key in POSSIBLE if key not in whole and not key.startswith(tuple(begun))} == set()


@pytest.mark.parametrize(
    ("switch", "rows"),
    [("unevictable_lru", {8, 9}), ("mlocked_page_bit", {10, 11}), ("pageflags_extended", {5})],
)
def test_a_build_without_a_switch_lacks_its_rows(switch: str, rows: set[int]) -> None:
    built = replace(V5, machine=replace(V5.machine, **{switch: False}))
    assert set(POSSIBLE) - set(possible_reach(built)) == {f"row:{row}" for row in rows}
