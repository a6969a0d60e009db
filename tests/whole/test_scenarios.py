"""Each shipped scenario loads, runs, adds up, has one error a machine, and names the rate of the field."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from hwsim.hardware.dram.fit_tables import FIT_TABLES
from hwsim.machine import run_replication
from hwsim.memory.layout import MemoryLayout
from hwsim.record import End
from hwsim.spec import Spec
from tests.support.worlds import events_of
from tests.whole.accelerated import OVERRIDES, accelerated_spec, run
from tests.whole.shipped import BY_CHANCE, FROM_FAULTS, NAMES, SCENARIOS, WITHOUT_KILLS, spec_of

pytestmark = pytest.mark.xdist_group("accelerated")  # those who look at these runs share a process

_YEAR_S = 365 * 86_400
# Schroeder, Pinheiro and Weber, "DRAM Errors in the Wild", SIGMETRICS 2009: machines with an uncorrected
# error in a year.
_FIELD_PER_YEAR = 0.013
# About 15 us an event on one core of a small machine: this keeps `hwsim run` far below 10 s.
_EVENTS_MAX = 450_000
_MACHINES_MAX = 4_000  # at up to 3 ms each before anything happens

each = pytest.mark.parametrize("name", NAMES)
# In a storm errors meet: that is its question.  In all others each machine has one.
ALONE = tuple(name for name in (*BY_CHANCE, *WITHOUT_KILLS) if name != "error-storm")
alone = pytest.mark.parametrize("name", ALONE)


def _text(name: str) -> str:
    return (SCENARIOS / f"{name}.toml").read_text("utf-8")


def _prose(name: str) -> str:
    """The comments as running text."""
    comments = re.findall(r"#\s?(.*)", _text(name))
    return " ".join(" ".join(comments).split())


def test_these_are_all_shipped_scenarios() -> None:
    assert tuple(sorted(path.stem for path in SCENARIOS.glob("*.toml"))) == tuple(sorted(NAMES))


@each
def test_the_first_line_names_the_schema(name: str) -> None:
    directive = _text(name).splitlines()[0]
    assert directive == "#:schema ./hwsim.schema.json"
    schema = SCENARIOS / directive.removeprefix("#:schema ")
    assert "properties" in json.loads(schema.read_text("utf-8"))


@alone
def test_each_machine_has_one_error(name: str) -> None:
    (stream,) = spec_of(name).errors
    assert (stream.count, stream.burst_pages) == (1, 1)
    assert spec_of(name).repeat >= 1_800
    for index in range(5):
        assert run_replication(spec_of(name), index).row.errors == 1


@alone
def test_the_rate_of_the_field_is_named(name: str) -> None:
    """Per machine: where only a part of memory is hit, its share of the machine's."""
    spec = spec_of(name)
    (stream,) = spec.errors
    fitted = spec.machine.memory_pages + spec.machine.hidden_pages
    pages = _pages_of(spec) if stream.where.kind != "uniform" else fitted
    assert stream.field_per_s is not None
    assert stream.field_per_s * _YEAR_S == pytest.approx(_FIELD_PER_YEAR * pages / fitted, rel=0.01)
    assert "SIGMETRICS 2009" in _prose(name)
    assert "ccelerated" not in _text(name)


def _pages_of(spec: Spec) -> int:
    """Pages of the files where the only stream of errors falls."""
    where = spec.errors[0].where
    kinds = {file.name: "blockdev" if file.filesystem == "blockdev" else "file" for file in spec.files}
    return sum(file.pages for file in spec.files if where.name in {f"file:{file.name}", kinds[file.name]})


@alone
def test_half_of_the_faults_stay_as_in_the_logs(name: str) -> None:
    """The permanent share of the faults behind uncorrected errors: each kind by its P(UE | fault)."""
    table = [(rate.permanent_fit, rate.transient_fit, rate.ue_share or 0.0) for rate in FIT_TABLES["alibaba"]]
    stay = sum(permanent * share for permanent, _, share in table)
    share = stay / sum((permanent + transient) * share for permanent, transient, share in table)
    assert spec_of(name).errors[0].permanent == pytest.approx(share, abs=0.01)
    assert "Alibaba" in _prose(name)
    assert "FITrate.csv of lpharch/DRAM_FAULT_SIM" in _prose(name)


def test_the_storm_says_by_how_much_it_is_accelerated() -> None:
    (stream,) = spec_of("error-storm").errors
    factor = stream.rate_per_s * _YEAR_S / _FIELD_PER_YEAR
    said = re.search(r"Accelerated about ([\d,]+) times", _prose("error-storm"))
    assert said is not None
    assert int(said[1].replace(",", "")) == pytest.approx(factor, rel=0.05)
    assert "SIGMETRICS 2009" in _prose("error-storm")


@pytest.mark.parametrize("name", OVERRIDES)
def test_in_the_accelerated_form_errors_meet(name: str) -> None:
    spec = accelerated_spec(name)
    assert all(stream.count is None and stream.rate_per_s > 0 for stream in spec.errors)
    assert run(name).total("errors") > 20 * len(run(name).replications)


@each
def test_it_teaches(name: str) -> None:
    prose = _prose(name)
    for what in ("What it teaches:", "Look at:", "Vary:", f"scenarios/{name}.toml"):
        assert what in prose


@pytest.mark.parametrize("name", [*OVERRIDES, "error-storm"])
def test_permanent_faults_stay_few_where_errors_pile_up(name: str) -> None:
    """They come back after every reboot: with many of them the machine would do nothing but crash."""
    assert all(error.permanent <= 0.1 for error in accelerated_spec(name).errors)
    lost = run(name).total("downtime_ns") / run(name).total("end_ns")
    assert lost < 0.02


@each
@pytest.mark.parametrize("early_kill", [0, 1])
@pytest.mark.parametrize("form", [spec_of, accelerated_spec])
def test_errors_are_the_sum_over_their_ends(name: str, early_kill: int, form: Callable[[str], Spec]) -> None:
    spec = form(name)
    spec = replace(spec, machine=replace(spec.machine, early_kill=early_kill))
    injected = sum(step.verb == "inject" for step in spec.script)
    for index in range(2):
        result = run_replication(spec, index)
        ends = Counter(row.end for row in result.errors)
        assert set(ends) <= set(End.meanings())
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
    spec = spec_of(name)
    plan = MemoryLayout(spec)
    events = [events_of(spec, index, plan) for index in range(20)]
    assert sum(events) / len(events) * spec.repeat < _EVENTS_MAX
    assert spec.repeat <= _MACHINES_MAX
