"""Pages on their way through the swap cache (mm/swap_state.c, mm/memory.c, mm/shmem.c of 2.6.30).

An anonymous page keeps its page-table entries' place: they become swap entries.  A page of a shared
segment leaves the segment's page cache for the swap cache, and its entries just go.
"""

from __future__ import annotations

from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_alloc import put_page
from hwsim.kernel.mm.page_cache import delete_from_swap_cache
from hwsim.kernel.mm.rmap import (
    TTU_IGNORE_ACCESS,
    TTU_IGNORE_HWPOISON,
    TTU_UNMAP,
    try_to_unmap,
)
from hwsim.kernel.mm_types import CACHE, SWAP, AddressSpace, Page, Pte, Region, Vma
from hwsim.kernel.page_flags import ANON, DIRTY, HWPOISON, SWAPCACHE, UPTODATE, WRITEBACK


def add_to_swap(page: Page) -> None:
    """Give an anonymous page a slot on the swap device: it is dirty in the swap cache from now on."""
    if not page.flags & SWAPCACHE:
        page.flags |= SWAPCACHE | DIRTY
        page.get(CACHE)


def shmem_writepage(page: Page) -> None:
    """Move a page of a shared segment from its page cache to the swap cache."""
    mapping = page.mapping
    assert mapping is not None
    mapping.pages.pop(page.pgoff, None)
    mapping.swapped[page.pgoff] = page
    page.mapping = None
    page.flags |= SWAPCACHE | DIRTY  # the reference of the one cache goes over to the other


def reclaim(page: Page) -> None:
    """Unmap the page for swap-out: anonymous memory leaves swap entries, a shared segment nothing."""
    if page.flags & ANON:
        add_to_swap(page)
    try_to_unmap(page, TTU_UNMAP | TTU_IGNORE_ACCESS | TTU_IGNORE_HWPOISON)
    if not page.flags & ANON:
        shmem_writepage(page)


def end_swap_writepage(page: Page) -> None:
    """The swap device has the contents."""
    page.swap_entry = True


def do_swap_page(vma: Vma, pte: Pte, page: Page, *, write: bool) -> None:
    """Map the page in place of the swap entry; a first store takes it out of the swap cache."""
    page.map(vma, dirty=write, writable=write)
    pte.page = page
    if write:
        reuse_swap_page(page)


def reuse_swap_page(page: Page) -> None:
    """The only user of a swap-cache page stores to it: the slot is given back."""
    if page.flags & SWAPCACHE and not page.flags & WRITEBACK and len(page.ptes) == 1:
        delete_from_swap_cache(page)
        page.swap_entry = False
        page.flags |= DIRTY


def free_swap_and_cache(page: Page) -> None:
    """The last entry that led to a page of the swap cache is gone: so is its slot."""
    if page.flags & SWAPCACHE and page.flags & ANON and not page.flags & HWPOISON and not _has_entries(page):
        delete_from_swap_cache(page)


def _has_entries(page: Page) -> bool:
    """Whether a page table, or a swap entry in one, still leads to the page."""
    entries = (vma.ptes.get(page.pgoff) for vma in page.anon_vma or ())
    return bool(page.ptes) or any(
        pte is not None and pte.kind == SWAP and pte.page is page for pte in entries
    )


def free_pages_and_swap_cache(kernel: Kernel, pages: list[Page]) -> None:
    """These pages have lost an entry: slots and frames that nobody else uses are given back."""
    watcher = kernel.watcher
    for page in pages:
        if page.epoch == page.region.epoch:  # others go with their region
            free_swap_and_cache(page)
            if not watcher.watches(page.pfn):
                put_page(kernel, page)
    watcher.entries_dropped(pages)


def has_no_contents(mapping: AddressSpace, page: Page) -> bool:
    """Whether shmem_getpage() answers -EIO for this page, as memory_failure() wants of a dirty one."""
    in_swap_cache = mapping.swapped.get(page.pgoff) is page and page.epoch == page.region.epoch
    return in_swap_cache and not page.flags & UPTODATE


def shmem_getpage(page: Page) -> bool:
    """Bring a page of a shared segment back from the swap cache; False is -EIO (not up to date)."""
    if not page.flags & UPTODATE:
        return False
    mapping = page.region.mapping
    assert mapping is not None
    mapping.swapped.pop(page.pgoff, None)
    mapping.pages[page.pgoff] = page
    page.mapping = mapping
    page.flags = page.flags & ~SWAPCACHE | DIRTY
    page.swap_entry = False
    return True


def is_on_swap(region: Region, pgoff: int) -> bool:
    """Whether the contents of this page of a shared segment are on the swap device only."""
    return region.mapping is not None and region.mapping.slots.get(pgoff) == region.epoch


def read_swap_cache(page: Page, old: Page) -> None:
    """A new frame takes over the contents that the swap device has of ``old``."""
    page.flags |= SWAPCACHE
    page.get(CACHE)
    page.swap_entry = True
    for vma in page.anon_vma or ():
        pte = vma.ptes.get(page.pgoff)
        if pte is not None and pte.kind == SWAP and pte.page is old:
            pte.page = page
