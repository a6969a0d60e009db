"""Who asks a file for errors, and when: the calls that come while a lost write waits to be told.

fsync() and the like, close(), sync() and the eviction of the inode are computed from their phases, and only
while an error waits in the mapping: there are no standing timers.  What a call gets, and whether it
takes the error away, is the kernel's error mode (``kernel/mm/filemap``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.drop_pages import drop_pages
from hwsim.bad_lines.surroundings import Surroundings
from hwsim.elementary import log1p
from hwsim.engine import KERNEL_ACCESS, TASK_ACCESS, Agenda
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.filemap import (
    asks_mapping,
    close_file,
    evict_inode,
    file_left,
    fsync_error,
    open_file,
    wait_swallows,
)
from hwsim.kernel.mm.page_cache import has_cached_pages
from hwsim.kernel.mm_types import AddressSpace, OpenFile, Region
from hwsim.kernel.writeback import next_tick_ns
from hwsim.lost_writes.lost_write import LostWrite
from hwsim.record import ReadsFind, Swallowed, ToldBy
from hwsim.rng import Slot
from hwsim.spec import FsyncSpec, TaskSpec
from hwsim.userspace.process_table import ProcessTable
from hwsim.userspace.user_task import UserTask


class Call(NamedTuple):
    """A call to come: when, its place among ties, and what it does."""

    time_ns: int
    priority: int
    happens: Callable[[], None]


@dataclass(slots=True, eq=False)
class FileCalls:
    """One file while an error waits in its mapping: the calls to come that could meet it.

    Life: made when a boot first loses a write of it, tells of an error or swallows one -> :meth:`add`, and
    :meth:`arm` whenever tasks come or go -> idle when nobody is left to be told -> :meth:`end`, with its
    boot.  Sessions are followed only meanwhile: before, they are known from their phase.
    """

    around: Surroundings[BadLine]
    processes: ProcessTable
    region: Region
    kernel: Kernel = field(init=False)  # of this boot
    mapping: AddressSpace = field(init=False)
    name: str = field(init=False)
    pending: list[LostWrite] = field(default_factory=list)  # those whose error waits
    _agenda: Agenda[Call] = field(init=False)
    _idle: bool = True  # nobody to come could be told: sessions are not followed

    def __post_init__(self) -> None:
        assert self.region.mapping is not None
        self.kernel = self.around.kernel
        self.mapping = self.region.mapping
        self.name = self.region.name.removeprefix("file:")
        self._agenda = Agenda(self.around.engine, self.around.horizon_ns, self._due)

    def add(self, lost: LostWrite) -> None:
        """A dirty page is gone; an error waits in the mapping, if the handler left one."""
        if self._idle:
            for member in self._members():
                _refresh(member, self.mapping, lost.lost_ns)
        if lost.eio or lost.reads_find == ReadsFind.EIO:
            self.pending.append(lost)
        self.arm()

    def told(self, task: str, file: OpenFile | None, by: str) -> None:
        """A call has returned -EIO to somebody who looks at it."""
        for lost in self.pending:
            if _is_told(lost, task, 0 if file is None else file.opened_ns):
                lost.tell(task, file, by)
        if self._shared_bit and not self.mapping.as_eio:
            self.pending = []

    def swallowed(self, by: str) -> None:
        """The error has been taken away, and nobody looked."""
        for lost in self.pending:
            if not lost.tellings:
                lost.swallowed = by
        self.pending = []
        self.kernel.event("swallowed", file=self.name, by=by)

    def closed(self, *, unheard: bool) -> None:
        """A file was closed: the last close may clear the error, or the close of a dead task hear it."""
        if self.mapping.as_eio or not self.pending:
            return
        if unheard and self._shared_bit:
            self.swallowed(Swallowed.EXIT)
        elif self.kernel.profile.eio_mode.last_close(self.mapping):
            self.swallowed(Swallowed.CLOSE)

    def end(self) -> None:
        """The mapping went with its kernel."""
        self.pending = []
        self._agenda.expect(None)

    @property
    def _shared_bit(self) -> bool:
        """Whether one caller takes the error away from all others."""
        return self.kernel.profile.eio_mode.is_shared_bit

    # -- what comes next ---------------------------------------------------------------------------

    def arm(self) -> None:
        """Wait for the earliest call that can meet the error."""
        call = min(self._candidates(), key=lambda each: each[:2], default=None)
        self._idle = call is None
        self._agenda.expect(call)

    def _candidates(self) -> list[Call]:
        """Every call to come that could change who knows; none, and the file is idle."""
        kernel, now = self.kernel, self.around.engine.now_ns
        members = [each for each in self._members() if self._could_hear(each)]
        if not self.pending or not (self.mapping.as_eio or members):
            return []
        found: list[Call] = []
        # From when on the mapping has pages, as far as chance brings any back; None: never.
        cached_ns = now if self._has_pages(now) else min(self.mapping.read_again.values(), default=None)
        for member in members:
            fsync, tie = _fsync(member), TASK_ACCESS | member.number
            asks_ns = now if self._asks(fsync.call, has_pages=False) else cached_ns
            if member.file is not None and asks_ns is not None and self._asks(fsync.call, has_pages=True):
                tick_ns = next_tick_ns(asks_ns, member.fsync_ns, fsync.every_ns)
                found.append(Call(tick_ns, tie, partial(self._ask, member)))
            if fsync.reopen_ns is not None:
                start, period, length = _sessions(member)
                if member.file is None or fsync.open_share >= 1.0:
                    found.append(Call(next_tick_ns(now, start, period), tie, partial(self._open, member)))
                else:
                    end_ns = next_tick_ns(now, start + length, period)
                    found.append(Call(end_ns, tie, partial(self._close, member)))
        sync = kernel.sysctl.flusher.sync
        if sync is not None and self._shared_bit and cached_ns is not None:
            found.append(Call(next_tick_ns(cached_ns, *sync), KERNEL_ACCESS, self._sync))
        rate = self.region.layout.evict_per_s * 1e-9
        if rate > 0.0 and not self.mapping.files and not self.mapping.vmas:
            u = self.around.draws.extra(self.pending[0].line.error, Slot.EVICT, now)
            found.append(Call(now + int(-log1p(-u) / rate) + 1, KERNEL_ACCESS, self._evict))
        return found

    def _has_pages(self, now: int) -> bool:
        return has_cached_pages(self.region, self.kernel.mem_map.overlay, now)

    def _asks(self, call: str, *, has_pages: bool) -> bool:
        return asks_mapping(self.kernel, call, self.region.size_pages, has_pages)

    def _could_hear(self, member: UserTask) -> bool:
        """Whether the next call of this task could be told, or take the error from others."""
        mode = self.kernel.profile.eio_mode
        if mode.is_taken(self.mapping, member.file):
            return True
        if not _fsync(member).checks or not mode.waits(self.mapping, member.file):
            return False
        opened = self.around.engine.now_ns if member.file is None else member.file.opened_ns
        return any(_is_told(lost, member.name, opened) for lost in self.pending)

    def _members(self) -> list[UserTask]:
        """The living tasks that ask the file for errors."""
        return [
            member
            for group in self.processes.groups
            if asks(group.spec, self.name)
            for member in group.members
            if member.alive
        ]

    # -- the calls ---------------------------------------------------------------------------------

    def _due(self, call: Call) -> None:
        if not self.kernel.halted:
            call.happens()
            self.arm()

    def _ask(self, member: UserTask) -> None:
        call = _fsync(member).call
        if fsync_error(self.kernel, self.region, call, member.file):
            self._answer(member, call)

    def _open(self, member: UserTask) -> None:
        self._close(member)
        member.file = open_file(self.mapping, self.around.engine.now_ns).get()

    def _close(self, member: UserTask) -> None:
        file = member.file
        if file is None:
            return
        if close_file(self.kernel, file):
            self._answer(member, ToldBy.CLOSE)
        member.file = None
        file_left(self.kernel, self.mapping)

    def _answer(self, member: UserTask, call: str) -> None:
        """The call returns -EIO; not every task looks at that."""
        if _fsync(member).checks:
            self.told(member.name, member.file, call)
            return
        self.kernel.reach("eio:unheard")
        if self._shared_bit:
            self.swallowed(Swallowed.UNCHECKED)

    def _sync(self) -> None:
        if self._has_pages(self.around.engine.now_ns) and wait_swallows(self.kernel, self.mapping, "sync"):
            self.swallowed(Swallowed.SYNC)

    def _evict(self) -> None:
        self.kernel.event("evicted", file=self.name)
        drop_pages(self.around, self.mapping)
        if not self.kernel.halted:
            evict_inode(self.kernel, self.mapping)


def asks(task: TaskSpec, file: str) -> bool:
    """Whether the tasks of this table ask the file for errors."""
    return task.fsync is not None and task.fsync.file == file


def _fsync(member: UserTask) -> FsyncSpec:
    """How the task asks; only of those that do."""
    fsync = member.group.spec.fsync
    assert fsync is not None
    return fsync


def _is_told(lost: LostWrite, task: str, opened_ns: int) -> bool:
    """Whether the error means something to the task: not what was known before it opened the file."""
    known = lost.tellings[0].time_ns if lost.tellings else None
    return not lost.heard(task) and (known is None or opened_ns <= max(lost.lost_ns, known))


def _sessions(member: UserTask) -> tuple[int, int, int]:
    """(first start, period, length) of the sessions of a task, in ns: they begin between two asks."""
    fsync = _fsync(member)
    assert fsync.reopen_ns is not None
    return member.fsync_ns + fsync.every_ns // 2, fsync.reopen_ns, int(fsync.reopen_ns * fsync.open_share)


def _refresh(member: UserTask, mapping: AddressSpace, now: int) -> None:
    """Put the task into the session it is in now: opened before the error, or closed."""
    task = member.task
    assert task is not None
    if _fsync(member).reopen_ns is None:
        return
    start, period, length = _sessions(member)
    since = (now - start) % period
    if member.file is not None and since < length:
        member.file.opened_ns = max(task.started_ns, now - since)
    elif member.file is not None:
        member.file.put()
        member.file = None
    elif since < length:
        member.file = open_file(mapping, max(task.started_ns, now - since)).get()
        member.file.f_wb_err = mapping.wb_err - 1  # it has seen all but the error that is new
