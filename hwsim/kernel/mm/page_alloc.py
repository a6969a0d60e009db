"""The page allocator as the gatekeeper of poisoned free pages (mm/page_alloc.c, patch 11 of v5).

A poisoned page that is met in an allocation is dropped; in an allocation of order n the whole block of
2^n pages is.  A poisoned page that is freed is not put on a free list: it is isolated at that moment.
"""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import Page, Region


def allocations_per_ns(kernel: Kernel) -> float:
    """How often an allocation by chance takes one given free page."""
    spec, free = kernel.spec, kernel.mem_map.layouts.of("free").pages
    return spec.alloc_per_s * 1e-9 * (1 << spec.alloc_order) / max(1, free)


def alloc_pages(kernel: Kernel, order: int) -> int | None:
    """The lowest free block of 2^order frames, as its first pfn; None without one.

    A block with a poisoned page in it is dropped whole and the next one is tried.
    """
    mem_map = kernel.mem_map
    free = mem_map.by_name["free"].layout
    pages = 1 << order
    first = free.first_pfn + -free.first_pfn % pages
    while first + pages <= free.first_pfn + free.pages:
        if not mem_map.is_taken(first, pages):
            looked_at = (mem_map.overlay.get(pfn) for pfn in range(first, first + pages))
            bad = next((page for page in looked_at if page is not None and page.flags & pg.HWPOISON), None)
            if bad is None or bad.flags & pg.BUDDY:  # else it was taken off: no free block of this order
                mem_map.taken[first] = pages
            if bad is None:
                return first
            if bad.flags & pg.BUDDY:
                if not kernel.watcher.allocated(bad, order):
                    prep_new_page(kernel, bad, order)
        first += pages
    return None


def lose_block(kernel: Kernel, pfn: int, order: int) -> int:
    """The block of 2^order pages around ``pfn`` is gone; how many pages that costs now (0: lost before)."""
    block = (pfn >> order << order, order)
    if block in kernel.mem_map.lost_blocks:
        return 0
    kernel.mem_map.lost_blocks.add(block)
    return 1 << order


def prep_new_page(kernel: Kernel, page: Page, order: int) -> bool:
    """Whether the block may be handed out; if not, all of its 2^order pages are lost."""
    if not page.flags & pg.HWPOISON:
        return True
    kernel.event("gatekeeper", pfn=page.pfn, order=order)
    kernel.reach("allocator:block_dropped" if order else "allocator:page_dropped")
    return False


def leave_to_gatekeeper(_page: Page) -> bool:
    """A free page stays where it is until an allocation meets it."""
    return False


def take_page_off_buddy(page: Page) -> bool:
    """Take a free page off its free list, so that no allocation meets it; its neighbours stay free."""
    if not page.flags & pg.BUDDY:
        return False
    page.flags &= ~pg.BUDDY
    return True


def put_page(kernel: Kernel, page: Page) -> None:
    """If the last reference is gone, the frame goes to the free lists, unless it is poisoned."""
    if page.count or page.flags & pg.BUDDY:
        return
    mem_map = kernel.mem_map
    if kernel.watcher.watches(page.pfn):
        kernel.watcher.freed(page)
    elif not free_pages_check(kernel, page):
        return
    else:
        free_one_page(page)
        if mem_map.taken.get(page.pfn) == 1:
            del mem_map.overlay[page.pfn]
    if mem_map.taken.get(page.pfn) == 1 and not page.flags & pg.HWPOISON:
        del mem_map.taken[page.pfn]


def free_one_page(page: Page) -> None:
    """The frame goes to the free lists: nobody holds it, nothing leads to it."""
    page.flags = page.flags & pg.HWPOISON | pg.BUDDY
    page.holders.clear()
    page.ptes.clear()
    for mapping in (page.mapping, page.region.mapping):
        if mapping is not None and mapping.pages.get(page.pgoff) is page:
            del mapping.pages[page.pgoff]
        if mapping is not None and mapping.swapped.get(page.pgoff) is page:
            del mapping.swapped[page.pgoff]
    page.mapping = page.anon_vma = page.head = None


def release_region(kernel: Kernel, region: Region) -> None:
    """All frames of the region are free: nobody has it any more."""
    region.release()
    region.vmas = []
    if region.mapping is not None and region.mapping.swap_backed:  # shmem_mapping()
        kernel.files.released(region)
    kernel.watcher.released(region)


def free_pages_check(kernel: Kernel, page: Page) -> bool:
    """Whether a freed page goes back to a free list: not if it is poisoned, and without a word."""
    if not page.flags & pg.HWPOISON:
        return True
    kernel.event("free_isolated", pfn=page.pfn)
    kernel.reach("allocator:freed_poison_isolated")
    return False
