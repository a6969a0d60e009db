"""Each shipped scenario loads, runs, adds up, and says openly where a rate is accelerated."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from hwsim.machine import run_replication
from hwsim.spec import Spec
from tests.shipped import BY_CHANCE, FROM_FAULTS, NAMES, SCENARIOS, WITHOUT_KILLS, run, spec_of

_YEAR_S = 365 * 86_400
# Schroeder, Pinheiro and Weber, "DRAM Errors in the Wild", SIGMETRICS 2009: machines with an uncorrected
# error in a year.
_FIELD_PER_YEAR = 0.013
_ENDS = {"isolated", "reachable", "healed", "panic", "latent", "rebooted", "replaced", "duplicate"}
# About 15 us an event on one core of a small machine: this keeps `hwsim run` far below 10 s.
_EVENTS_MAX = 450_000

each = pytest.mark.parametrize("name", NAMES)
by_chance = pytest.mark.parametrize("name", [*BY_CHANCE, *WITHOUT_KILLS])


def _text(name: str) -> str:
    return (SCENARIOS / f"{name}.toml").read_text("utf-8")


def _prose(name: str) -> str:
    """The comments as running text."""
    comments = re.findall(r"#\s?(.*)", _text(name))
    return " ".join(" ".join(comments).split())


def _per_year(spec: Spec) -> float:
    return sum(error.rate_per_s for error in spec.errors) * _YEAR_S


def test_these_are_all_shipped_scenarios() -> None:
    assert tuple(sorted(path.stem for path in SCENARIOS.glob("*.toml"))) == tuple(sorted(NAMES))


@each
def test_the_first_line_names_the_schema(name: str) -> None:
    directive = _text(name).splitlines()[0]
    assert directive == "#:schema ./hwsim.schema.json"
    schema = SCENARIOS / directive.removeprefix("#:schema ")
    assert "properties" in json.loads(schema.read_text("utf-8"))


@by_chance
def test_acceleration_is_said_and_right(name: str) -> None:
    """A file that accelerates the field rate says by how much, and names who measured that rate."""
    factor = _per_year(spec_of(name)) / _FIELD_PER_YEAR
    assert factor > 10, "not accelerated: drop the sentence, and the scenario from this test"
    said = re.search(r"[Aa]ccelerated about ([\d,]+) times", _prose(name))
    assert said is not None
    assert int(said[1].replace(",", "")) == pytest.approx(factor, rel=0.05)
    assert "SIGMETRICS 2009" in _prose(name)


@each
def test_it_teaches(name: str) -> None:
    prose = _prose(name)
    for what in ("What it teaches:", "Look at:", "Vary:", f"scenarios/{name}.toml"):
        assert what in prose


@by_chance
def test_permanent_faults_stay_few(name: str) -> None:
    """They come back after every reboot: with many of them the machine would do nothing but crash."""
    assert all(error.permanent <= 0.1 for error in spec_of(name).errors)
    lost = run(name).total("downtime_ns") / run(name).total("end_ns")
    assert lost < 0.02


@each
@pytest.mark.parametrize("early_kill", [0, 1])
def test_errors_are_the_sum_over_their_ends(name: str, early_kill: int) -> None:
    spec = spec_of(name)
    spec = replace(spec, machine=replace(spec.machine, early_kill=early_kill))
    injected = sum(step.verb == "inject" for step in spec.script)
    for index in range(2):
        result = run_replication(spec, index)
        ends = Counter(row.end for row in result.errors)
        assert set(ends) <= _ENDS
        assert result.row.errors == sum(ends.values())
        assert ends or name in FROM_FAULTS
        numbers = [row.error for row in result.errors]
        assert numbers == sorted(set(numbers))
        # A second injection into the same page is a second report of the same error, not a second error.
        assert bool(injected) <= sum(row.source < 0 for row in result.errors) <= injected
        assert all(row.end_ns >= row.onset_ns for row in result.errors)
        assert result.row.detected == sum(row.found != "none" for row in result.errors)


@pytest.mark.parametrize("name", WITHOUT_KILLS)
def test_what_these_show_is_not_kills(name: str) -> None:
    result = run(name)
    assert result.total("panics") > 0
    assert result.total("lost_writes") + result.total("failed") > 20


def test_a_row_is_swept_over_line_by_line() -> None:
    result = run("row-fault")
    assert {fault.outcome for each in result.replications for fault in each.faults} == {"UE"}
    assert result.total("ring_lost") > 50
    assert result.total("repeats") > 500


def test_faults_are_mostly_corrected() -> None:
    result = run("dram-server")
    outcomes = Counter(fault.outcome for each in result.replications for fault in each.faults)
    assert outcomes["CE"] > 10
    assert outcomes["UE"] < outcomes["CE"]
    assert result.total("corrected") > 1_000


@pytest.mark.parametrize("name", BY_CHANCE)
def test_the_numbers_say_something(name: str) -> None:
    """Both policies kill, machines panic, and the two policies differ."""
    early, late = run(name, 1), run(name, 0)
    for result in (early, late):
        assert result.total("panics") > 0
        assert result.total("kills") > 0
        assert result.total("recovered") > 0
        assert result.total("detected") > result.total("panics")
    assert early.total("kills_early") > 0 == late.total("kills_early")
    assert late.total("kills_late") > 0


@each
def test_the_shipped_repeat_count_is_quick_to_run(name: str) -> None:
    spec, result = spec_of(name), run(name)
    assert result.total("events") / len(result.replications) * spec.repeat < _EVENTS_MAX
