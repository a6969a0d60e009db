"""The patrol scrubber: an address that moves through all of memory once per period.

It is arithmetic, not a stream of events: the visit of a line is its place in memory turned into a
time.  Sources for the 24 h that is the usual period: Intel SE8500HW4 server board manual ("64 GB
... every day" per memory hub).
"""

from __future__ import annotations

from hwsim.spec import ScrubSpec

LINES_PER_PAGE = 64


class Scrubber:
    """Knows when each line is visited.

    ``phase_ns`` in [0, period) is where in its sweep the scrubber stands at time zero; it is drawn
    per replication.  ``signals`` is how the platform reports a find.
    """

    __slots__ = ("_lines", "_phase_ns", "period_ns", "signals")

    def __init__(self, spec: ScrubSpec, memory_pages: int, u: float) -> None:
        self.period_ns = spec.period_ns
        self.signals = spec.signals
        self._lines = memory_pages * LINES_PER_PAGE
        self._phase_ns = int(u * spec.period_ns) if spec.period_ns else 0

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

    def page_pass_ns(self) -> int:
        """How long the scrubber is within one page."""
        return (self.period_ns or 0) * LINES_PER_PAGE // self._lines

    def visits_between(self, pfn: int, line: int, after_ns: int, until_ns: int) -> int:
        """How many visits fall in (after_ns, until_ns)."""
        visit = self.next_visit_ns(pfn, line, after_ns)
        if visit is None or visit >= until_ns or not self.period_ns:
            return 0
        return 1 + (until_ns - 1 - visit) // self.period_ns
