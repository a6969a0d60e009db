"""Who asks a file for errors, and when: the calls that come while a lost write waits to be told.

fsync() and the like, close(), sync() and the eviction of the inode are computed from their phases, and only
while an error waits in the mapping: there are no standing timers.  What a call gets, and whether it
takes the error away, is the kernel's error mode (``kernel/filemap_error``).
"""

from __future__ import annotations

from math import log1p
from typing import TYPE_CHECKING, Any, NamedTuple

from hwsim.bad_lines.frame_reuse import drop_pages
from hwsim.engine import KERNEL_ACCESS, TASK_ACCESS, Agenda
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.filemap_error import (
    asks_mapping,
    close_file,
    eio_mode,
    evict_inode,
    file_left,
    filemap_check_errors,
    open_file,
    wait_swallows,
)
from hwsim.kernel.mm_types import AddressSpace, OpenFile, Page, Pte
from hwsim.kernel.page_cache import has_cached_pages
from hwsim.kernel.ports import FileWatcher
from hwsim.kernel.writeback import next_tick_ns
from hwsim.lost_writes.lost_write import LostWrite, asks
from hwsim.record import LostWriteRow
from hwsim.rng import Slot

if TYPE_CHECKING:
    from hwsim.kernel.mm_types import Region
    from hwsim.machine import Machine
    from hwsim.userspace.user_task import UserTask


