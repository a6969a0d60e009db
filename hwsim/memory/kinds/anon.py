"""Anonymous memory: private to a process, and shared copy-on-write with those it has forked."""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_cache import mlock_vma_page
from hwsim.kernel.mm_types import Page, Vma
from hwsim.many_draws import Positions
from hwsim.memory.drawing import (
    free,
    free_each,
    pagevec,
    pagevec_each,
    swap_stage,
    touched_each,
    touched_since,
)
from hwsim.memory.fork_family import Family, is_shared
from hwsim.memory.kinds.behaviour import Behaviour, Structure
from hwsim.memory.page_array import PageArray
from hwsim.rng import Slot

_FLAGS = pg.LRU | pg.SWAPBACKED | pg.UPTODATE | pg.ANON


def _draw(kernel: Kernel, page: Page, chance: Chance) -> None:
    region = page.region
    page.anon_vma = (region.fork_family or region).anon_vma
    mappers = _holders(kernel, page, chance)
    if not mappers:
        page.anon_vma = None
        free(kernel, page, chance)
        return
    page.flags = _FLAGS
    if any(vma.mlocked for vma in mappers):
        mlock_vma_page(page)
    for vma in mappers:
        page.map(vma, dirty=True)
    swap_stage(page, chance)
    pagevec(kernel, page, chance)


def _draw_each(pages: PageArray, at: Positions) -> None:
    """Of one task; of a forked family the cell says that it is unsure."""
    cells, cell = pages.cells, pages.cell[at]
    touched = cells.populated[cell] | touched_each(pages, at)
    free_each(pages, at[~touched])
    pages.use(at[touched], _FLAGS, mapped=True)
    pages.flags[at[touched & cells.mlocked[cell]]] |= pg.MLOCKED | pg.UNEVICTABLE
    pagevec_each(pages, at[touched])


def _holders(kernel: Kernel, page: Page, chance: Chance) -> list[Vma]:
    """Who maps the frame; nobody if the page has never been touched, or all have copies of it."""
    region, now = page.region, page.looked_ns
    if is_shared(kernel, region):
        family = Family(kernel, region.fork_family or region, page.pgoff, chance.extra)
        return family.holders(region, now)
    return [
        vma
        for vma in region.anon_vma
        if vma.covers(page.pgoff)
        and (vma.populated or touched_since(vma, page.pgoff, vma.since_ns, now, chance.draw(Slot.PRESENT)))
    ]


def _data_lost(page: Page, _dirty: bool) -> bool:
    """No disk has it, unless it was swapped out."""
    return not page.swap_entry


BEHAVIOURS = {
    "anon": Behaviour(
        Structure(_FLAGS, entries=1), _draw, draw_each=_draw_each, by_first_touch=True, data_lost=_data_lost
    )
}
