"""Runs of frames that are used alike: what the place of a page says of all who use it, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hwsim.kernel.frames import Layout
from hwsim.many_draws import Floats, Positions

Truths = npt.NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class Cells:
    """One entry a cell, in order of frames: a part of one region within which nobody's rates change.

    Everybody is taken to live, as at the boot.  Rates are per ns.  Life: found for a booted kernel
    (:mod:`~hwsim.memory.find_cells`) -> shared by all machines of its layout.
    """

    layouts: list[Layout]  # of all regions, by number
    names: list[str]  # of these
    families: Positions  # int64[regions]: those of one family differ in name and place alone
    first_pfn: Positions  # int64[cells], and so all that follow
    region: Positions  # its number
    region_pfn: Positions  # where that begins
    kind: Positions  # its place in BEHAVIOURS
    tasks: Positions  # how many can reach a page
    task_reads: Floats  # of a line, by all of them
    task_overwrites: Floats
    touches: Floats  # of a page
    system_calls: Floats  # on a page of a file
    kernel_reads: Floats  # float64[2, cells]: of a line of a page that nobody holds, and of one that is held
    kernel_overwrites: Floats  # the same
    stores: Floats  # float64[2, cells]: to a page beside its bad line, a transient and a permanent one
    populated: Truths  # from the start
    mlocked: Truths
    stored_to: Truths  # a page of a file
    has_buffers: Truths
    buffers_busy: Floats  # the chance that they are
    has_inode: Truths  # that accounts its dirty pages
    swap_backed: Truths  # a page of an inode
    unsure: Truths  # more goes on there than arrays can follow
    _facts: dict[str, Floats] = field(default_factory=dict)

    def of(self, pfn: Positions) -> Positions:
        """int64: the cell of each frame."""
        found: Positions = np.searchsorted(self.first_pfn, pfn, side="right") - 1
        return found

    def fact(self, name: str) -> Floats:
        """float64: of each cell the ``name``, a number, of the layout of its region; None is 0."""
        found = self._facts.get(name)
        if found is None:
            values = [getattr(layout, name) or 0 for layout in self.layouts]
            found = self._facts[name] = np.array(values, np.float64)[self.region]
        return found
