"""What the pages of many machines are at the moment of their first error: ``draw_state`` over arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import Page, Region
from hwsim.kernel.page_flags import DIRTY, WRITEBACK
from hwsim.kernel.writeback import Inode
from hwsim.memory.behaviours import BEHAVIOURS
from hwsim.memory.page_array import PageArray
from hwsim.rng import Draws

InodeOf = Callable[[Draws, Region], Inode]  # as it is when a machine with these draws has booted


def first_looks(pages: PageArray, kernel: Kernel, inode_of: InodeOf) -> None:
    """Fill in flags, references and whether a task maps it, kind by kind.

    ``kernel`` has booted like all of these machines and is nobody's: pages by themselves are drawn in it.
    """
    kinds = pages.cells.kind[pages.cell]
    for number, behaviour in enumerate(BEHAVIOURS.values()):
        at = np.flatnonzero(kinds == number)
        if behaviour.draw_each is None:
            pages.unsure[at] = True
        elif at.size:
            behaviour.draw_each(pages, at)
    for nth in np.flatnonzero(pages.by_itself & ~pages.unsure).tolist():
        _draw_one(pages, kernel, inode_of, nth)
    flags, which = np.unique(pages.flags, return_inverse=True)
    pages.flags = np.array([kernel.config.real_flags(each) for each in flags.tolist()], np.uint32)[which]


def _draw_one(pages: PageArray, kernel: Kernel, inode_of: InodeOf, nth: int) -> None:
    """A page of a file whose inode has a history: from the first boot up to its error."""
    machine = int(pages.machine[nth])
    draws, region = pages.draws.of(machine), kernel.mem_map.regions[pages.cells.region[pages.cell[nth]]]
    mapping = region.mapping
    assert mapping is not None
    mapping.host = inode_of(draws, region)
    kernel.engine.now_ns = int(pages.onset_ns[nth])
    page = Page(
        int(pages.pfn[nth]), region, int(pages.index[nth]), region.epoch, looked_ns=kernel.engine.now_ns
    )
    BEHAVIOURS[region.kind].draw(kernel, page, Chance(0, page.pfn, pages.draws.row(machine), draws.extra))
    pages.flags[nth], pages.mapped[nth] = page.flags, bool(page.ptes)
    pages.unsure[nth] = page.flags & (DIRTY | WRITEBACK) != 0  # a write-out is under way, or to come
    mapping.pages.clear()
    for vma in page.ptes:
        vma.ptes.clear()
