"""One page of interest, from the onset of its error to the end of its line.

Before detection the line is in a race: the scrubber's visit (computed), a task's or the kernel's or a
device's read of *that line*, a store that overwrites the whole line, the page being freed and filled
anew.  After memory_failure() has unmapped the page, any touch of the *page* counts.  Every candidate
has an absolute time and stands in the agenda of the line.

Two truths are kept apart: the line is bad (hardware), and PG_hwpoison is set (kernel).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.bad_lines import discovery, frame_reuse, handled, read_again, writeback
from hwsim.bad_lines.late_touch import LateTouches
from hwsim.bad_lines.later_sweeps import count_repeats
from hwsim.bad_lines.race import Candidate, draw_race
from hwsim.bad_lines.rows import signal_row
from hwsim.bad_lines.states import CHECKING, HANDLED, LATENT, OVER
from hwsim.bad_lines.treatment import Treatment, treatment
from hwsim.engine import Agenda
from hwsim.hardware.machine_check_interrupt import NEVER_PANIC
from hwsim.hardware.patrol_scrubber import Scrubbed
from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.fault import meets_poison
from hwsim.kernel.later_look import settle
from hwsim.kernel.mm_types import PRESENT, Page, Pte, Signal, Vma
from hwsim.record import SignalRow
from hwsim.rng import Slot

if TYPE_CHECKING:
    from hwsim.bad_lines.dram_faults import FaultStory
    from hwsim.bad_lines.surroundings import Surroundings


# What happens without a CPU: nothing of it waits for a rendezvous to end.
_WITHOUT_CPU = ("device_read", "refilled", "dirtied")
_FURTHER = 1 << 20  # attempts from here on are reports of further lines


class BadLine(Scrubbed):
    """The line of one error on one line of one page.

    Life: ``LATENT`` (the race) -> ``CHECKING`` (machine check raised, queued, memory_failure() under
    way) -> ``HANDLED`` (aftermath: late touches, later consumption, freeing) -> ``OVER``.  A report
    lost in the ring leads back to LATENT, a reboot too if the fault is permanent.  What happens
    to the frame itself is in ``frame_reuse``, the record in ``rows``.
    """

    __slots__ = (
        "agenda",
        "around",
        "attempts",
        "boot",
        "contained_ns",
        "data_lost_bytes",
        "dirty",
        "disk_boot",
        "disk_ns",
        "end",
        "end_ns",
        "entries",
        "error",
        "fatal_checks",
        "faults",
        "first",
        "found",
        "found_ns",
        "hole",
        "isolated_pages",
        "kind",
        "last_report_ns",
        "line_is_bad",
        "logged",
        "logged_only",
        "mappers",
        "number_in_page",
        "onset_ns",
        "other_lines",
        "page",
        "panic_boot",
        "panic_kind",
        "panic_ns",
        "panic_region",
        "panics",
        "permanent",
        "pfn",
        "queued",
        "races",
        "region",
        "repeats",
        "report",
        "ring_lost",
        "signal_rows",
        "signals",
        "source",
        "state",
        "stores_waiting",
        "times",
        "touched",
        "touches",
        "u",
        "unmapped_ns",
        "visit_ns",
    )

    def __init__(
        self,
        around: Surroundings[BadLine],
        error: int,
        source: int,
        pfn: int,
        number_in_page: int,
        permanent: bool,
        u: list[float],
        line_is_bad: bool = True,
    ) -> None:
        self.around = around
        self.error = error
        self.source = source
        self.onset_ns = around.engine.now_ns
        self.pfn = pfn
        self.number_in_page = number_in_page
        self.permanent = permanent
        self.line_is_bad = line_is_bad  # False: a software injector, which sets only PG_hwpoison
        self.u = u
        self.state = LATENT
        self.visit_ns: int | None = None  # when the scrubber will find it
        self.agenda: Agenda[Candidate] = Agenda(around.engine, around.horizon_ns, self._happens)
        self.first: Treatment | None = None  # of the boot in which it was found, once that is over
        self.attempts = 0
        self.fatal_checks = 0
        self.races = 0
        self.found = "none"
        self.found_ns: int | None = None
        self.last_report_ns = 0
        self.contained_ns: int | None = None
        self.data_lost_bytes = 0
        self.stores_waiting: list[Vma] = []  # for the page lock, until memory_failure() returns
        self.entries: list[Pte] = []  # what was unmapped, until memory_failure() returns
        self.hole = False  # the frame is out of use: its region goes on without it
        self.isolated_pages = 0
        self.repeats = 0
        self.dirty = False  # PG_dirty when memory_failure() returned
        self.ring_lost = 0
        self.logged = False  # in this boot
        self.logged_only = 0
        self.unmapped_ns: int | None = None
        self.touched = False  # between the find and then
        self.panic_ns: int | None = None  # the first of its panics
        self.panic_boot: int | None = None
        self.panic_kind = self.panic_region = ""
        self.panics = 0
        self.disk_ns: int | None = None
        self.disk_boot: int | None = None
        self.end = ""
        self.end_ns = 0
        self.boot = -1  # the one of kind and region: of the find, or until then of the onset
        self.kind = "hidden"
        self.region = "hidden"
        self.mappers = 0
        self.page: Page | None = None
        self.queued: set[MemoryFailure] = set()  # reports in a ring, or with memory_failure()
        self.report: MemoryFailure | None = None  # the one that poisoned the page, or the last
        self.signals: list[Signal] = []  # of this boot
        self.signal_rows: list[SignalRow] = []  # of those before
        self.times: list[Candidate] = []  # the race: (time, priority, what, who)
        self.touches = LateTouches(self)
        self.faults: tuple[FaultStory, ...] = ()  # the DRAM faults that ruined the line, if it was those
        self.other_lines: list[BadLine] = []  # further errors on this page, on lines of their own

    # -- beginning ------------------------------------------------------------------------------

    def new_report(self, further: bool = False) -> MemoryFailure:
        """The next call of memory_failure() for this error; ``further``: for another line of the page."""
        attempt = _FURTHER + self.repeats if further else self.attempts
        return MemoryFailure(self.error, self.pfn, self.u, self.around.draws.extra, attempt)

    def begin(self) -> None:
        """Look at the page and start the race."""
        around = self.around
        around.kernel.event("onset", error=self.error, pfn=self.pfn, line=self.number_in_page)
        self.look()
        self.draw_race()

    def look(self) -> None:
        """Find the page and join those that are told what becomes of its region."""
        around = self.around
        if not around.kernel.mem_map.pfn_valid(self.pfn):
            return
        page = around.kernel.pfn_to_page(self.pfn, self.new_report())
        self.page = page
        page.region.watched[self.pfn] = None
        writeback.look_after(page)
        if self.boot < 0:
            self.name_place()

    def name_place(self) -> None:
        """What the page is and whose, for the record: at the onset, and then at the first find."""
        self.boot = self.around.boot
        self.kind, self.region = self.place()

    def place(self) -> tuple[str, str]:
        """Kind and owner of the page as it is now."""
        page = self.page
        if page is None:
            return "hidden", "hidden"
        return "free" if page.flags & pg.BUDDY else page.region.kind, page.region.name

    def panicked(self) -> None:
        """The kernel goes down because of this line."""
        self.end = "panic"
        self.panics += 1
        if self.panic_ns is None:
            self.panic_ns, self.panic_boot = self.around.engine.now_ns, self.around.boot
            self.panic_kind, self.panic_region = self.place()

    def draw_race(self) -> None:
        """Draw when each party would next meet the bad line, as the page is used now."""
        self.settle()
        self.times = draw_race(self.around, self)
        self.arm()

    def settle(self) -> None:
        """Bring the page's volatile state up to now, unless the handler has it already."""
        page, around = self.page, self.around
        if page is not None and page.mapping is not None and self.state in (LATENT, CHECKING):
            extra, error = around.draws.extra, self.error
            now, since, was = around.engine.now_ns, page.looked_ns, page.flags
            settle(page, now, self.permanent, lambda k: extra(error, Slot.LATER_LOOK, k))
            if around.kernel.trace is not None and now > since:
                _tell_what_changed(around, page, since, was)

    def arm(self) -> None:
        """Wait for what comes first: the earliest candidate, or the scrubber if its find changes anything.

        Only that one stands anywhere: the other is asked for again when it has happened.
        """
        visit_ns = None
        if self.state == LATENT and self.line_is_bad:
            scrubber = self.around.scrubber
            if scrubber.signals != "none" and not self.sweeps_change_nothing:
                after_ns = max(self.around.engine.now_ns, self.last_report_ns)
                visit_ns = scrubber.next_visit_ns(self.pfn, self.number_in_page, after_ns)
        # Nothing may be to come: the common case once a page has been dealt with.
        first = self._earliest() if self.times or self.touches.candidates else None
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
        for candidate in self.touches.candidates:
            if best is None or candidate[:2] < best[:2]:
                best = candidate
        return best

    def disarm(self) -> None:
        """Nothing happens until the next arm(): the machine is down, or the line over."""
        self.agenda.next = self.visit_ns = None

    @property
    def handled(self) -> bool:
        """Whether memory_failure() has returned for it in this boot."""
        return self.state == HANDLED

    @property
    def latent(self) -> bool:
        """Whether nobody has reported the line, or the report was lost."""
        return self.state == LATENT

    @property
    def sweeps_change_nothing(self) -> bool:
        """Whether the next sweeps over the line are only logged, so that they are counted, not played."""
        signals = self.around.scrubber.signals
        if signals == "fatal":
            return self.found_ns is not None and self.around.spec.tolerant >= NEVER_PANIC
        return signals == "UCNA" and self.logged

    @property
    def finished(self) -> bool:
        """Whether nothing more can happen to the error."""
        return self.state == OVER

    @property
    def _line_is_unreachable(self) -> bool:
        return self.contained_ns is not None and not (self.page and self.page.flags & pg.BUDDY)

    def _happens(self, candidate: Candidate) -> None:
        what, who = candidate[2], candidate[3]
        around = self.around
        stalled_ns = around.kernel.stalled_until_ns
        if stalled_ns > around.engine.now_ns and what not in _WITHOUT_CPU:
            self._put_off(candidate, stalled_ns)
        elif what == "touch":
            self.touches.happens(who)
        elif what == "truncated":
            handled.file_truncated(self)
        elif what in ("task_load", "kernel_load"):
            self.times.remove(candidate)
            task = who.task.name if who is not None else "kernel"
            discovery.consumed(self, "kernel_load" if what == "kernel_load" else "task_load", task)
        elif what == "dirtied":
            self.times.remove(candidate)
            writeback.dirtied(self)
        elif what == "device_read":
            self.times.remove(candidate)
            writeback.written_out(self)
        elif what == "swap":
            self.times.remove(candidate)
            frame_reuse.swap_round(self)
        elif what in ("healed", "refilled"):
            if what == "healed":
                writeback.stored_to(self)
            if what == "refilled":  # reclaimed, and read again from the disk
                around.kernel.event("refilled", error=self.error, pfn=self.pfn)
            self._healed()
        elif what == "freed":
            self.times.remove(candidate)
            frame_reuse.freed(self)
        elif what == "allocated":
            frame_reuse.handed_out(self, around.spec.alloc_order)
        elif what == "first_touch":
            frame_reuse.first_touch(self, *who)
        elif what == "exit":
            self.times.remove(candidate)
            who.exit()

    def _put_off(self, candidate: Candidate, until_ns: int) -> None:
        """No CPU runs a task while all of them meet for a machine check."""
        for waiting in (self.times, self.touches.candidates):
            if candidate in waiting:
                waiting[waiting.index(candidate)] = (until_ns, *candidate[1:])
        self.arm()

    def _healed(self) -> None:
        """The bad line is overwritten as a whole.  PG_hwpoison, if set, stays: two truths."""
        around, page = self.around, self.page
        around.kernel.event("healed", error=self.error, pfn=self.pfn)
        if page is None or not page.flags & pg.HWPOISON:
            self.finish("healed")
            return
        self.line_is_bad = False
        self.times = [each for each in self.times if each[2] in ("freed", "exit")]
        self.arm()

    def lines_good_again(self, among: list[BadLine]) -> None:
        """The window of their fault is over: lines of the page read right again.  What was found stays."""
        if self.finished or self.found_ns is not None:
            return
        self.other_lines = [each for each in self.other_lines if each not in among]
        if self in among:
            self._healed()
        else:
            self.draw_race()

    # -- what a script's steps ask for: the rooms below know no more of a line -----------------------

    def note_found(self, how: str) -> None:
        """Somebody has met the bad line."""
        discovery.note_found(self, how)

    def scrub_visit(self) -> None:
        """The scrubber reads the line."""
        discovery.scrub_visit(self)

    def report_check(self) -> None:
        """A machine check for the line, whatever the platform does with a scrubber's find."""
        discovery.report_check(self)

    def consumed(self, how: str, task: str) -> None:
        """A task or the kernel reads the line."""
        discovery.consumed(self, how, task)

    def device_read(self) -> None:
        """A device reads the page."""
        discovery.device_read(self)

    # -- the handler and after ----------------------------------------------------------------------

    def entries_dropped(self) -> None:
        """Some task with an entry for the page is gone."""
        self.touches.drop_the_dead()
        if self.state == HANDLED and self.contained_ns is None:
            page = self.page
            if page is not None and not (page.head or page).ptes and self.report is not None:
                if handled.is_contained(page, self.report):
                    self.contained_ns = self.around.engine.now_ns
                    handled.take_out(self, page)
        if self.state == OVER:
            return
        page = self.page
        if self.state == LATENT and page is not None and _is_orphan(page):
            frame_reuse.becomes_free(self, page)
        elif self.state == LATENT or any(
            each[2] in ("task_load", "exit") and not each[3].alive for each in self.times
        ):
            self.draw_race()
        else:
            self.arm()

    def entry_copied(self, vma: Vma) -> None:
        """fork() gave a child an entry that maps the page or leads to the poison."""
        page = self.page
        pte = vma.ptes.get(page.pgoff) if page is not None else None
        if pte is None or pte.page is not page:
            return
        if pte.kind == PRESENT:
            self.draw_race()
        elif meets_poison(pte):
            self.touches.expect(pte, self.around.engine.now_ns)
            self.arm()

    def sharers_changed(self) -> None:
        """Other tasks than before map the memory that the page belongs to."""
        if self.state == LATENT:
            self.draw_race()
        elif self.state == HANDLED and self.report is not None:
            self.touches.expect_sharers(self.report.started_ns if self.found_ns is None else self.found_ns)
            read_again.sharers_changed(self)

    def forget(self) -> None:
        """A new boot: the line is bad and nobody knows.

        The record keeps what the first boot in which the error was found made of it.
        """
        if self.page is not None:  # it came up in the new boot, for a line that has healed
            self.leave_boot()
        self.isolated_pages = 0
        self.hole = False
        self.end = ""
        self.state = LATENT
        self.contained_ns = None
        self.attempts += 1
        self.logged = False
        self.other_lines = [each for each in self.other_lines if each.permanent]

    def book_signals(self) -> None:
        """The signals of this boot become rows."""
        if self.signals:
            self.signal_rows += [signal_row(self, each) for each in self.signals]
            self.signals.clear()

    def leave_boot(self) -> None:
        """Keep facts, and let go of everything that belongs to the kernel that ends."""
        if self.page is not None:
            self.page.region.watched.pop(self.pfn, None)
        if self.found_ns is not None and self.first is None:
            self.first = treatment(self)
        for signal in self.signals:
            if not (signal.result or (signal.task.blocked and signal.task.pending is signal)):
                signal.result = "lost"  # it was on its way
        self.book_signals()
        self.report = self.page = None
        self.disarm()
        self.queued.clear()
        self.entries, self.times, self.stores_waiting = [], [], []
        self.touches.clear()

    # -- the end ------------------------------------------------------------------------------------

    def finish(self, end: str) -> None:
        """The line is over before the horizon."""
        count_repeats(self, self.around.engine.now_ns)
        self.end = end
        self.end_ns = self.around.engine.now_ns
        self.state = OVER
        writeback.look_after_no_more(self)
        self.disarm()
        if self.page is not None:
            self.page.region.watched.pop(self.pfn, None)
        if self.found_ns is None:  # otherwise a report of it may be under way
            if self.page is not None and self.page.flags == pg.BUDDY and self.page.region.kind == "free":
                self.around.kernel.mem_map.overlay.pop(self.pfn, None)  # a look makes it as it is
            self.leave_boot()
            self.retire()
        left = self.other_lines
        if end != "healed":  # a reboot healed what was transient
            left = [each for each in left if each.permanent]
        if left:
            left[0].take_over(left[1:])

    def take_over(self, rest: list[BadLine]) -> None:
        """The line that stood for this page has healed; this bad line of the page goes on in its place."""
        self.end, self.state, self.other_lines = "", LATENT, rest
        self.around.open[self.error] = self.around.by_pfn[self.pfn] = self
        self.begin()

    def retire(self) -> None:
        """Nothing of the error is under way any more: only its facts are kept."""
        self.u = []
        self.around.open.pop(self.error, None)
        if self.around.by_pfn.get(self.pfn) is self:
            del self.around.by_pfn[self.pfn]

    def close(self, end_ns: int) -> None:
        """The run is over: say how the error stands."""
        if self.state == OVER:
            return
        count_repeats(self, end_ns)
        self.end_ns = end_ns
        if self.contained_ns is not None:
            self.end = "isolated"
        elif self.end == "panic":
            pass
        elif self.report is not None or self.logged_only or self.found_ns is not None:
            self.end = "reachable"
        else:
            self.end = "latent"


def _tell_what_changed(around: Surroundings[BadLine], page: Page, since_ns: int, was: int) -> None:
    """For the event log: what the flusher and the tasks have done to the page since the last look."""
    host = None if page.mapping is None else page.mapping.host
    cleaned = bool(was & pg.DIRTY) and host is not None and host.clean_ns > since_ns
    if cleaned and host is not None:
        around.kernel.event("written_back", pfn=page.pfn, at_ns=host.clean_ns)
    if page.flags & pg.DIRTY and (cleaned or not was & pg.DIRTY):
        around.kernel.event("dirtied", pfn=page.pfn)


def _is_orphan(page: Page) -> bool:
    """An anonymous page that nothing refers to any more."""
    return bool(page.flags & pg.ANON) and page.count == 0


__all__ = ["BadLine"]
