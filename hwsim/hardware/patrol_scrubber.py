"""The patrol scrubber: an address that moves through all of memory once per period.

Where it is, is arithmetic: the visit of a line is its place in memory turned into a time, so that the
process wakes for bad lines only.  Sources for the 24 h that is the usual period: Intel SE8500HW4 server
board manual ("64 GB ... every day" per memory hub).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

import numpy as np
from mypy_extensions import trait

from hwsim.engine import SCRUB_VISIT, Engine, Sleeper, Steps
from hwsim.many_draws import Floats, Positions
from hwsim.spec import ScrubSpec
from hwsim.units import LINES_PER_PAGE


@trait
class Scrubbed:
    """A line that the scrubber will read: the number of its error, and when; None: nobody would notice."""

    __slots__ = ()
    error: int
    visit_ns: int | None


Line = TypeVar("Line", bound=Scrubbed)


class PatrolScrubber(Sleeper, Generic[Line]):
    """Reads bad lines when it comes past them.

    Life: asleep -> :meth:`expect` puts a visit into the agenda -> awake at the earliest of them: reads the
    lines that it comes past now, in order of their errors' numbers -> asleep until the next.  A visit is
    off when the line expects another by then, or none.

    ``u`` in [0, 1) is where in its sweep the scrubber stands at time zero; it is drawn per replication.
    ``signals`` is how the platform reports a find; ``visit(line)`` reads a line.
    """

    def __init__(
        self, engine: Engine, spec: ScrubSpec, memory_pages: int, u: float, visit: Callable[[Line], None]
    ) -> None:
        super().__init__(engine)
        self.period_ns = spec.period_ns
        self.signals = spec.signals
        self._lines = memory_pages * LINES_PER_PAGE
        self._phase_ns = int(u * spec.period_ns) if spec.period_ns else 0
        self._visit = visit
        self._agenda: list[tuple[int, int, Line]] = []  # a heap of (visit_ns, error, line)

    def expect(self, line: Line, visit_ns: int | None) -> None:
        """Read the line at ``visit_ns`` and not before; None: do not."""
        line.visit_ns = visit_ns
        if visit_ns is not None:
            heappush(self._agenda, (visit_ns, line.error, line))
            self.wake_at(visit_ns, SCRUB_VISIT)

    def life(self) -> Steps:
        """Read what is due, and sleep until the next visit that is still expected."""
        agenda, visit = self._agenda, self._visit
        while True:
            while agenda:
                visit_ns, _, line = agenda[0]
                is_expected = line.visit_ns == visit_ns
                if is_expected and visit_ns > self.engine.now_ns:
                    break
                heappop(agenda)
                if is_expected:
                    line.visit_ns = None
                    visit(line)
            yield self.sleep_until(agenda[0][0], SCRUB_VISIT) if agenda else self.sleep()

    def next_visit_ns(self, pfn: int, line: int, after_ns: int) -> int | None:
        """The first visit of a line strictly after ``after_ns``; None without a scrubber."""
        period = self.period_ns
        if not period:
            return None
        place = (pfn * LINES_PER_PAGE + line) * period // self._lines
        first = (place - self._phase_ns) % period
        if after_ns < first:
            return first
        return first + ((after_ns - first) // period + 1) * period

    def next_place(self, after_ns: int) -> int:
        """The line, counted through memory, that it reads first after ``after_ns``; maybe beyond the end."""
        assert self.period_ns is not None
        place = (after_ns + self._phase_ns) % self.period_ns + 1
        return -(-place * self._lines // self.period_ns)

    def page_pass_ns(self) -> int:
        """How long the scrubber is within one page."""
        return (self.period_ns or 0) * LINES_PER_PAGE // self._lines

    def visits_between(self, pfn: int, line: int, after_ns: int, until_ns: int) -> int:
        """How many visits fall in (after_ns, until_ns)."""
        visit = self.next_visit_ns(pfn, line, after_ns)
        if visit is None or visit >= until_ns or not self.period_ns:
            return 0
        return 1 + (until_ns - 1 - visit) // self.period_ns


def first_visits(
    spec: ScrubSpec, memory_pages: int, u: Floats, pfn: Positions, line: Positions, after_ns: Positions
) -> Positions:
    """int64: what :meth:`PatrolScrubber.next_visit_ns` gives of a line on each of many machines.

    ``u`` is where each scrubber stands at time zero.  There has to be one.
    """
    period, lines = spec.period_ns, memory_pages * LINES_PER_PAGE
    assert period
    # The product has more bits than an int64: Python's integers do not mind.
    places = [place * period // lines for place in (pfn * LINES_PER_PAGE + line).tolist()]
    first = (np.array(places, np.int64) - (u * period).astype(np.int64)) % period
    visits: Positions = first + np.where(after_ns < first, 0, (after_ns - first) // period + 1) * period
    return visits
