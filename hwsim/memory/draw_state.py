"""What a page is at the moment somebody first looks at it.

The volatile state (present, dirty in the page table, PG_dirty, writeback, swap cache, buffers,
pagevec) is drawn from the rates and clocks of the page's region: present is "touched since the
start", dirty is "stored to since the inode was clean" (``writeback`` has the law), a copy-on-write copy
is "stored to since the fork".  PG_dirty and the dirty bit of a page-table entry are different bits.
"""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_cache import add_to_page_cache, mlock_vma_page
from hwsim.kernel.mm_types import Page, Vma
from hwsim.memory.behaviours import BEHAVIOURS
from hwsim.memory.drawing import free


def first_look(kernel: Kernel, pfn: int, chance: Chance) -> Page:
    """Make the overlay entry of ``pfn`` as it is now.  O(mappers), independent of memory size.

    With ``chance.since_ns`` it is what it was then, and :func:`~hwsim.memory.advance_state.settle` brings it
    up to now.  No store has made it dirty since, or somebody would have looked at once.
    """
    region, index = kernel.mem_map.region_of(pfn)
    page = Page(pfn, region, index, region.epoch)
    now_ns = kernel.engine.now_ns
    page.looked_ns = now_ns if chance.since_ns is None else chance.since_ns
    if page.looked_ns < now_ns:
        page.dirtied_ns = now_ns + 1
    if not region.alive or (region.mapping is not None and index in region.mapping.gone):
        free(kernel, page, chance)
    else:
        BEHAVIOURS[region.kind].draw(kernel, page, chance)
    page.flags = kernel.config.real_flags(page.flags)
    kernel.mem_map.overlay[pfn] = page
    return page


def fault_in(kernel: Kernel, page: Page, vma: Vma, *, store: bool) -> None:
    """The first touch of anonymous memory or of a hole in a shared segment: the free frame is taken."""
    region = page.region
    mapping = region.mapping
    page.flags = page.flags & pg.HWPOISON | pg.LRU | pg.SWAPBACKED | pg.UPTODATE
    if mapping is None:
        page.anon_vma = (region.fork_family or region).anon_vma
        page.flags |= pg.ANON
    else:
        add_to_page_cache(page, mapping)
        page.flags |= pg.DIRTY if store else 0
    if region.layout.mlock:
        mlock_vma_page(page)
    store = store or mapping is None
    page.map(vma, dirty=store, writable=store)
    page.flags = kernel.config.real_flags(page.flags)
    page.looked_ns = kernel.engine.now_ns
