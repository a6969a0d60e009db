"""One bad line of a page, from its onset to its end: what is known of it, and what comes next.

Before detection the line is in a race: the scrubber's visit (computed), a task's or the kernel's or a
device's read of *that line*, a store that overwrites the whole line, the page being freed and filled
anew.  After memory_failure() has unmapped the page, any touch of the *page* counts.  Every candidate
has an absolute time and stands in the agenda of the line; what it does is in the files that know it.

Two truths are kept apart: the line is bad (hardware), and PG_hwpoison is set (kernel).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hwsim.bad_lines.fault_course import FaultCourse
from hwsim.bad_lines.in_boot import InBoot
from hwsim.bad_lines.line_record import LineRecord
from hwsim.bad_lines.states import LATENT, OVER
from hwsim.bad_lines.surroundings import Surroundings
from hwsim.engine import Agenda
from hwsim.hardware.machine_check_interrupt import NEVER_PANIC
from hwsim.hardware.patrol_scrubber import Scrubbed
from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.mm_types import Page, Pte, UserSpace, Vma

_FURTHER = 1 << 20  # attempts from here on are finds of further lines

# What renews the frame stays a candidate: if memory_failure() is on its way to the page, it comes up again
# when that has returned.  The good line is known as good then, and the gatekeeper keeps the poisoned frame.
_RENEWS = ("allocated", "first_touch", "healed", "refilled")


class Candidate(NamedTuple):
    """What may happen to a line: when, its place among ties, what, and what it does.

    What needs no CPU does not wait for a rendezvous to end.  It is off if ``whose`` is gone by then.
    """

    time_ns: int
    priority: int
    what: str
    happens: Callable[[BadLine], object]
    needs_cpu: bool = True
    whose: Vma | UserSpace | None = None


@dataclass(slots=True, eq=False)
class LateTouches:
    """The touches of entries that lead to the poison: ``to_come``, one for each entry.

    Under None stands that the file is cut, which drops the entries.  ``seen`` and ``gone`` tell the mappings
    in one place of a task from one another: those of this boot, and how many there were in earlier ones.
    """

    to_come: dict[Pte | None, Candidate] = field(default_factory=dict)
    come: tuple[Pte, ...] = ()
    remapped: tuple[Vma, ...] = ()
    loops: int = 0  # of handlers that returned to the access
    seen: dict[int, list[Vma]] | None = None  # made with the first touch: most have none
    gone: dict[int, int] | None = None
    drawn: dict[Vma, int | None] | None = None  # the next touches that were asked for last
    drawn_for: tuple[int, int] = (0, 0)  # and of when they are: since what time, after what time

    def clear(self) -> None:
        """A boot is over: no entry is left."""
        if self.seen:
            gone = self.gone = self.gone or {}
            for place, mappings in self.seen.items():
                gone[place] = gone.get(place, 0) + len(mappings)
        self.seen = self.drawn = None
        self.to_come, self.come, self.remapped, self.loops = {}, (), (), 0


@dataclass(slots=True, eq=False)
class BadLine(Scrubbed):
    """One error on one line of one page.

    Life: ``LATENT`` (the race) -> ``CHECKING`` (machine check raised, queued, memory_failure() under
    way) -> ``HANDLED`` (aftermath: late touches, later consumption, freeing) -> ``OVER``.  A find
    lost in the ring leads back to LATENT, a reboot too if the fault is permanent.
    """

    around: Surroundings[BadLine]
    error: int
    source: int
    pfn: int
    number_in_page: int
    permanent: bool
    u: list[float]
    line_is_bad: bool = True  # False: a software injector, which sets only PG_hwpoison
    onset_ns: int = field(init=False)
    state: int = LATENT
    page: Page | None = None  # in the boot that runs
    in_boot: InBoot = field(default_factory=InBoot)
    record: LineRecord = field(default_factory=LineRecord)
    faults: tuple[FaultCourse, ...] = ()  # the DRAM faults that ruined the line, if it was those
    other_lines: Sequence[BadLine] = ()  # further errors on this page

    # What comes next.
    agenda: Agenda[Candidate] = field(init=False)
    visit_ns: int | None = None  # when the scrubber will find it
    last_found_ns: int = 0
    times: Sequence[Candidate] = ()  # the race
    touches: LateTouches = field(default_factory=LateTouches)
    attempts: int = 0  # handlings, lost finds and boots so far: after each, draws are new
    races: int = 0
    fatal_checks: int = 0

    def __post_init__(self) -> None:
        around = self.around
        self.onset_ns = around.engine.now_ns
        self.agenda = Agenda(around.engine, around.horizon_ns, self._happens)

    def new_failure(self, further: bool = False) -> MemoryFailure:
        """The next call of memory_failure() for this error; ``further``: for another line of the page."""
        attempt = _FURTHER + self.record.repeats if further else self.attempts
        return MemoryFailure(self.error, self.pfn, self.u, self.around.draws.extra, attempt)

    def draw_race(self) -> None:
        """Draw when each party would next meet the bad line, as the page is used now."""
        self.around.draw_race(self)
        self.arm()

    def arm(self) -> None:
        """Wait for what comes first: the earliest candidate, or the scrubber if its find changes anything.

        Only that one stands anywhere: the other is asked for again when it has happened.
        """
        visit_ns = None
        if self.state == LATENT and self.line_is_bad:
            scrubber = self.around.scrubber
            if scrubber.signals != "none" and not self.sweeps_change_nothing:
                after_ns = max(self.around.engine.now_ns, self.last_found_ns)
                visit_ns = scrubber.next_visit_ns(self.pfn, self.number_in_page, after_ns)
        # Nothing may be to come: the common case once a page has been dealt with.
        first = self._earliest() if self.times or self.touches.to_come else None
        if first is not None and visit_ns is not None:
            if visit_ns <= first[0]:
                first = None
            else:
                visit_ns = None
        if visit_ns != self.visit_ns:
            self.around.scrubber.expect(self, visit_ns)
        self.agenda.expect(first)

    def _earliest(self) -> Candidate | None:
        best: Candidate | None = None
        if self.state != OVER and not self._line_is_unreachable:
            for candidate in self.times:
                if best is None or candidate[:2] < best[:2]:
                    best = candidate
        for candidate in self.touches.to_come.values():
            if best is None or candidate[:2] < best[:2]:
                best = candidate
        return best

    def disarm(self) -> None:
        """Nothing happens until the next arm(): the machine is down, or the line over."""
        self.agenda.next = self.visit_ns = None

    def _happens(self, candidate: Candidate) -> None:
        stalled_ns = self.around.kernel.stalled_until_ns
        if candidate.needs_cpu and stalled_ns > self.around.engine.now_ns:
            self._put_off(candidate, stalled_ns)
            return
        if candidate.what not in _RENEWS:
            self.times = [each for each in self.times if each is not candidate]
        candidate.happens(self)

    def _put_off(self, candidate: Candidate, until_ns: int) -> None:
        """No CPU runs a task while all of them meet for a machine check."""
        later, to_come = candidate._replace(time_ns=until_ns), self.touches.to_come
        self.times = [later if each is candidate else each for each in self.times]
        for entry in [entry for entry, each in to_come.items() if each is candidate]:
            to_come[entry] = later
        self.arm()

    @property
    def finished(self) -> bool:
        """Whether nothing more can happen to the error."""
        return self.state == OVER

    @property
    def sweeps_change_nothing(self) -> bool:
        """Whether the next sweeps over the line are only logged, so that they are counted, not played."""
        signals = self.around.scrubber.signals
        if signals == "fatal":
            return self.record.found_ns is not None and self.around.spec.tolerant >= NEVER_PANIC
        return signals == "UCNA" and self.in_boot.logged

    @property
    def _line_is_unreachable(self) -> bool:
        return self.in_boot.contained_ns is not None and not (self.page and self.page.flags & pg.BUDDY)
