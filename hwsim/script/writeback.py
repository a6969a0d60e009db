"""Writing a file back for a script's step: under the lock of each page, by DMA that reads it."""

from __future__ import annotations

from collections.abc import Generator

from simpy import Event

from hwsim.bad_lines import discovery
from hwsim.engine import Steps
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.page_cache import clear_page_dirty_for_io, is_dirty, writes_inode
from hwsim.kernel.mm.page_lock import trylock_page, unlock_page, wait_on_page, wait_on_page_writeback
from hwsim.kernel.mm_types import AddressSpace, Page
from hwsim.kernel.writeback import Inode
from hwsim.script.frames import up_to_now
from hwsim.script.step import Step


def is_locked(page: Page) -> bool:
    """Whether somebody else has the page lock; a step that took it is the one that goes on."""
    return bool(page.flags & pg.LOCKED) and not page.locked_by_script


def write_back(
    step: Step, mapping: AddressSpace, covered: range | None = None
) -> Generator[Event, object, list[Page]]:
    """Every dirty page of the file, or of a range of it, goes to the disk: DMA reads it.

    write_cache_pages() takes each page's lock, may find the page gone then, and waits for a write-out that
    is under way; wait_on_page_writeback_range() waits for those of clean pages, too.  The answer is the pages
    for which it says EIO: PG_error, which nobody clears (mm/page-writeback.c, mm/filemap.c; 2.6.30).
    """
    failed: list[Page] = []
    if not mapping.accounts_dirty:
        return failed
    for page in mapping.pages.values():
        up_to_now(step, page)
    if covered is None and mapping.host is not None:  # pages not looked at yet are clean, too
        mapping.host.written(step.kernel.engine.now_ns, whole_inode=writes_inode(mapping, step.spec.verb))
    pages = [page for page in mapping.pages.values() if covered is None or page.pgoff in covered]
    for page in pages:
        while is_dirty(page) and is_locked(page):
            yield from wait_on_page(step.kernel, page)
        if page.mapping is not mapping:
            continue
        if is_dirty(page):
            yield from _end_of_io(step, page)
            clear_page_dirty_for_io(page)
            mapping.holes.discard(range(page.pgoff, page.pgoff + 1))
            read_by_device(step, page)
            if step.kernel.halted:
                return failed
            if page.flags & pg.ERROR:
                failed.append(page)
    for page in pages:
        yield from wait_on_page_writeback(step.kernel, page)
    if covered is not None and mapping.host is not None and not _more_is_dirty(step, mapping, mapping.host):
        mapping.host.written(step.kernel.engine.now_ns, whole_inode=False)
    return failed


def _end_of_io(step: Step, page: Page) -> Steps:
    """Wait, with the page locked, until a write-out of older data is over."""
    if not page.flags & pg.WRITEBACK:
        return
    ours = trylock_page(page)
    yield from wait_on_page_writeback(step.kernel, page)
    if ours:
        unlock_page(page)


def _more_is_dirty(step: Step, mapping: AddressSpace, inode: Inode) -> bool:
    """mapping_tagged(PAGECACHE_TAG_DIRTY): then an inode of which a range was written keeps its age."""
    stored = inode.first_store_ns(step.kernel.engine.now_ns) is not None
    return stored or any(is_dirty(page) for page in mapping.pages.values())


def read_by_device(step: Step, page: Page) -> None:
    """The disk controller reads the page."""
    line = step.bad_line(page.pfn)
    if line is not None:
        discovery.device_read(line)
