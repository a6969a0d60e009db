"""What the draws of several kinds of page share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.elementary import exp
from hwsim.elementary_each import exp_of_each
from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_cache import lru_cache_add
from hwsim.kernel.mm_types import Page, Vma
from hwsim.many_draws import Positions
from hwsim.memory.cells import Truths
from hwsim.memory.page_array import PageArray
from hwsim.memory.swap_cycle import enter, stage_at
from hwsim.rng import Slot


def free(kernel: Kernel, page: Page, chance: Chance) -> None:
    """Nobody has the frame."""
    page.flags = pg.BUDDY


def touched_since(vma: Vma, index: int, since_ns: int, now_ns: int, u: float) -> bool:
    """Whether the task has touched the page since ``since_ns``."""
    load, store = vma.region.touch_rates(index)
    return u < 1.0 - exp(-(load + store) * (now_ns - since_ns))


def stored_since(vma: Vma, index: int, since_ns: int, now_ns: int, u: float) -> bool:
    """Whether the task has stored to the page since ``since_ns``."""
    store = vma.region.touch_rates(index)[1]
    return store > 0.0 and u < 1.0 - exp(-store * (now_ns - since_ns))


def chances_since(vma: Vma, index: int, since_ns: int, now_ns: int) -> tuple[float, float]:
    """The chances that the task has touched the page since ``since_ns``, and that it has stored to it."""
    load, store = vma.region.touch_rates(index)
    return 1.0 - exp(-(load + store) * (now_ns - since_ns)), 1.0 - exp(-store * (now_ns - since_ns))


def swap_stage(page: Page, chance: Chance) -> None:
    """Where the page stands in its round through the swap cache."""
    cycle = page.region.layout.swap
    if cycle is not None:
        for stage in range(1, 1 + stage_at(cycle, chance.draw(Slot.SWAP))):
            enter(page, stage)


def pagevec(kernel: Kernel, page: Page, chance: Chance) -> None:
    """A page just added may still wait in a CPU's pagevec: not yet on the LRU, one reference more."""
    share = page.region.layout.pagevec
    if not share:
        return
    u = chance.draw(Slot.PAGEVEC)
    if u >= share:
        return
    lru_cache_add(page, int(u / share * kernel.spec.cpus))


def head_of(
    kernel: Kernel, tail: Page, offset: int, chance: Chance, draw: Callable[[Kernel, Page, Chance], None]
) -> Page:
    """The head of a compound page: one for all its tails, so that its references are counted once."""
    pfn, region = tail.pfn - offset, tail.region
    head = kernel.mem_map.overlay.get(pfn)
    if head is None or head.region is not region or head.epoch != region.epoch:
        head = Page(pfn, region, tail.pgoff - offset, region.epoch, looked_ns=tail.looked_ns)
        draw(kernel, head, chance)
        kernel.mem_map.overlay[pfn] = head
    return head


def used_lines(page: Page) -> tuple[float, float] | None:
    """Accesses of a line of the page, if anybody holds it, or the head that it was given."""
    return page.region.line_rates(page.pgoff) if (page.head or page).count else None


# -- the same of many pages at once -------------------------------------------------------------------------


def free_each(pages: PageArray, at: Positions) -> None:
    """Nobody has the frames."""
    pages.flags[at] = pg.BUDDY


def touched_each(pages: PageArray, at: Positions) -> Truths:
    """Whether the one task that maps each page has touched it since the boot."""
    touches = pages.cells.touches[pages.cell[at]] * pages.onset_ns[at]
    touched: Truths = pages.slot(Slot.PRESENT, at) < 1.0 - exp_of_each(-touches)
    return touched


def pagevec_each(pages: PageArray, at: Positions) -> None:
    """Of those that may wait in a pagevec it depends on the CPU that handles them what is made of them."""
    share = pages.fact("pagevec", at)
    waits = at[(share > 0.0) & (pages.slot(Slot.PAGEVEC, at) < share)]
    pages.flags[waits] &= ~np.uint32(pg.LRU | pg.UNEVICTABLE)
    pages.unsure[waits] = True
