"""Where the patrol scrubber is, and what it wakes for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hwsim.engine import Engine
from hwsim.hardware.patrol_scrubber import PatrolScrubber, Scrubbed
from hwsim.spec import ScrubSpec


def test_the_scrubber_visits_each_line_once_a_sweep_in_order_of_address() -> None:
    scrubber = PatrolScrubber(
        Engine(), ScrubSpec(period_ns=6400), 1, 0.0, print
    )  # 64 lines, one every 100 ns
    assert [scrubber.next_visit_ns(0, line, -1) for line in (0, 1, 63)] == [0, 100, 6300]
    assert scrubber.next_visit_ns(0, 1, 100) == 6500  # strictly after
    assert scrubber.visits_between(0, 1, 100, 6500) == 0
    assert scrubber.visits_between(0, 1, 100, 6501) == 1
    assert scrubber.visits_between(0, 1, 0, 6400 * 10) == 10
    assert scrubber.visits_between(0, 1, 100, 100) == 0  # the next one is a whole period away


@given(
    st.integers(1, 10**6),
    st.integers(0, 63),
    st.floats(0, 0.999),
    st.integers(0, 10**15),
    st.integers(10**3, 10**14),
)
def test_the_next_visit_is_after_now_and_within_a_period(
    pages: int, line: int, phase: float, now: int, period: int
) -> None:
    scrubber = PatrolScrubber(Engine(), ScrubSpec(period_ns=period), pages, phase, print)
    visit = scrubber.next_visit_ns(pages - 1, line, now)
    assert visit is not None
    assert now < visit <= now + period


def test_no_scrubber_no_visit() -> None:
    scrubber = PatrolScrubber(Engine(), ScrubSpec(period_ns=None), 4, 0.5, print)
    assert scrubber.next_visit_ns(0, 0, 0) is None
    assert scrubber.visits_between(0, 0, 0, 10**18) == 0


class _Line(Scrubbed):
    def __init__(self, error: int) -> None:
        self.error = error
        self.visit_ns = None


def test_the_scrubber_wakes_for_lines_that_expect_it_and_reads_those_of_one_place_by_number() -> None:
    engine = Engine()
    read: list[tuple[int, int]] = []

    def visit(line: _Line) -> None:
        read.append((engine.now_ns, line.error))

    scrubber = PatrolScrubber(engine, ScrubSpec(period_ns=6400), 1, 0.0, visit)
    lines = [_Line(error) for error in range(4)]
    for error, time in ((3, 500), (1, 500), (2, 700), (0, 300)):
        scrubber.expect(lines[error], time)
    scrubber.expect(lines[2], None)  # healed
    engine.run(400)
    scrubber.expect(lines[0], 6_700)
    scrubber.expect(lines[0], None)
    scrubber.expect(lines[0], 6_700)  # twice in the agenda, and read once
    engine.run(10_000)
    assert read == [(300, 0), (500, 1), (500, 3), (6_700, 0)]
    assert engine.pending == 0
