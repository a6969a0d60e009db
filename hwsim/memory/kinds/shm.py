"""A shared segment (mm/shmem.c of 2.6.30): pages of a file on tmpfs that has no name and no descriptor."""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_cache import add_to_page_cache, mlock_vma_page
from hwsim.kernel.mm_types import CACHE, Page
from hwsim.many_draws import Positions
from hwsim.memory.drawing import chances_since, free, pagevec, pagevec_each, swap_stage
from hwsim.memory.kinds.behaviour import Behaviour
from hwsim.memory.page_array import PageArray
from hwsim.memory.page_class import PageClass, together
from hwsim.memory.page_law import MAPPED, USED, Law, Part, divided, in_swap_cycle, locked, waiting
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
    chances: dict[int, tuple[float, float]] = {}  # by their start: all touch the segment alike
    for vma in region.vmas:
        if not vma.alive or not vma.covers(page.pgoff):
            continue
        touched = stored = vma.populated
        if not vma.populated:
            u, since_ns = chance.extra(Slot.PRESENT, vma.number), vma.since_ns
            if since_ns not in chances:
                chances[since_ns] = chances_since(vma, page.pgoff, since_ns, now)
            touched, stored = u < chances[since_ns][0], u < chances[since_ns][1]
        if touched:
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


def _law(pages: PageClass) -> Law:
    """A hole nobody has touched is a free frame, one that was only read a clean page of zeroes."""
    layout, vmas = pages.region.layout, pages.vmas
    state = _FLAGS | USED
    unmapped = together(pages.untouched(vma) for vma in vmas)
    if layout.populate:
        dirty = state | pg.DIRTY
        law = [Part(unmapped, dirty), Part(1.0 - unmapped, dirty | MAPPED)]
    else:
        clean = together(pages.not_stored(vma, vma.since_ns) for vma in vmas)
        law = [
            Part(unmapped, pg.BUDDY),
            Part(clean - unmapped, state | MAPPED),
            Part(1.0 - clean, state | MAPPED | pg.DIRTY),
        ]
    law = divided(law, pages.locked_share(unmapped), locked)
    return divided(in_swap_cycle(law, layout.swap), layout.pagevec, waiting)


def _data_lost(page: Page, dirty: bool) -> bool:
    """One that was only ever read is a page of zeroes."""
    return dirty and not page.swap_entry


def _write_lost(page: Page) -> bool:
    """Of one in the swap cache SIGBUS tells."""
    return not (page.flags & pg.SWAPCACHE or page.swap_entry)


BEHAVIOURS = {
    "shm": Behaviour(
        _law,
        _draw,
        draw_each=_draw_each,
        by_first_touch=True,
        data_lost=_data_lost,
        write_lost=_write_lost,
    )
}
