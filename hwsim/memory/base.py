"""The dense arrays of a machine as it is laid out: what every frame is, and whose."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hwsim.kernel import page_flags as pg
from hwsim.kernel.frames import Layout
from hwsim.memory.behaviours import BEHAVIOURS
from hwsim.memory.kinds import FREE

_CHUNK = 1 << 22  # pages filled at a time


class Base:
    """The dense, read-only arrays: 16 bytes a page.

    ``flags`` uint32, ``region`` uint32, ``index`` uint32, ``refcount`` and ``mapcount`` uint16
    (saturating).  Shape (memory_pages,) each.  Filled a chunk at a time, region by region.
    """

    __slots__ = ("flags", "index", "mapcount", "refcount", "region")

    def __init__(self, layouts: Iterable[Layout], memory_pages: int) -> None:
        self.flags = np.empty(memory_pages, np.uint32)
        self.region = np.empty(memory_pages, np.uint32)
        self.index = np.empty(memory_pages, np.uint32)
        self.refcount = np.empty(memory_pages, np.uint16)
        self.mapcount = np.empty(memory_pages, np.uint16)
        for number, layout in enumerate(layouts):
            if layout.first_pfn < 0:
                continue
            here = slice(layout.first_pfn, layout.first_pfn + layout.pages)
            # Copies come into being one by one; until then the frames are free.
            kind = layout.kind if layout.cow_of < 0 else FREE
            flags, count, mapped, tail = BEHAVIOURS[kind].structure
            if layout.cow_of < 0:
                if layout.mlock:
                    flags |= pg.MLOCKED | pg.UNEVICTABLE
                if layout.filesystem == "tmpfs":
                    flags |= pg.SWAPBACKED | pg.DIRTY
                if layout.buffers != "none":
                    flags |= pg.PRIVATE
                    count += 1
            self.flags[here] = flags
            self.region[here] = number
            for start in range(0, layout.pages, _CHUNK):  # no second array of the whole region
                stop = min(start + _CHUNK, layout.pages)
                at = layout.first_pfn
                self.index[at + start : at + stop] = np.arange(start, stop, dtype=np.uint32)
            self.refcount[here] = count
            self.mapcount[here] = mapped
            if layout.order:
                self._allocations(here, layout, tail)
        for array in (self.flags, self.region, self.index, self.refcount, self.mapcount):
            array.flags.writeable = False

    def _allocations(self, here: slice[int, int, None], layout: Layout, tail: int) -> None:
        """Pages that are not the first of their allocation: compound tails, or count 0."""
        step = 1 << layout.order
        whole = layout.pages // step * step
        self.flags[here][:whole].reshape(-1, step)[:, 1:] = tail
        self.refcount[here][:whole].reshape(-1, step)[:, 1:] = 0
