"""Contents of a page come into memory: from the disk, from the swap device, or as zeroes."""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.memory import BUS_ERROR, OK, REREAD_DISK, REREAD_SWAP, STALE, ZEROES
from hwsim.kernel.mm.page_cache import add_to_page_cache, set_page_dirty
from hwsim.kernel.mm.swap import is_on_swap, read_swap_cache, shmem_getpage
from hwsim.kernel.mm_types import Page, Region
from hwsim.script.frames import changed, new_page
from hwsim.script.pages import cached
from hwsim.script.step import Step

ANON_PAGE = pg.LRU | pg.SWAPBACKED | pg.UPTODATE | pg.ANON


def bring_in(step: Step, region: Region, pgoff: int) -> tuple[Page | None, str]:
    """The page of a file with its contents; None beyond its end, or when it cannot be read."""
    mapping = region.mapping
    assert mapping is not None
    page = cached(step, region, pgoff)
    if page is not None and page.flags & pg.SWAPCACHE:
        return (page, REREAD_SWAP) if shmem_getpage(page) else (None, BUS_ERROR)
    if page is not None:
        return page, OK
    if is_on_swap(region, pgoff):
        return read_slot(step, region, pgoff), REREAD_SWAP
    if pgoff >= region.size_pages:
        return None, BUS_ERROR
    return new_cached_page(step, region, pgoff), read_result(step, region, pgoff)


def read_slot(step: Step, region: Region, pgoff: int) -> Page:
    """shmem_getpage(): a page of a segment from its slot on the swap device, which is given back."""
    mapping = region.mapping
    assert mapping is not None
    step.kernel.reach("fault:reread_swap")
    del mapping.slots[pgoff]
    page = new_cached_page(step, region, pgoff)
    set_page_dirty(page, step.kernel.engine.now_ns)
    return page


def new_cached_page(step: Step, region: Region, pgoff: int) -> Page:
    """A new page in the page cache: clean, in memory file systems too, until somebody stores to it."""
    mapping = region.mapping
    assert mapping is not None
    flags = pg.LRU | pg.UPTODATE
    if mapping.swap_backed:
        flags |= pg.SWAPBACKED
    page = new_page(step, region, pgoff, flags)
    add_to_page_cache(page, mapping)
    mapping.read_again.pop(pgoff, None)
    changed(step, page)
    step.kernel.files.readers_changed(mapping)  # fsync() may ask from now on
    return page


def read_result(step: Step, region: Region, pgoff: int) -> str:
    """What a page holds that is not in memory any more: old data, if a newer version was lost."""
    mapping = region.mapping
    assert mapping is not None
    if not mapping.accounts_dirty or pgoff in mapping.holes:
        return ZEROES
    if lost_pages(step, region, pgoff):
        step.kernel.reach("fault:stale")
        return STALE
    step.kernel.reach("fault:reread_disk")
    return REREAD_DISK


def lost_pages(step: Step, region: Region, pgoff: int) -> list[Page]:
    """Frames that held a newer version of this page of the file than the disk has."""
    pages = step.kernel.mem_map.overlay.values()
    return [page for page in pages if page.region is region and page.pgoff == pgoff and page.lost_bytes]


def swap_in_frame(step: Step, old: Page) -> Page:
    """The contents of ``old`` in a new frame, read from the swap device."""
    page = new_page(step, old.region, old.pgoff, ANON_PAGE)
    page.anon_vma = (old.region.fork_family or old.region).anon_vma
    read_swap_cache(page, old)
    return page
