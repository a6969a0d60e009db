"""The tool that compares what two trees leave behind names what differs, and nothing where nothing does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.copied_tree import copy_tree
from tools.same_bytes import ROOT, Comparison, compare, difference_of, jobs_of

WORLD = ["world", "scenarios/drill.toml", ["vm.memory_failure_early_kill=1"], 1]
COMMAND = ["command", ["explain", "--flags", "lru"]]
PLANT = """
_as_it_was = run_replication

def run_replication(*arguments, **keywords):
    found = _as_it_was(*arguments, **keywords)
    {change}
    return found
"""

WRONG = """
_right = screened

def screened(*arguments):
    return {i: r._replace(row=r.row._replace(kills=77)) for i, r in _right(*arguments).items()}
"""


@pytest.mark.parametrize(
    ("change", "table", "row", "field"),
    [
        ("found.errors[3] = found.errors[3]._replace(line=64)", "errors", 3, "line"),
        ("found.log[2] = (*found.log[2][:2], 'no')", "log", 2, "text"),
        ("found.errors.pop()", "errors", 11, ""),
    ],
)
def test_a_planted_difference_is_found_and_named(
    tmp_path: Path, change: str, table: str, row: int, field: str
) -> None:
    changed = tmp_path / "changed"
    copy_tree(changed, "hwsim")
    with (changed / "hwsim" / "machine" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write(PLANT.format(change=change))
    (changed / "scenarios").symlink_to(ROOT / "scenarios")
    found = compare(ROOT, changed, [COMMAND, WORLD], tmp_path / "work").difference
    assert found is not None
    assert (found.table, found.row, found.field) == (table, row, field)
    assert found.world == "scenarios/drill.toml vm.memory_failure_early_kill=1, replication 0"
    assert found.old != found.new


def test_a_tree_is_the_same_as_itself(tmp_path: Path) -> None:
    found = compare(ROOT, ROOT, [WORLD, COMMAND], tmp_path)
    assert found == Comparison(rows=found.rows, errors=12)
    assert found.rows > 100


def test_what_is_settled_wrongly_is_found(tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    copy_tree(changed, "hwsim")
    with (changed / "hwsim" / "machine" / "screen.py").open("a", encoding="utf-8") as file:
        file.write(WRONG)
    (changed / "scenarios").symlink_to(ROOT / "scenarios")
    job = ["together", "scenarios/database-server.toml", [], 20]
    assert compare(ROOT, ROOT, [job], tmp_path / "same", ["--no-screen"]).difference is None
    found = compare(changed, changed, [job], tmp_path / "work", ["--no-screen"]).difference
    assert found is not None
    assert (found.table, found.field, found.new) == ("row", "kills", 77)


def test_a_player_that_fails_is_no_difference(tmp_path: Path) -> None:
    (tmp_path / "broken" / "hwsim").mkdir(parents=True)
    (tmp_path / "broken" / "hwsim" / "__init__.py").write_text("", "utf-8")
    found = compare(ROOT, tmp_path / "broken", [COMMAND], tmp_path / "work")
    assert "status 1" in found.failed
    assert found.difference is None


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (["events", "w", 0, {"cpu": 1}], ["events", "w", 0, {"cpu": True}], ("events", 0, "cpu", 1, True)),
        (["row", "w", 0, {}], ["row", "w", 0, {"kills": None}], ("row", 0, "", {}, {"kills": None})),
        (["stdout", "w", 7, "a"], ["stdout", "w", 7, "b"], ("stdout", 7, "", "a", "b")),
        (["log", "w", 3, []], [], ("log", 3, "", ["log", "w", 3, []], [])),
        (["row", "w", 0, {}], ["log", "w", 3, 1], ("log", 3, "", ["row", "w", 0, {}], ["log", "w", 3, 1])),
        (["reach", "w", 0, {}], ["reach", "w", 0, {"pte": 1}], ("reach", 0, "pte", None, 1)),
        ([], ["log", "w", 3, []], ("log", 3, "", [], ["log", "w", 3, []])),
    ],
)
def test_two_lines_that_differ_are_told_apart_by_the_smallest_name(old: Any, new: Any, named: Any) -> None:
    found = difference_of(*(json.dumps(each) if each else "" for each in (old, new)))
    assert (found.table, *found[2:]) == named


def test_the_quick_form_plays_every_shipped_scenario_under_both_policies(tmp_path: Path) -> None:
    jobs = [job for group in jobs_of(ROOT, tmp_path / "work", quick=True) for job in group]
    for file in (ROOT / "scenarios").glob("*.toml"):
        for policy in (0, 1):
            key = f"vm.memory_failure_early_kill={policy}"
            assert ["world", f"scenarios/{file.name}", [key], 2] in jobs
