"""The corrected errors of one DRAM fault in closed form: a draw for all of them, never an event each."""

from __future__ import annotations

from dataclasses import replace
from math import expm1

import pytest
from scipy import stats

from hwsim.bad_lines.fault_course import FaultCourse
from hwsim.hardware.dram.dram_fault import DramFault
from hwsim.spec import DramSpec
from tests.bad_lines.test_dram_faults import BASE, CELL, ROW, at

SECOND = 1_000_000_000


def _story(fault: DramFault, dram: DramSpec = BASE) -> FaultCourse:
    course = FaultCourse(0, 0, 5 * SECOND, fault, dram)
    course.reads_per_s, course.shows = 8.0, 0.5
    return course


def test_a_new_fault_has_met_nothing() -> None:
    course = FaultCourse(3, 1, 5, at("row", 1, **ROW), BASE)
    assert (course.number, course.source, course.onset_ns, course.gone) == (3, 1, 5, False)
    assert (course.errors, course.met, course.corrected, course.records, course.dropped) == (0, 0, 0, 0, 0)
    assert (course.shown_per_s, course.active_share, course.u) == (0.0, 1.0, 0.5)


def test_an_intermittent_fault_shows_in_its_windows() -> None:
    dram = replace(BASE, on_ns=1_000, off_ns=3_000)
    row = at("row", 1, **ROW)
    assert _story(replace(row, permanence="intermittent"), dram).active_share == 0.25
    assert _story(row, dram).active_share == 1.0


@pytest.mark.parametrize("u", [0.1, 0.5, 0.9])
def test_a_permanent_one_is_a_poisson_stream(u: float) -> None:
    """Four a second for 10 s, or for a quarter of the time."""
    dram = replace(BASE, on_ns=1_000, off_ns=3_000)
    for permanence, mean in (("permanent", 40.0), ("intermittent", 10.0)):
        course = _story(replace(at("row", 1, **ROW), permanence=permanence), dram)
        course.u = u
        assert course.corrected_until(15 * SECOND) == stats.poisson.ppf(u, mean)


def test_what_ecc_does_not_correct_is_no_corrected_error() -> None:
    assert _story(replace(at("row", 1, **ROW), in_copy="UE", outcome="UE")).corrected_until(15 * SECOND) == 0


@pytest.mark.parametrize(
    ("end", "count"), [("scrubbed", 1), ("corrected", 1), ("overwritten", 0), ("horizon", 0), ("", 0)]
)
def test_a_transient_cell_is_corrected_once_or_never(end: str, count: int) -> None:
    course = _story(replace(at("bit", 1, bit=0, **CELL), permanence="transient"))
    course.end = end
    assert (course.lines, course.corrected_until(15 * SECOND)) == (1, count)


@pytest.mark.parametrize(("end", "share"), [("scrubbed", 0.75), ("horizon", -0.75 * expm1(-2.0))])
def test_of_a_transient_row_each_line_is_read_before_it_is_overwritten_or_not(end: str, share: float) -> None:
    """Scrubbed: all lines have been met; else those that a read met first, of two in ten seconds for each."""
    course = _story(replace(at("row", 1, **ROW), permanence="transient"))
    course.end, course.read_first = end, 0.75
    course.reads_per_s = course.lines * 0.75 * 0.2
    assert course.lines > 1
    assert course.corrected_until(15 * SECOND) == stats.binom.ppf(0.5, course.lines, share)
