"""The first errors of many machines: their pages as one numpy struct of arrays.

Until its first error nothing happens in a machine, so what the page of that error is, and who would meet its
bad line when, are functions of named draws: they are drawn for a whole chunk of machines at once, each kind
of page over arrays (``memory/kinds``), with the draws that the form for one page takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwsim.kernel.gather import Flags
from hwsim.many_draws import Floats, ManyDraws, Positions
from hwsim.memory.cells import Cells, Truths


@dataclass(slots=True, eq=False)
class PageArray:
    """One entry a page of interest; all arrays have shape (pages,).

    Life: made with the places that draws gave -> :func:`~hwsim.memory.draw_each.first_looks` fills in what
    each page is -> :func:`~hwsim.memory.race_each.first_times` says who would meet its bad line when.

    ``machine`` int64: position in ``draws``.  ``pfn``, ``line``, ``onset_ns`` int64, ``permanent`` bool: the
    error.  ``cell`` int64, ``index`` int64: page offset in its region.  ``flags`` uint32, the kernel's bits
    as the table tests them; ``references`` int64, 0 of a page that nobody holds; ``mapped`` bool: some task
    may have it in its page table.  ``by_itself`` bool: its state is to be drawn by the form for one
    page; ``unsure`` bool: and so is all that follows.
    """

    cells: Cells
    draws: ManyDraws
    machine: Positions
    pfn: Positions
    line: Positions
    onset_ns: Positions
    permanent: Truths
    cell: Positions = field(init=False)
    index: Positions = field(init=False)
    flags: Flags = field(init=False)
    references: Positions = field(init=False)
    mapped: Truths = field(init=False)
    by_itself: Truths = field(init=False)
    unsure: Truths = field(init=False)

    def __post_init__(self) -> None:
        self.cell = self.cells.of(self.pfn)
        self.index = self.pfn - self.cells.region_pfn[self.cell]
        self.flags = np.zeros(len(self.pfn), np.uint32)
        self.references = np.zeros(len(self.pfn), np.int64)
        self.mapped = np.zeros(len(self.pfn), bool)
        self.by_itself = np.zeros(len(self.pfn), bool)
        self.unsure = self.cells.unsure[self.cell]
        # Between a region and the next, which begins at a multiple of its huge pages, are frames of neither.
        self.unsure |= self.index >= self.cells.fact("pages")[self.cell]

    def slot(self, slot: int, at: Positions | None = None) -> Floats:
        """float64: the uniform of this slot of all these errors, or of those at these positions."""
        found: Floats = self.draws.slot(slot)[self.machine if at is None else self.machine[at]]
        return found

    def extra(self, slot: int, k: int, at: Positions) -> Floats:
        """float64: a further uniform of each of these errors, one per ``k``."""
        return self.draws.extra(0, slot, k, self.machine[at])

    def fact(self, name: str, at: Positions) -> Floats:
        """float64: what the layouts of the regions of these pages have under ``name``."""
        found: Floats = self.cells.fact(name)[self.cell[at]]
        return found

    def is_first(self, at: Positions) -> Truths:
        """bool: whether they are the first pages of their allocations."""
        first: Truths = self.index[at] % (1 << self.fact("order", at).astype(np.int64)) == 0
        return first

    def use(self, at: Positions, flags: int, *, mapped: bool = False) -> None:
        """Somebody holds them."""
        self.flags[at], self.references[at], self.mapped[at] = flags, 1, mapped
