"""What the kernel tells of frames and of their handling, turned into calls on the bad lines concerned."""

from __future__ import annotations

from hwsim.bad_lines import discovery, frame_reuse, handled, late_touch, looks, mappings
from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.bad_lines import BadLines
from hwsim.kernel.failure import Chance, MemoryFailure
from hwsim.kernel.mm_types import Page, Pte, Region, Signal, Vma
from hwsim.kernel.page_flags import HEAD
from hwsim.kernel.ports import HandlerWatcher, PageWatcher
from hwsim.kernel.signal import BUS_MCEERR_AO


class ErrorWatch(PageWatcher, HandlerWatcher):
    """The listener of one machine; every boot's kernel has it."""

    __slots__ = ("_around", "_by_pfn", "_lines", "_sets")

    def __init__(self, bad_lines: BadLines) -> None:
        self._around = bad_lines.around
        self._lines = bad_lines.all
        self._by_pfn = bad_lines.by_pfn
        self._sets = bad_lines.sets

    def _of(self, region: Region) -> list[BadLine]:
        return list(map(self._by_pfn.__getitem__, region.watched))

    # -- frames -------------------------------------------------------------------------------------

    def watches(self, pfn: int) -> bool:
        line = self._by_pfn.get(pfn)
        return line is not None and not line.finished

    def look(self, chance: Chance) -> None:
        line = self._lines.get(chance.error)
        if line is not None:
            looks.settle(line)

    def settle(self, region: Region) -> None:
        for line in self._of(region):
            looks.settle(line)

    def sharers_changed(self, region: Region) -> None:
        for line in self._of(region):
            mappings.sharers_changed(line)

    def entries_copied(self, child: Vma) -> None:
        for pte in list(child.ptes.values()):
            line = self._by_pfn.get(pte.page.pfn)
            if line is not None:
                mappings.entry_copied(line, child)

    def entries_dropped(self, pages: list[Page]) -> None:
        for page in pages:
            line = self._by_pfn.get(page.pfn)
            if line is not None:
                mappings.entries_dropped(line)
            if page.flags & HEAD:  # the entries of a compound page are its head's
                for tail in self._of(page.region):
                    if tail.page is not None and tail.page.head is page:
                        mappings.entries_dropped(tail)

    def freed(self, page: Page) -> None:
        frame_reuse.freed(self._by_pfn[page.pfn])

    def allocated(self, page: Page, order: int) -> bool:
        if not self.watches(page.pfn):
            return False
        frame_reuse.handed_out(self._by_pfn[page.pfn], order)
        return True

    def released(self, region: Region) -> None:
        for line in self._of(region):
            frame_reuse.owner_gone(line)

    def revived(self, region: Region) -> None:
        for line in self._of(region):
            frame_reuse.region_revived(line)
        for each in self._sets:
            each.revived(region)

    # -- what a SIGBUS handler does -------------------------------------------------------------------

    def handler_touches(self, signal: Signal) -> bool:
        return late_touch.by_handler(self._lines[signal.failure.error], signal)

    def page_of(self, signal: Signal) -> Page | None:
        return self._lines[signal.failure.error].page

    def remapped(self, signal: Signal) -> None:
        if signal.vma is not None:
            late_touch.remapped(self._lines[signal.failure.error], signal.vma)

    def access_repeated(self, signal: Signal) -> None:
        late_touch.again(self._lines[signal.failure.error], signal)

    # -- memory_failure() --------------------------------------------------------------------------------

    def queued(self, failure: MemoryFailure) -> None:
        self._lines[failure.error].in_boot.queued.add(failure)

    def lost(self, failure: MemoryFailure) -> None:
        discovery.lost(self._lines[failure.error])

    def survived(self, failure: MemoryFailure) -> None:
        discovery.survived(self._lines[failure.error])

    def waited(self, failure: MemoryFailure, page: Page) -> None:
        line = self._lines.get(failure.error)
        if line is not None:
            handled.stored_meanwhile(line, page, failure.started_ns)

    def unmapped(self, failure: MemoryFailure, page: Page, entries: list[Pte]) -> None:
        line = self._lines.get(failure.error)
        if line is not None:
            handled.unmapped(line, failure, entries)

    def signalled(self, signal: Signal) -> None:
        failure = signal.failure
        line = self._lines.get(failure.error)
        if line is None:
            return
        line.in_boot.signals += (signal,)
        if signal.code == BUS_MCEERR_AO and signal.vma is not None and not signal.innocent:
            signal.would_touch_ns = late_touch.would_touch_ns(line, signal.vma, failure)

    def done(self, failure: MemoryFailure) -> None:
        line = self._lines.get(failure.error)
        if line is not None:
            handled.done(line, failure)
