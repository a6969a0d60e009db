"""A shared segment (mm/shmem.c of 2.6.30): pages of a file on tmpfs that has no name and no descriptor."""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_cache import add_to_page_cache, mlock_vma_page
from hwsim.kernel.mm_types import CACHE, Page
from hwsim.many_draws import Positions
from hwsim.memory.drawing import free, pagevec, pagevec_each, stored_since, swap_stage, touched_since
from hwsim.memory.kinds.behaviour import Behaviour, Structure
from hwsim.memory.page_array import PageArray
from hwsim.rng import Slot

_FLAGS = pg.LRU | pg.SWAPBACKED | pg.UPTODATE


def _draw(kernel: Kernel, page: Page, chance: Chance) -> None:
    region, now = page.region, page.looked_ns
    mapping = region.mapping
    if mapping is not None:
        add_to_page_cache(page, mapping)
    else:  # a script's mmap() is about to make the segment
        page.get(CACHE)
    page.flags = _FLAGS
    written = region.layout.populate
    for vma in region.vmas:
        if not vma.alive or not vma.covers(page.pgoff):
            continue
        u = chance.extra(Slot.PRESENT, vma.number)
        if vma.populated or touched_since(vma, page.pgoff, vma.since_ns, now, u):
            stored = vma.populated or stored_since(vma, page.pgoff, vma.since_ns, now, u)
            page.map(vma, dirty=stored, writable=stored)
            written = written or stored
    if not written and not page.ptes:
        page.put(CACHE)
        if mapping is not None:
            del mapping.pages[page.pgoff]
        page.mapping = None
        free(kernel, page, chance)
        return
    if written:
        page.flags |= pg.DIRTY
    if any(vma.mlocked for vma in page.ptes):
        mlock_vma_page(page)
    swap_stage(page, chance)
    pagevec(kernel, page, chance)


def _draw_each(pages: PageArray, at: Positions) -> None:
    """A segment that its first task has filled; of one that fills by touches each task has a draw."""
    cells, cell = pages.cells, pages.cell[at]
    pages.use(at, _FLAGS | pg.DIRTY, mapped=True)
    pages.flags[at[cells.mlocked[cell]]] |= pg.MLOCKED | pg.UNEVICTABLE
    pages.unsure[at[~cells.populated[cell]]] = True
    pagevec_each(pages, at)


def _data_lost(page: Page, dirty: bool) -> bool:
    """One that was only ever read is a page of zeroes."""
    return dirty and not page.swap_entry


def _write_lost(page: Page) -> bool:
    """Of one in the swap cache SIGBUS tells."""
    return not (page.flags & pg.SWAPCACHE or page.swap_entry)


BEHAVIOURS = {
    "shm": Behaviour(
        Structure(_FLAGS | pg.DIRTY, references=2, entries=1),
        _draw,
        draw_each=_draw_each,
        by_first_touch=True,
        data_lost=_data_lost,
        write_lost=_write_lost,
    )
}
