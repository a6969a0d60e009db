"""What the kernel tells those above it, and what it asks them: its ports.

The kernel imports nothing above it.  Who wants to know registers at boot, as an attribute of the kernel: one
listener a port, any number of :class:`HandlerWatcher`.  Ports are traits, so that one class can answer
several and the core can be compiled; a method that nobody has written is an error in the model.

:class:`~hwsim.kernel.mm_types.UserSpace` stands where a Task points at it.
"""

from __future__ import annotations

from collections.abc import Sequence

from mypy_extensions import trait

from hwsim.kernel.failure import Chance, MemoryFailure
from hwsim.kernel.mm_types import AddressSpace, OpenFile, Page, Pte, Region, Signal, Vma


class Halted(Exception):
    """The kernel has panicked: whatever was under way ends here."""


@trait
class PageWatcher:
    """Frames change hands or users (include/linux/mmu_notifier.h): told by whoever does that to a page.

    Answered by those who keep the bad lines.  ``kernel.watcher``.
    """

    __slots__ = ()

    def watches(self, pfn: int) -> bool:
        """Whether something on the frame is still under way, so that what becomes of it matters."""
        raise NotImplementedError

    def look(self, chance: Chance) -> None:
        """Somebody looks at the page of an error, which was looked at before: bring it up to now."""
        raise NotImplementedError

    def settle(self, region: Region) -> None:
        """Other tasks are about to map the region than before: bring its watched pages up to now."""
        raise NotImplementedError

    def sharers_changed(self, region: Region) -> None:
        """Other tasks map the region than before."""
        raise NotImplementedError

    def entries_copied(self, child: Vma) -> None:
        """fork() has given the child entries of its parent."""
        raise NotImplementedError

    def entries_dropped(self, pages: list[Page]) -> None:
        """These pages have lost a page-table entry, or what stood in its place."""
        raise NotImplementedError

    def freed(self, page: Page) -> None:
        """The last user of a watched frame has dropped it: it is the watcher's to free."""
        raise NotImplementedError

    def allocated(self, page: Page, order: int) -> bool:
        """An allocation of ``order`` meets this free frame; False: nobody watches it."""
        raise NotImplementedError

    def released(self, region: Region) -> None:
        """The owner of the region is gone: its frames are free."""
        raise NotImplementedError

    def revived(self, region: Region) -> None:
        """The frames of the region have a new owner."""
        raise NotImplementedError

    def handler_touches(self, signal: Signal) -> bool:
        """A handler touches the page that it is told about: whether that is fatal."""
        raise NotImplementedError

    def page_of(self, signal: Signal) -> Page | None:
        """The page that a handler is told about, as long as anybody looks after it."""
        raise NotImplementedError

    def remapped(self, signal: Signal) -> None:
        """A handler has mapped a fresh page over the one that it is told about."""
        raise NotImplementedError

    def access_repeated(self, signal: Signal) -> None:
        """A handler has returned to the access that faulted."""
        raise NotImplementedError


@trait
class HandlerWatcher:
    """How far the handling of a page is: told from the machine check to the end of memory_failure().

    Answered by those who keep the bad lines.  ``kernel.handler_watchers``, in order.
    """

    __slots__ = ()

    def queued(self, failure: MemoryFailure) -> None:
        """The page stands in the ring of a CPU."""
        raise NotImplementedError

    def lost(self, failure: MemoryFailure) -> None:
        """The bank or the ring was full: nobody will hear of the page."""
        raise NotImplementedError

    def survived(self, failure: MemoryFailure) -> None:
        """A machine check of panic severity, and the machine goes on (tolerant 3)."""
        raise NotImplementedError

    def waited(self, failure: MemoryFailure, page: Page) -> None:
        """memory_failure() has slept, and is about to unmap the page."""
        raise NotImplementedError

    def unmapped(self, failure: MemoryFailure, page: Page, entries: list[Pte]) -> None:
        """The page is out of the page tables; ``entries`` are what mapped it."""
        raise NotImplementedError

    def signalled(self, signal: Signal) -> None:
        """A signal about a page has been sent."""
        raise NotImplementedError

    def done(self, failure: MemoryFailure) -> None:
        """memory_failure() has returned."""
        raise NotImplementedError


@trait
class FileWatcher:
    """Files lose data, their pages and who has them open: answered by who keeps lost writes.

    Told by mm/filemap, by those who keep the bad lines, and by the calls of a script.  ``kernel.files``.
    """

    __slots__ = ()

    def write_lost(self, failure: MemoryFailure, page: Page, entries: Sequence[Pte]) -> None:
        """memory_failure() has dropped, or given up, a dirty page of a file or of a shared segment.

        ``entries`` are what mapped it.
        """
        raise NotImplementedError

    def readers_changed(self, mapping: AddressSpace) -> None:
        """Other calls than before can meet an error: pages are back, or awaited at another time."""
        raise NotImplementedError

    def read(self, region: Region, index: int) -> None:
        """Somebody has read old data, or zeroes."""
        raise NotImplementedError

    def written(self, region: Region, index: int) -> None:
        """The page has been written as a whole."""
        raise NotImplementedError

    def told(self, region: Region, task: str, file: OpenFile, by: str) -> None:
        """A call has returned the error of the mapping, -EIO, to somebody who looks at it."""
        raise NotImplementedError

    def told_of_page(self, region: Region, index: int, task: str, file: OpenFile, by: str) -> None:
        """A call has returned -EIO because of PG_error of this page."""
        raise NotImplementedError

    def swallowed(self, region: Region, by: str) -> None:
        """A call has taken the error of the mapping away, and nobody looks at what it returns."""
        raise NotImplementedError

    def truncated(self, region: Region, cut: range) -> None:
        """Pages were cut out of their file: nobody can read what was there before."""
        raise NotImplementedError

    def released(self, region: Region) -> None:
        """The segment is gone with all who mapped it."""
        raise NotImplementedError

    def closed(self, mapping: AddressSpace, *, unheard: bool) -> None:
        """A descriptor or a mapping is gone; ``unheard``: close() had an error that nobody has read."""
        raise NotImplementedError

    def last_close(self, mapping: AddressSpace) -> None:
        """Nobody has the device open any more: it is written back and its pages go."""
        raise NotImplementedError

    def evicted(self, mapping: AddressSpace, *, lost: bool) -> None:
        """The inode has left memory; ``lost``: with an error that nobody will hear of."""
        raise NotImplementedError
