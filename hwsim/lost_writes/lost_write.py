"""A lost write from the moment its page was dropped: who reads old data, and who is told.

The page is gone, the disk has what was there before.  Reads are counted from their rates; who asks for the
error, and when, is in ``fsync_calls``.  Whose write it was, and which session a caller belongs to, no kernel
knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.read_again import FIRST_READ, OVERWRITTEN, uses_of
from hwsim.elementary import added, log1p
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.me_handlers import me_pagecache_dirty
from hwsim.kernel.mm.memory import meets_poison
from hwsim.kernel.mm.page_cache import answers_eio
from hwsim.kernel.mm.swap import has_no_contents
from hwsim.kernel.mm_types import AddressSpace, OpenFile, Page, Pte, Region
from hwsim.record import Cause, LostEnd, LostWriteRow, ReadsFind, Result, Told, ToldBy
from hwsim.rng import Slot, poisson

_BEFORE, _AFTER, _BY_WRITER, _BY_OTHERS = range(1, 5)  # names of the draws of Slot.STALE, with two more


class Telling(NamedTuple):
    """Somebody learned of the loss: when, who, in which role, by which call."""

    time_ns: int
    task: str
    role: str
    by: str


@dataclass(slots=True, eq=False)
class LostWrite:
    """One page of a file or of a shared segment whose newest contents are gone.

    Life: :func:`lose` when memory_failure() has returned -> :meth:`tell` any number of times -> :meth:`row`.
    ``users`` use the file by system call; rates are per ns.
    """

    line: BadLine
    region: Region
    index: int
    lost_ns: int
    eio: bool  # the handler has left an error in the mapping
    users: list[str]
    writer: str
    reads_find: str  # EIO | the page | old data | zeroes
    stale_from_ns: int | None
    read_rate: float
    write_rate: float
    tellings: list[Telling] = field(default_factory=list)
    swallowed: str = ""  # by what the error was thrown away
    reads: list[int] = field(default_factory=list)  # a script's steps; others are counted from their rates
    end: str = ""
    end_ns: int = 0

    def heard(self, task: str) -> bool:
        """Whether the task has been told."""
        return any(each.task == task for each in self.tellings)

    def tell(self, task: str, file: OpenFile | None, by: str) -> None:
        """A call of ``task`` on ``file`` has returned the error."""
        now = self.line.around.engine.now_ns
        later = file is not None and file.opened_ns > self.lost_ns
        role = Told.LATER_SESSION if later else Told.WRITER if task == self.writer else Told.BYSTANDER
        self.tellings.append(Telling(now, task, role, by))
        self.line.around.kernel.reach(f"told:{role}")
        self.line.around.kernel.event("told", task=task, by=by, role=role, file=self.region.name)

    def marker_dropped(self) -> None:
        """The page that answered EIO has left the cache: from now on reads find what the disk has."""
        if self.reads_find == ReadsFind.EIO and self.stale_from_ns is None:
            self.stale_from_ns = self.line.around.engine.now_ns

    def finish(self, end: str, now_ns: int) -> None:
        """From now on nobody can read the old contents."""
        if not self.end:
            self.end, self.end_ns = end, now_ns

    def row(self, run_end_ns: int) -> LostWriteRow:
        """The record, made while the kernel is there that lost it: of its signals only those of that boot."""
        line = self.line
        self.finish(LostEnd.HORIZON, run_end_ns)
        end = self._read_until()
        tellings = sorted([*self.tellings, *self._signals(), *self._reads_refused(end)])
        first = tellings[0] if tellings else None
        roles = {each.role for each in tellings}
        told = next(
            (role for role in (Told.WRITER, Told.BYSTANDER, Told.LATER_SESSION) if role in roles), Told.NOBODY
        )
        before, after, first_stale = self._stale_reads(first.time_ns if first else end, end)
        return LostWriteRow(
            replication=line.around.replication,
            error=line.error,
            lost_ns=self.lost_ns,
            file=self.region.name.removeprefix("file:"),
            page_index=self.index,
            writer=self.writer,
            eio=int(self.eio),
            told=told,
            told_ns=first.time_ns if first else None,
            told_task=first.task if first else "",
            told_by=first.by if first else "",
            writer_told_ns=next((each.time_ns for each in tellings if each.role == Told.WRITER), None),
            told_tasks=len({each.task for each in tellings}),
            swallowed="" if tellings else self.swallowed,
            reads_find=self.reads_find,
            stale_before=before,
            stale_after=after,
            first_stale_ns=first_stale,
            end=self.end,
            end_ns=self.end_ns,
            boot=line.around.boot,
            kind=self.region.kind,
        )

    def _uniform(self, name: int) -> float:
        return self.line.around.draws.extra(self.line.error, Slot.STALE, name)

    def _read_until(self) -> int:
        """When the page was written as a whole again, unless it ended before."""
        if self.write_rate > 0.0 and self.stale_from_ns is not None:
            time = self.stale_from_ns + int(-log1p(-self._uniform(OVERWRITTEN)) / self.write_rate) + 1
            if time < self.end_ns:
                self.end, self.end_ns = LostEnd.OVERWRITTEN, time
        return self.end_ns

    def _stale_reads(self, told_ns: int, end_ns: int) -> tuple[int, int, int | None]:
        """Reads that found old data or zeroes: before anybody was told, after, and the first."""
        if self.stale_from_ns is None:
            return 0, 0, None
        told_ns = min(max(told_ns, self.stale_from_ns), end_ns)
        times = [time for time in self.reads if time < end_ns]
        before, first = sum(time < told_ns for time in times), min(times, default=None)
        after = len(times) - before
        if self.read_rate > 0.0:
            start = self.stale_from_ns + int(-log1p(-self._uniform(FIRST_READ)) / self.read_rate) + 1
            if start < end_ns:
                first = start if first is None else min(first, start)
                before += start < told_ns
                after += start >= told_ns
                before += poisson(self._uniform(_BEFORE), self.read_rate * (told_ns - start))
                after += poisson(self._uniform(_AFTER), self.read_rate * (end_ns - max(start, told_ns)))
        return before, after, first

    def _reads_refused(self, end_ns: int) -> list[Telling]:
        """A poisoned page kept in the cache answers read() with EIO: readers are told, too."""
        if self.reads_find != ReadsFind.EIO or self.read_rate <= 0.0:
            return []
        if self.stale_from_ns is not None:
            end_ns = min(end_ns, self.stale_from_ns)
        readers = max(1, len(self.users))
        share = 1 / readers if self.writer in self.users else 0.0
        other = next((name for name in self.users if name != self.writer), "")
        found = []
        for draw, rate, task, role in (
            (_BY_WRITER, self.read_rate * share, self.writer, Told.WRITER),
            (_BY_OTHERS, self.read_rate * (1.0 - share), other, Told.BYSTANDER),
        ):
            if rate > 0.0:
                time = self.lost_ns + int(-log1p(-self._uniform(draw)) / rate) + 1
                if time < end_ns:
                    found.append(Telling(time, task, role, ToldBy.READ))
        return found

    def _signals(self) -> list[Telling]:
        """SIGBUS says it too."""
        return [
            Telling(
                signal.done_ns,
                signal.task.name,
                Told.WRITER if signal.task.name == self.writer else Told.BYSTANDER,
                ToldBy.SIGBUS,
            )
            for signal in self.line.in_boot.signals
            if signal.result in (Result.KILLED, Result.HANDLED)
            and signal.cause != Cause.GROUP_DEATH
            and signal.done_ns is not None
        ]


def lose(line: BadLine, page: Page, entries: Sequence[Pte], users: list[str]) -> LostWrite:
    """The contents of ``page`` are gone; ``entries`` mapped it, ``users`` use the file by system call."""
    region, mapping, kernel = page.region, page.region.mapping, line.around.kernel
    assert mapping is not None
    now = kernel.engine.now_ns
    writer = page.writer or _draw_writer(line, page, users)
    reads_find = _reads_find(kernel, page, mapping)
    barred = {pte.vma for pte in entries if meets_poison(pte)}  # SIGBUS, and no read
    uses = uses_of(region, page, barred)
    kernel.reach(f"lost:{reads_find}")
    kernel.event("lost_write", file=region.name, index=page.pgoff, writer=writer)
    return LostWrite(
        line,
        region,
        page.pgoff,
        now,
        _sets_eio(line),
        users,
        writer,
        reads_find,
        now if reads_find in (ReadsFind.OLD_DATA, ReadsFind.ZEROES) else None,
        uses.reads,
        uses.writes,
    )


def _sets_eio(line: BadLine) -> bool:
    """Whether the handler has left an error for this page; that of an earlier loss may stand there too."""
    failure = line.in_boot.failure
    assert failure is not None
    states = line.around.kernel.error_states
    return any(state.row == failure.row and state.handler is me_pagecache_dirty for state in states)


def _reads_find(kernel: Kernel, page: Page, mapping: AddressSpace) -> str:
    if mapping.pages.get(page.pgoff) is page:
        return ReadsFind.EIO if answers_eio(kernel, page) else ReadsFind.THE_PAGE
    if has_no_contents(mapping, page):
        return ReadsFind.EIO
    return ReadsFind.OLD_DATA if mapping.accounts_dirty else ReadsFind.ZEROES


def _draw_writer(line: BadLine, page: Page, users: list[str]) -> str:
    """Who stored last, in proportion to the rates of all who store to the page."""
    written = page.region.touch_rates(page.pgoff)[1]
    rates = [(written / len(users), name) for name in users] if users else []
    mapping = page.region.mapping
    rates += [
        (vma.region.touch_rates(page.pgoff)[1], vma.task.name)
        for vma in (mapping.vmas if mapping is not None else ())
        if vma.alive and vma.covers(page.pgoff)
    ]
    nth = line.around.draws.extra(line.error, Slot.WRITER) * added(rate for rate, _ in rates)
    for rate, name in rates:
        if nth < rate:
            return name
        nth -= rate
    return ""
