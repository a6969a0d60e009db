"""All lost writes of a machine, and who is told of them."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.bad_lines.bad_lines import BadLines
from hwsim.bad_lines.drop_pages import drop_pages
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.mm.filemap import wait_swallows
from hwsim.kernel.mm.page_cache import has_cached_pages
from hwsim.kernel.mm_types import AddressSpace, OpenFile, Page, Pte, Region
from hwsim.kernel.ports import FileWatcher
from hwsim.lost_writes.fsync_calls import FileCalls, asks
from hwsim.lost_writes.lost_write import LostWrite, lose
from hwsim.record import LostEnd, LostWriteRow, Swallowed
from hwsim.spec import FileSpec
from hwsim.userspace.process_table import ProcessTable


class LostWrites(FileWatcher):
    """The lost writes of one machine: those of this boot with the calls to come, those before as rows.

    Life: made at power-on; every boot's kernel has it at ``kernel.files`` -> :meth:`rebooted` -> ... ->
    :meth:`result`.
    """

    __slots__ = ("_around", "_bad_lines", "_before", "_calls", "_files", "_processes", "_rows")

    def __init__(self, bad_lines: BadLines, processes: ProcessTable, files: tuple[FileSpec, ...]) -> None:
        self._around = bad_lines.around
        self._bad_lines = bad_lines
        self._processes = processes
        self._files = files
        self._rows: list[LostWrite] = []
        self._before: list[LostWriteRow] = []
        self._calls: dict[AddressSpace, FileCalls] = {}

    # -- what the kernel tells ----------------------------------------------------------------------

    def write_lost(self, failure: MemoryFailure, page: Page, entries: Sequence[Pte]) -> None:
        """The calls on a file are followed from now on; a segment has no descriptor to ask for errors."""
        lost = lose(self._bad_lines.all[failure.error], page, entries, self._users(page.region))
        self._rows.append(lost)
        if page.region.layout.is_file:
            self._calls_of(page.region).add(lost)

    def _users(self, region: Region) -> list[str]:
        """The tasks that use the file by system call: its writers, or those that ask for errors."""
        name = region.name.removeprefix("file:")
        writers = next((file.writers for file in self._files if file.name == name), ())
        groups = [
            group
            for group in self._processes.groups
            if group.spec.name in writers or (not writers and asks(group.spec, name))
        ]
        return [member.name for group in groups for member in group.members if member.alive]

    def readers_changed(self, mapping: AddressSpace) -> None:
        calls = self._calls.get(mapping)
        if calls is not None:
            calls.arm()

    def read(self, region: Region, index: int) -> None:
        for lost in self._at(region, index):
            lost.reads.append(self._around.engine.now_ns)

    def written(self, region: Region, index: int) -> None:
        self._finish(region, range(index, index + 1), LostEnd.OVERWRITTEN)

    def told(self, region: Region, task: str, file: OpenFile, by: str) -> None:
        self._calls_of(region).told(task, file, by)

    def told_of_page(self, region: Region, index: int, task: str, file: OpenFile, by: str) -> None:
        for lost in self._at(region, index):
            if not lost.heard(task):
                lost.tell(task, file, by)

    def swallowed(self, region: Region, by: str) -> None:
        calls = self._calls_of(region)
        calls.swallowed(by)
        calls.arm()

    def truncated(self, region: Region, cut: range) -> None:
        self._finish(region, cut, LostEnd.TRUNCATED)

    def released(self, region: Region) -> None:
        for lost in self._rows:
            if lost.region is region:
                lost.finish(LostEnd.RELEASED, self._around.engine.now_ns)

    def evicted(self, mapping: AddressSpace, *, lost: bool) -> None:
        """Its error goes with the inode, and the pages kept as markers."""
        for each in self._rows:
            if each.region.mapping is mapping and not each.end:
                each.marker_dropped()
        if lost:
            self._calls_of(self._around.kernel.mem_map.by_name[mapping.name]).swallowed(Swallowed.INODE)

    def closed(self, mapping: AddressSpace, *, unheard: bool) -> None:
        calls = self._calls.get(mapping)
        if calls is not None:
            calls.closed(unheard=unheard)
            calls.arm()

    def last_close(self, mapping: AddressSpace) -> None:
        """The last close of a block device: sync_blockdev() waits for its pages, and kill_bdev() drops them.

        __blkdev_put() looks at no answer, so that an error is gone (fs/block_dev.c, 2.6.30).
        """
        kernel = self._around.kernel
        region = kernel.mem_map.by_name[mapping.name]
        cached = has_cached_pages(region, kernel.mem_map.overlay, kernel.engine.now_ns)
        drop_pages(self._around, mapping)
        if cached and not kernel.halted and wait_swallows(kernel, mapping, "close"):
            self._calls_of(region).swallowed(Swallowed.CLOSE)

    def _calls_of(self, region: Region) -> FileCalls:
        """The calls to come of a file."""
        assert region.mapping is not None
        calls = self._calls.get(region.mapping)
        if calls is None:
            calls = self._calls[region.mapping] = FileCalls(self._around, self._processes, region)
        return calls

    def _finish(self, region: Region, cut: range, end: str) -> None:
        """Nobody can read the old contents of these pages any more."""
        for lost in self._rows:
            if lost.region is region and lost.index in cut:
                lost.finish(end, self._around.engine.now_ns)

    def _at(self, region: Region, index: int) -> list[LostWrite]:
        return [each for each in self._rows if each.region is region and each.index == index and not each.end]

    # -- the end of a boot, and of the run ----------------------------------------------------------

    def result(self, end_ns: int) -> list[LostWriteRow]:
        """The records up to now, in order of loss."""
        return self._before + [each.row(end_ns) for each in self._rows]

    def rebooted(self) -> None:
        """Memory has forgotten every error that nobody was told of."""
        now = self._around.engine.now_ns
        for lost in self._rows:
            if not lost.end:
                if not lost.tellings and not lost.swallowed:
                    lost.swallowed = Swallowed.REBOOT
                lost.finish(LostEnd.REBOOT, now)
        self._before = self.result(now)
        self._rows = []
        for calls in self._calls.values():
            calls.end()
        self._calls = {}
