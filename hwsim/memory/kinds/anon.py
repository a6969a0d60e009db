"""Anonymous memory: private to a process, and shared copy-on-write with those it has forked."""

from __future__ import annotations

import numpy as np

from hwsim.elementary_each import Floats
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
from hwsim.memory.fork_family import Family, copy_regions, is_shared
from hwsim.memory.kinds.behaviour import Behaviour
from hwsim.memory.page_array import PageArray
from hwsim.memory.page_class import PageClass, on_average, together
from hwsim.memory.page_law import MAPPED, PTE_DIRTY, USED, Law, Part, divided, in_swap_cycle, locked, waiting
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


def _law(pages: PageClass) -> Law:
    """In use by the chance that somebody has the frame."""
    free = 1.0 - _in_use(pages)
    state = _FLAGS | USED | MAPPED | PTE_DIRTY
    if any(vma.mlocked for vma in pages.vmas):
        state = locked(state)
    layout = pages.region.layout
    law = in_swap_cycle([Part(free, pg.BUDDY), Part(1.0 - free, state)], layout.swap)
    return divided(law, layout.pagevec, waiting)


def _in_use(pages: PageClass) -> Floats:
    """A process has touched its own page; a child has a frame besides for what it has copied.

    Of m that share a frame m - 1 take copies at most, and any of the frames meant for copies may get one.
    """
    region, vmas = pages.region, pages.vmas
    family = region.fork_family or region
    if not any(vma.populated for vma in vmas):
        own = [vma for vma in vmas if vma.task.parent is None] if region is family else region.vmas
        return 1.0 - together([pages.untouched(vma) for vma in own if vma.covers(pages.first)])
    if region is family:
        return np.ones(1)
    stored = [1.0 - pages.not_stored(vma, vma.forked_ns) for vma in vmas]
    return (on_average(stored) - together(stored)) / len(copy_regions(pages.kernel, family))


def _data_lost(page: Page, _dirty: bool) -> bool:
    """No disk has it, unless it was swapped out."""
    return not page.swap_entry


BEHAVIOURS = {"anon": Behaviour(_law, _draw, draw_each=_draw_each, by_first_touch=True, data_lost=_data_lost)}