class Watch:
    """One file while an error waits in its mapping: the calls to come that could meet it.

    Life: made with the first lost write of a boot -> :meth:`add`, and :meth:`arm` whenever tasks come or
    go -> idle when nobody is left to be told.  Sessions are followed only meanwhile: before, they are
    known from their phase.
    """

    __slots__ = ("_agenda", "_idle", "machine", "mapping", "name", "pending", "region")

    def __init__(self, machine: Machine, region: Region) -> None:
        assert region.mapping is not None
        self.machine = machine
        self.region = region
        self.mapping: AddressSpace = region.mapping
        self.name = region.name.removeprefix("file:")
        self.pending: list[LostWrite] = []
        self._agenda: Agenda[Call] = Agenda(machine.engine, machine.horizon_ns, self._due)
        self._idle = True  # nobody to come could be told: sessions are not followed

    def add(self, lost: LostWrite) -> None:
        """A dirty page is gone; an error waits in the mapping, if the handler left one."""
        if self._idle:
            for member in self._members():
                _refresh(member, self.mapping, lost.lost_ns)
        if lost.eio or lost.reads_find == "EIO":
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
        self.machine.kernel.event("swallowed", file=self.name, by=by)

    def closed(self, *, unheard: bool) -> None:
        """A file was closed: the last close may clear the error, or the close of a dead task hear it."""
        if self.mapping.as_eio or not self.pending:
            return
        if unheard and self._shared_bit:
            self.swallowed("exit")
        elif eio_mode(self.machine.kernel).last_close_clears:
            self.swallowed("close")

    def end(self) -> None:
        """The mapping went with its kernel."""
        self.pending = []
        self._agenda.expect(None)

    @property
    def _shared_bit(self) -> bool:
        """Whether one caller takes the error away from all others."""
        return eio_mode(self.machine.kernel).sync_swallows

    # -- what comes next ---------------------------------------------------------------------------

    def arm(self) -> None:
        """Wait for the earliest call that can meet the error."""
        call = min(self._candidates(), key=lambda each: each[:2], default=None)
        self._idle = call is None
        self._agenda.expect(call)

    def _candidates(self) -> list[Call]:
        """Every call to come that could change who knows; none, and the watch is idle."""
        machine, now = self.machine, self.machine.engine.now_ns
        members = [each for each in self._members() if self._could_hear(each)]
        if not self.pending or not (self.mapping.as_eio or members):
            return []
        found: list[Call] = []
        cached_ns = self._cached_from(now)
        for member in members:
            spec, tie = member.group.spec.fsync, TASK_ACCESS | member.number
            assert spec is not None
            asks_ns = now if self._asks(spec.call, has_pages=False) else cached_ns
            if member.file is not None and asks_ns is not None and self._asks(spec.call, has_pages=True):
                found.append(Call(next_tick_ns(asks_ns, member.fsync_ns, spec.every_ns), tie, "ask", member))
            if spec.reopen_ns is not None:
                start, period, length = _sessions(member)
                if member.file is None or spec.open_share >= 1.0:
                    found.append(Call(next_tick_ns(now, start, period), tie, "open", member))
                else:
                    found.append(Call(next_tick_ns(now, start + length, period), tie, "close", member))
        sync = machine.kernel.flusher.sync
        if sync is not None and self._shared_bit and cached_ns is not None:
            found.append(Call(next_tick_ns(cached_ns, *sync), KERNEL_ACCESS, "sync", None))
        rate = self.region.layout.evict_per_s * 1e-9
        if rate > 0.0 and not self.mapping.files and not self.mapping.vmas:
            u = machine.draws.extra(self.pending[0].story.error, Slot.EVICT, now)
            found.append(Call(now + int(-log1p(-u) / rate) + 1, KERNEL_ACCESS, "evict", None))
        return found

    def _cached_from(self, now: int) -> int | None:
        """From when on the mapping has pages, as far as chance brings any back; None: never."""
        if self._has_pages(now):
            return now
        return min(self.mapping.read_again.values(), default=None)

    def _has_pages(self, now: int) -> bool:
        return has_cached_pages(self.region, self.machine.kernel.mem_map.overlay, now)

    def _asks(self, call: str, *, has_pages: bool) -> bool:
        return asks_mapping(self.machine.kernel, call, self.region.size_pages, has_pages)

    def _could_hear(self, member: UserTask) -> bool:
        """Whether the next call of this task could be told, or take the error from others."""
        spec, kernel = member.group.spec.fsync, self.machine.kernel
        assert spec is not None
        if self._shared_bit:
            return self.mapping.as_eio
        if not spec.checks and kernel.switches.eio_mode != "errseq":
            return False
        if kernel.switches.eio_mode == "errseq":
            stale = member.file is not None and member.file.f_wb_err != self.mapping.wb_err
            return self.mapping.wb_err != 0 and (not self.mapping.wb_seen or stale)
        if not eio_mode(kernel).check(self.mapping, member.file):  # these modes only look
            return False
        opened = kernel.engine.now_ns if member.file is None else member.file.opened_ns
        return any(_is_told(lost, member.name, opened) for lost in self.pending)

    def _members(self) -> list[UserTask]:
        return [
            member
            for group in self.machine.processes.groups
            if asks(group.spec, self.name)
            for member in group.members
            if member.alive
        ]

    def _due(self, call: Call) -> None:
        if not self.machine.kernel.halted:
            self._happens(call.what, call.who)
            self.arm()

    def _happens(self, what: str, member: UserTask) -> None:
        kernel = self.machine.kernel
        if what == "ask":
            spec = member.group.spec.fsync
            assert spec is not None
            asked = self._asks(spec.call, has_pages=self._has_pages(kernel.engine.now_ns))
            if asked and filemap_check_errors(kernel, self.mapping, member.file):
                self._answer(member, spec.call)
        elif what in ("open", "close"):
            self._close(member)
            if what == "open":
                member.file = open_file(self.mapping, self.machine.engine.now_ns).get()
        elif what == "sync":
            if self._has_pages(kernel.engine.now_ns) and wait_swallows(kernel, self.mapping, "sync"):
                self.swallowed("sync")
        else:
            kernel.event("evicted", file=self.name)
            drop_pages(self.machine.around, self.mapping)
            if not kernel.halted:
                evict_inode(kernel, self.mapping)

    def _answer(self, member: UserTask, call: str) -> None:
        spec = member.group.spec.fsync
        assert spec is not None
        if spec.checks:
            self.told(member.name, member.file, call)
            return
        self.machine.kernel.reach("eio:unheard")
        if self._shared_bit:
            self.swallowed("unchecked")

    def _close(self, member: UserTask) -> None:
        file = member.file
        if file is None:
            return
        if close_file(self.machine.kernel, file):
            self._answer(member, "close")
        member.file = None
        file_left(self.machine.kernel, self.mapping)


class Call(NamedTuple):
    """A call to come: when, its place among ties, what, and by whom."""

    time_ns: int
    priority: int
    what: str  # ask | open | close | sync | evict
    who: Any


def _is_told(lost: LostWrite, task: str, opened_ns: int) -> bool:
    """Whether the error means something to the task: not what was known before it opened the file."""
    known = lost.tellings[0].time_ns if lost.tellings else None
    return not lost.heard(task) and (known is None or opened_ns <= max(lost.lost_ns, known))


def _sessions(member: UserTask) -> tuple[int, int, int]:
    """(first start, period, length) of the sessions of a task, in ns: they begin between two asks."""
    spec = member.group.spec.fsync
    assert spec is not None and spec.reopen_ns is not None
    return member.fsync_ns + spec.every_ns // 2, spec.reopen_ns, int(spec.reopen_ns * spec.open_share)


