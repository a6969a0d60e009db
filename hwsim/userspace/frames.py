"""Frames that lose a user: the last reference gives the frame back, if it may go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.kernel import page_flags as pg
from hwsim.kernel.allocator import free_pages_check
from hwsim.kernel.mm_types import PRESENT, SWAP, Page
from hwsim.kernel.page_cache import delete_from_swap_cache

if TYPE_CHECKING:
    from hwsim.kernel.mm_types import Vma
    from hwsim.machine import Machine


def free_swap_and_cache(page: Page) -> None:
    """The last entry that led to a page of the swap cache is gone: so is its slot."""
    if page.flags & pg.SWAPCACHE and page.flags & pg.ANON and not page.flags & pg.HWPOISON:
        if not _has_entries(page):
            delete_from_swap_cache(page)


def _has_entries(page: Page) -> bool:
    """Whether a page table, or a swap entry in one, still leads to the page."""
    entries = (vma.ptes.get(page.pgoff) for vma in page.anon_vma or ())
    return bool(page.ptes) or any(
        pte is not None and pte.kind == SWAP and pte.page is page for pte in entries
    )


def put_page(machine: Machine, page: Page) -> None:
    """If the last reference is gone, the frame goes to the free lists, unless it is poisoned."""
    if page.count or page.flags & pg.BUDDY:
        return
    mem_map = machine.kernel.mem_map
    watcher = machine.kernel.watcher
    if watcher.watches(page.pfn):
        watcher.freed(page)
    elif not free_pages_check(machine.kernel, page):
        return
    else:
        if page.mapping is not None:
            page.mapping.pages.pop(page.pgoff, None)
        page.mapping = page.anon_vma = page.head = None
        page.flags = pg.BUDDY
        if mem_map.taken.get(page.pfn) == 1:
            del mem_map.overlay[page.pfn]
    if mem_map.taken.get(page.pfn) == 1 and not page.flags & pg.HWPOISON:
        del mem_map.taken[page.pfn]


def close_vma(vma: Vma) -> list[Page]:
    """munmap() of a whole VMA; returns the pages of interest that were mapped or had an entry there."""
    pages = []
    for pte in vma.ptes.values():
        page = pte.page
        if pte.kind == PRESENT and page.ptes.get(vma) is pte:
            del page.ptes[vma]
            if pte.dirty and not page.flags & pg.ANON:
                page.flags |= pg.DIRTY
        pages.append(page)
    vma.ptes = {}
    vma.close()
    if vma in vma.region.vmas:
        vma.region.vmas.remove(vma)
    return pages
