"""Tables and the sentence: every number with interval and method, readable at 80 and 120 columns."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
from rich.console import Console, Group

from hwsim.show import tables
from hwsim.study.estimate import paired_difference
from hwsim.study.pair import Comparison, Pairing, comparison
from tests.support.show_results import LABELS, results


def _printed(renderable: object, width: int = 120) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(renderable)
    return stream.getvalue()


def _compare(first: list[float], second: list[float]) -> Comparison:
    """A comparison whose kills are these."""
    found = comparison(results(len(first)))
    row = found.row("kills")
    both = tuple(type(row.estimates[0])(sum(x) / len(x), None, None, "t", len(x)) for x in (first, second))
    new = dataclasses.replace(row, estimates=both, differences=(None, paired_difference(first, second)))
    return dataclasses.replace(found, rows=tuple(new if r is row else r for r in found.rows))


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize(
    "nasty",
    [
        {},
        {"kills": False},
        {"replications": 1},
        {"labels": ["a=1 " + "b" * 70, "c", "d"]},
        {"errors_each": 0},
    ],
)
def test_tables_fit_the_terminal(width, nasty):
    data = results(**{"replications": 20, **nasty})
    found = comparison(data)
    for text in (
        *(_printed(tables.summary(data, detected=each), width) for each in (False, True)),
        *(_printed(tables.comparison(found, detected=each), width) for each in (False, True)),
    ):
        lines = text.splitlines()
        assert max(map(len, lines)) <= width
        torn = [line for line in lines if re.search(r"\d to$", line.rstrip()) and "," not in line]
        assert not torn or width < 80, "a torn interval"


def test_a_narrow_terminal_and_a_plain_one_lose_nothing():
    found = tables.comparison(comparison(results(40)))
    assert isinstance(found, Group)
    words = re.findall(r"\S+ \([^()]+\) [a-z]\b", " ".join(_printed(found, 140).split()))
    narrow = " ".join(_printed(found, 40).split())
    assert len(words) > 30
    assert all(word in narrow for word in words)
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    Console(file=stream, width=120, color_system=None).print(found.renderables[1])
    stream.seek(0)
    rows = [line for line in stream.read().splitlines() if line.startswith(("|", "+"))]
    assert len({len(row) for row in rows}) == 1, "columns stand under each other"
    assert any("<=" in row for row in rows)


def test_every_number_of_the_comparison_has_an_interval_and_a_method():
    found = comparison(results(40))
    text = _printed(tables.comparison(found, detected=True), 140)
    kills = next(line for line in text.splitlines() if line.strip().startswith("kills"))
    assert len(re.findall(r"\S+ \(\S+ to \S+\) [a-z]", kills)) == 3
    for method in ("t", "paired t", "jackknife", "paired jackknife", "exact Poisson, zero events"):
        assert re.search(rf"[a-z]: {method}[,;]", text.replace("\n", " ")), method
    assert "40 replications" in text
    for part in ("per machine over 90 d", "per error", "per detected error", "found by scrub",
                 "found by task_load", "found by kernel_load", "found by device_read"):  # fmt: skip
        assert part in text
    for row in ("early (AO)", "late (AR)", "forced SIGKILL", "group death", "needless early kills", "panics",
                "downtime (min)", "data lost (KiB)", "capacity lost (KiB)"):  # fmt: skip
        assert row in text


def test_by_what_was_found_is_told_on_request_only():
    data = results(40)
    for text in (_printed(tables.comparison(comparison(data))), _printed(tables.summary(data))):
        assert "per error" in text
        assert "detected error" not in text
        assert "found by" not in text
    assert "per detected error" in _printed(tables.summary(data, detected=True))


def test_the_comparison_gives_the_paired_difference():
    found = comparison(results(40))
    difference = found.row("kills").differences[1]
    assert difference is not None
    assert difference.value is not None
    kills = next(line for line in _printed(tables.comparison(found), 140).splitlines() if " kills " in line)
    assert f"+{difference.value:.0f}" in kills or f"+{difference.value:.1f}" in kills
    assert "=1 minus =0" in _printed(tables.comparison(found), 140)


def test_nothing_seen_is_a_bound_and_never_zero_plus_minus_zero():
    text = _printed(tables.comparison(comparison(results(40, kills=False))))
    assert "None seen under either: kills, early (AO)" in text
    assert "\u2264 0.093)" in text
    assert "0 to 0" not in text
    assert "Poisson bounds hold for events that come singly" in " ".join(text.split())


def test_broken_pairing_is_said():
    found = dataclasses.replace(
        comparison(results(5)), pairing=Pairing(9, ("replication 3, error 1: not the same",))
    )
    assert "did not meet the same errors" in _printed(tables.comparison(found))
    assert "replication 3, error 1" in _printed(tables.comparison(found))


def test_several_policies_bring_holm():
    text = _printed(tables.comparison(comparison(results(30, labels=["k=0", "k=1", "k=2"]))))
    text = " ".join(text.split())
    assert "k=1 against k=0 (baseline)" in text
    assert "k=2 against k=0 (baseline)" in text
    assert "adjusted for 2 comparisons (Holm)" in text
    assert "; p < 0.001" in text


def test_the_summary_has_times_paths_and_counts():
    text = _printed(tables.summary(results(40, labels=LABELS[:1]), detected=True))
    for part in (
        "onset to detection (h)",
        "detection to containment (\u00b5s)",
        "scrub",
        "Recovered",
        "cases",
    ):
        assert part in text
    assert _printed(tables.summary(results(0))).startswith("No replication is finished")


SPREAD = [1.0, 4.0, 2.0, 0.0, 3.0, 2.0, 5.0, 1.0, 2.0, 4.0]
RAISED = [x + 3 + (i % 2) for i, x in enumerate(SPREAD)]
ZERO, ONE, THREE = ([x] * 10 for x in (0.0, 1.0, 3.0))


@pytest.mark.parametrize(
    ("first", "second", "pattern"),
    [
        (
            SPREAD,
            RAISED,
            r"^KEY=1 kills 3\.5 more tasks per machine and 90 d than =0 \(95 % CI 3\.1 to 3\.9, ",
        ),
        (SPREAD, RAISED, r" 3\.9, paired t, 10 replications\)\.$"),
        (
            RAISED,
            SPREAD,
            r"^KEY=1 kills 3\.5 fewer tasks per machine and 90 d than =0 \(95 % CI 3\.1 to 3\.9, ",
        ),
        (
            SPREAD,
            SPREAD[::-1],
            r"^No difference in kills is shown: .* from \S+ fewer to \S+ more fits \(95 % CI,",
        ),
        (
            SPREAD,
            SPREAD,
            r"^KEY=1 and =0 killed equally many tasks in each of 10 replications \(at most 31 % of ",
        ),
        (ZERO, ZERO, r"^Neither KEY=1 nor =0 killed a task in 10 replications \(at most 31 % of machines "),
        (ONE, THREE, r"^KEY=1 killed exactly 2 more tasks than =0 in each of 10 replications"),
        (
            [1.0],
            [3.0],
            r"^In the one replication KEY=1 kills 2 more tasks than =0; one replication gives no in",
        ),
        ([1.0], [1.0], r"^In the one replication KEY=1 kills as many tasks as =0;"),
    ],
)
def test_the_sentence(first, second, pattern):
    text = tables.sentence(_compare(first, second))
    assert re.search(pattern.replace("KEY", "vm.memory_failure_early_kill"), text), text
    assert "\n" not in text


def test_several_policies_get_a_sentence_each():
    lines = tables.sentence(comparison(results(20, labels=["a=0", "a=1", "other"]))).splitlines()
    assert lines[0].startswith("a=1 kills")
    assert lines[1].startswith("other and a=0 killed equally many")
    assert "2 comparisons" in lines[2]


def test_reach_counts_what_was_met_and_names_what_was_not():
    possible = {"exit:table": "error_states row", "exit:already": "second report", "row:12": "LRU"}
    text = _printed(tables.reach({"exit:table": 1234, "row:12": 7, "pte:poison": 2}, possible))
    assert re.search(r"1,234\s+table\s+error_states row", text)
    assert re.search(r"not met\s+already\s+second report", text)
    assert "exit: 1 of 2 met" in text
    assert "3 of 4 met" in text


def test_machines_without_chance_are_exact_and_have_no_intervals():
    data = results(1, labels=LABELS)
    data.manifest["scenario"] = {"machine": {"chance": "off"}}
    found = comparison(data)
    for text in (_printed(tables.summary(data)), _printed(tables.comparison(found))):
        assert "Exact: without chance all machines are the same." in text
        for word in ("interval", "\u2264", " differ", "( "):
            assert word not in text
    assert tables.sentence(found).endswith(": exact, as the machines are without chance.")


def test_chance_that_is_varied_leaves_the_intervals():
    data = results(20)
    data.manifest["scenario"] = {"machine": {"chance": "off"}}
    data.policies["overrides"] = [('machine.chance="off"',), ('machine.chance="on"',)]
    assert "Intervals are 95 %" in _printed(tables.comparison(comparison(data)))


def test_a_horizon_that_is_varied_is_not_given_as_one_for_all():
    data = results(5)
    data.policies["overrides"] = [('horizon="30 d"',), ("horizon=90 d",)]
    found = comparison(data)
    assert "Mean per machine over 30 d or 90 d" in _printed(tables.comparison(found))
    assert "30 d or 90 d" in tables.sentence(found)


def test_figures_of_dram_faults_are_per_fault_however_many_lines_are_met() -> None:
    study = results(20)
    study.manifest["scenario"] = {"errors": [{"kind": "dram"}]}
    study.replications["dram_faults"] = 2
    text = _printed(Group(tables.summary(study), tables.comparison(comparison(study))))
    assert "per DRAM fault" in text
    assert "40 DRAM faults fell, none alone in its machine." in text
    assert "per error" not in text
    kills = comparison(study).row("kills", "fault").estimates[0]
    assert kills.value == study.replications.query("policy == 0")["kills"].sum() / 40
    study.manifest["scenario"]["errors"].append({"kind": "uncorrected"})
    assert "per error" in _printed(tables.summary(study))