def _refresh(member: UserTask, mapping: AddressSpace, now: int) -> None:
    """Put the task into the session it is in now: opened before the error, or closed."""
    spec, task = member.group.spec.fsync, member.task
    assert spec is not None and task is not None
    if spec.reopen_ns is None:
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


class LostWrites(FileWatcher):
    """All lost writes of a machine: those of this boot with their watches, those before as rows."""

    __slots__ = ("_before", "_watches", "machine", "rows")

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.rows: list[LostWrite] = []
        self._before: list[LostWriteRow] = []
        self._watches: dict[AddressSpace, Watch] = {}

    def write_lost(self, failure: MemoryFailure, page: Page, entries: list[Pte]) -> None:
        """memory_failure() has dropped, or given up, a dirty page of a file or of a shared segment.

        A segment has no descriptor: nobody can ask it for errors.
        """
        lost = LostWrite(self.machine, self.machine.bad_lines.all[failure.error], page, entries)
        self.rows.append(lost)
        if page.region.kind != "shm":
            self.watch(page.region).add(lost)

    def released(self, region: Region) -> None:
        for lost in self.rows:
            if lost.region is region:
                lost.finish("released", self.machine.engine.now_ns)

    def watch(self, region: Region) -> Watch:
        """The watch of a file."""
        assert region.mapping is not None
        watch = self._watches.get(region.mapping)
        if watch is None:
            watch = self._watches[region.mapping] = Watch(self.machine, region)
        return watch

    def of(self, mapping: AddressSpace) -> Watch | None:
        """The watch of the mapping, if anything of it was ever lost in this boot."""
        return self._watches.get(mapping)

    def readers_changed(self, mapping: AddressSpace) -> None:
        """Other calls than before can meet an error of this mapping."""
        watch = self.of(mapping)
        if watch is not None:
            watch.arm()

    def script_read(self, region: Region, index: int) -> None:
        """A script's step has read old data."""
        for lost in self._at(region, index):
            lost.reads.append(self.machine.engine.now_ns)

    def overwritten(self, region: Region, index: int) -> None:
        """A script's step has written the page as a whole."""
        for lost in self._at(region, index):
            lost.finish("overwritten", self.machine.engine.now_ns)

    def truncated(self, region: Region, cut: range) -> None:
        for lost in self.rows:
            if lost.region is region and lost.index in cut:
                lost.finish("truncated", self.machine.engine.now_ns)

    def told_of_page(self, region: Region, index: int, task: str, file: OpenFile, by: str) -> None:
        """A call has returned -EIO because of PG_error of this page."""
        for lost in self._at(region, index):
            if not lost.heard(task):
                lost.tell(task, file, by)

    def evicted(self, mapping: AddressSpace, *, lost: bool) -> None:
        """The inode has left memory: its error with it, and the pages kept as markers."""
        for each in self.rows:
            if each.region.mapping is mapping and not each.end:
                each.marker_dropped()
        if lost:
            self.watch(self.machine.kernel.mem_map.by_name[mapping.name]).swallowed("inode")

    def closed(self, mapping: AddressSpace, *, unheard: bool) -> None:
        watch = self.of(mapping)
        if watch is not None:
            watch.closed(unheard=unheard)
            watch.arm()

    def last_close(self, mapping: AddressSpace) -> None:
        """The last close of a block device: sync_blockdev() waits for its pages, and kill_bdev() drops them.

        __blkdev_put() looks at no answer, so that an error is gone (fs/block_dev.c, 2.6.30).
        """
        kernel = self.machine.kernel
        region = kernel.mem_map.by_name[mapping.name]
        cached = has_cached_pages(region, kernel.mem_map.overlay, kernel.engine.now_ns)
        drop_pages(self.machine.around, mapping)
        if cached and not kernel.halted and wait_swallows(kernel, mapping, "close"):
            self.watch(region).swallowed("close")

    def result(self, end_ns: int) -> list[LostWriteRow]:
        """The records up to now, in order of loss."""
        return self._before + [each.row(self.machine.index, end_ns) for each in self.rows]

    def _at(self, region: Region, index: int) -> list[LostWrite]:
        return [each for each in self.rows if each.region is region and each.index == index and not each.end]

    def rebooted(self) -> None:
        """Memory has forgotten every error that nobody was told of."""
        for lost in self.rows:
            if not lost.end:
                if not lost.tellings and not lost.swallowed:
                    lost.swallowed = "reboot"
                lost.finish("reboot", self.machine.engine.now_ns)
        self._before = self.result(self.machine.engine.now_ns)
        self.rows = []
        for watch in self._watches.values():
            watch.end()
        self._watches = {}
