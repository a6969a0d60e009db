"""Anonymous memory: private to a process, and shared copy-on-write with those it has forked."""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_cache import mlock_vma_page
from hwsim.kernel.mm_types import Page, Vma
from hwsim.memory.drawing import free, pagevec, swap_stage, touched_since
from hwsim.memory.fork_family import Family, is_shared
from hwsim.memory.kinds.behaviour import Behaviour, Structure
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
    "anon": Behaviour(Structure(_FLAGS, entries=1), _draw, by_first_touch=True, data_lost=_data_lost)
}
