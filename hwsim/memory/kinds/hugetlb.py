"""Huge pages of hugetlbfs (mm/hugetlb.c of 2.6.30): compound, in use or free in the pool, never swapped."""

from __future__ import annotations

import numpy as np

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import CACHE, Page
from hwsim.many_draws import Positions
from hwsim.memory.drawing import head_of, touched_since, used_lines
from hwsim.memory.kinds.behaviour import Behaviour
from hwsim.memory.page_array import PageArray
from hwsim.memory.page_class import PageClass, together
from hwsim.memory.page_law import MAPPED, PTE_DIRTY, USED, Law, Part
from hwsim.rng import Slot


def _draw(kernel: Kernel, page: Page, chance: Chance) -> None:
    region = page.region
    offset = page.pgoff % (1 << region.layout.order)
    if offset:
        page.flags = pg.TAIL
        page.head = head_of(kernel, page, offset, chance, _draw)
        page.mapping = page.head.mapping
        return
    page.flags = pg.HEAD
    if chance.draw(Slot.HUGE_FREE) < region.layout.huge_free:
        return  # free in the pool: count 0
    page.mapping = region.mapping
    page.get(CACHE)
    for vma in region.vmas:
        if vma.alive and vma.covers(page.pgoff):
            u = chance.extra(Slot.PRESENT, vma.number)
            if vma.populated or touched_since(vma, page.pgoff, vma.since_ns, page.looked_ns, u):
                page.map(vma, dirty=True)


def _draw_each(pages: PageArray, at: Positions) -> None:
    used = pages.slot(Slot.HUGE_FREE, at) >= pages.fact("huge_free", at)
    pages.use(at[used], 0, mapped=True)
    pages.flags[at] = np.where(pages.is_first(at), pg.HEAD, pg.TAIL)


def _law(pages: PageClass) -> Law:
    """A huge page is free in the pool or in use as a whole: its head has the references and the entries."""
    free, unmapped = pages.region.layout.huge_free, together(pages.untouched(vma) for vma in pages.vmas)
    chances = {
        0: free * np.ones(1),
        USED: (1.0 - free) * unmapped,
        USED | MAPPED | PTE_DIRTY: (1.0 - free) * (1.0 - unmapped),
    }
    return [Part(chance, pg.HEAD | use, pg.TAIL | use) for use, chance in chances.items()]


BEHAVIOURS = {"hugetlb": Behaviour(_law, _draw, draw_each=_draw_each, kernel_access=used_lines)}
