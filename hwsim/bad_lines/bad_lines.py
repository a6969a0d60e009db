"""All bad lines of a machine, over all its boots."""

from __future__ import annotations

from hwsim.bad_lines import ending, frame_reuse
from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.latent import Latent
from hwsim.bad_lines.later_sweeps import count_sweeps
from hwsim.bad_lines.line_record import LineRecord
from hwsim.bad_lines.looks import begin
from hwsim.bad_lines.race import draw_race
from hwsim.bad_lines.rows import error_row, has_row
from hwsim.bad_lines.states import LATENT, OVER
from hwsim.bad_lines.surroundings import Surroundings
from hwsim.engine import Engine
from hwsim.hardware.patrol_scrubber import PatrolScrubber
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mce.delivery import Delivery
from hwsim.kernel.mm.page_alloc import allocations_per_ns
from hwsim.record import End, ErrorRow, SignalRow
from hwsim.rng import Draws
from hwsim.spec import Spec


class BadLines:
    """The bad lines of one machine, and which of them stands for which page.

    Life: made at power-on -> :meth:`booted` -> :meth:`add`, as errors come -> :meth:`halted` at a panic or an
    orderly reboot -> :meth:`leave_boot` -> :meth:`booted` with the next kernel -> :meth:`go_on` -> ... ->
    :meth:`close`.  ``all`` are kept by error number, for the record.
    """

    __slots__ = ("_waiting", "all", "around", "by_pfn", "error_count", "open", "sets")

    def __init__(
        self,
        replication: int,
        spec: Spec,
        engine: Engine,
        draws: Draws,
        scrubber: PatrolScrubber[BadLine],
    ) -> None:
        around = Surroundings(replication, spec.machine, spec.horizon_ns, engine, draws, scrubber, draw_race)
        self.around = around
        self.all: dict[int, BadLine] = {}
        self.open = around.open
        self.by_pfn = around.by_pfn
        self.error_count = 0
        self.sets: list[Latent] = []  # lines of wide faults that nobody has met
        self._waiting: list[BadLine] = []  # those whose onset fell into a reboot

    def add(
        self,
        source: int,
        pfn: int,
        line: int,
        permanent: bool,
        u: list[float] | None = None,
        line_is_bad: bool = True,
    ) -> BadLine:
        """Line number ``line`` of a page goes bad now.

        One bad line stands for a page: a further one makes a read of the page's bad lines likelier and
        takes over if the first one heals; until then its end is ``duplicate``.
        """
        for each in self.sets:
            each.stand_for(pfn)
        new = self._new(source, pfn, line, permanent, u, line_is_bad)
        other = self.by_pfn.get(pfn)
        if other is None or other.state == OVER:
            self._start(new)
        elif self._join(new, other) and other.state == LATENT:
            other.draw_race()
        return new

    def add_page(
        self, source: int, pfn: int, lines: list[int], permanent: bool, onset_ns: int, since_ns: int
    ) -> list[BadLine]:
        """Lines of a page went bad at ``onset_ns``, and from ``since_ns`` to now nobody has met them."""
        made = [self._new(source, pfn, line, permanent, None, line_is_bad=True) for line in lines]
        for new in made:
            new.onset_ns = onset_ns
        other = self.by_pfn.get(pfn)
        if other is None or other.state == OVER:
            first, *further = made
            first.in_boot.since_ns, first.other_lines = since_ns, further
            self._start(first)
            for new in further:
                self._end_as_duplicate(new, first)
        else:
            further = [new for new in made if self._join(new, other)]
            if further and other.state == LATENT:
                other.draw_race()
        return made

    def _new(
        self, source: int, pfn: int, line: int, permanent: bool, u: list[float] | None, line_is_bad: bool
    ) -> BadLine:
        around, number = self.around, self.error_count
        self.error_count += 1
        u = u or around.draws.row(number)
        new = self.all[number] = BadLine(around, number, source, pfn, line, permanent, u, line_is_bad)
        return new

    def _start(self, new: BadLine) -> None:
        self.open[new.error] = self.by_pfn[new.pfn] = new
        if self.around.kernel.halted:
            self._waiting.append(new)
        else:
            begin(new)

    def _join(self, new: BadLine, other: BadLine) -> bool:
        """A further error on a page; whether on another of its lines."""
        self._end_as_duplicate(new, other)
        other.line_is_bad = other.line_is_bad or new.line_is_bad
        known = {other.number_in_page, *(each.number_in_page for each in other.other_lines)}
        if not new.line_is_bad or new.number_in_page in known:
            return False
        other.other_lines = [*other.other_lines, new]
        return True

    def _end_as_duplicate(self, new: BadLine, other: BadLine) -> None:
        new.state = OVER
        new.record = LineRecord(
            kind=other.record.kind,
            region=other.record.region,
            end=End.DUPLICATE,
            end_ns=self.around.engine.now_ns,
        )

    def live(self, pfn: int) -> BadLine | None:
        """The line that stands for the frame, if it may go on."""
        line = self.by_pfn.get(pfn)
        return None if line is None or line.finished else line

    def given_out(self, first_pfn: int, pages: int) -> None:
        """A script's allocation has taken these frames."""
        overlay, taken = self.around.kernel.mem_map.overlay, range(first_pfn, first_pfn + pages)
        for pfn in sorted(pfn for pfn in overlay.keys() | self.by_pfn.keys() if pfn in taken):
            overlay.pop(pfn, None)
            line = self.live(pfn)
            if line is not None:
                frame_reuse.given_out(line)

    # -- boots --------------------------------------------------------------------------------------

    def booted(self, kernel: Kernel, delivery: Delivery) -> None:
        """A kernel has come up: lines meet it from now on."""
        around = self.around
        around.kernel, around.delivery = kernel, delivery
        around.boot += 1
        around.allocations_per_ns = allocations_per_ns(kernel)

    def halted(self, by: BadLine | None = None) -> None:
        """The kernel has stopped, perhaps ``by`` a line: nothing happens to any until the next one is up."""
        if by is not None:
            ending.panicked(by)
        for line in self.open.values():
            line.disarm()
        for each in self.sets:
            each.halt()

    def leave_boot(self) -> None:
        """The kernel goes, and with it all that lines hold of it."""
        for line in list(self.open.values()):
            count_sweeps(line, self.around.engine.now_ns)
            ending.leave_boot(line)
            if line.finished:
                ending.retire(line)

    def go_on(self) -> None:
        """The next kernel runs with all its tasks: what is still bad is bad for it, too."""
        seen: set[int] = set()
        while lines := [each for each in self.open.values() if each.error not in seen]:
            for line in lines:  # with one that healed, another one of its page may come up
                seen.add(line.error)
                frame_reuse.rebooted(line)
        waiting, self._waiting = self._waiting, []
        for line in waiting:
            if line.finished:
                continue
            if frame_reuse.is_replaced(line):
                ending.finish(line, End.REPLACED)
            else:
                line.in_boot.since_ns = None  # what its page was in another boot tells nothing
                begin(line)
        for each in list(self.sets):
            each.go_on()

    # -- the end ------------------------------------------------------------------------------------

    def close(self, end_ns: int) -> None:
        """The run is over: say how each error stands."""
        for line in self.open.values():
            ending.close(line, end_ns)

    def rows(self) -> tuple[list[ErrorRow], list[SignalRow]]:
        """The records of all errors, but for lines of a set that nobody met, and of their signals."""
        for line in self.open.values():
            ending.book_signals(line)
        lines, replication = list(filter(has_row, self.all.values())), self.around.replication
        errors = [error_row(line, replication) for line in lines]
        return errors, [row for line in lines for row in line.record.signal_rows]
