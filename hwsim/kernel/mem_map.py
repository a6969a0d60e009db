"""The kernel's array of struct page: base, regions, overlay.

*base*: dense numpy arrays, built once per scenario, read-only: which region a frame belongs to, its
index there, its structural flags and counts.  *regions*: per replication, each with an epoch and
clocks; a kill, exit or truncation raises the epoch in O(1), whatever the size.  *overlay*: the pages
of interest of this replication as :class:`~hwsim.kernel.mm_types.Page`; forgetting a replication
is dropping it.  Volatile bits (dirty, mapped, swap cache, ...) are never in the base: they are drawn
when a page is first looked at (``memory/draw_state``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field

import numpy as np

from hwsim.kernel import page_flags as pg
from hwsim.kernel.frames import Layout
from hwsim.kernel.mm_types import AddressSpace, Page, Region

_CHUNK = 1 << 22  # pages filled at a time when the base is built

# What a frame is structurally, by kind of region: (flags, references, entries in page tables).
_STRUCTURE: dict[str, tuple[int, int, int]] = {
    "anon": (pg.LRU | pg.SWAPBACKED | pg.UPTODATE | pg.ANON, 1, 1),
    "shm": (pg.LRU | pg.SWAPBACKED | pg.UPTODATE | pg.DIRTY, 2, 1),
    "file": (pg.LRU | pg.UPTODATE, 1, 0),
    "blockdev": (pg.LRU | pg.UPTODATE, 1, 0),
    "hugetlb": (pg.HEAD, 1, 0),
    "slab": (pg.SLAB, 1, 0),
    "slab_multi": (pg.SLAB | pg.HEAD, 1, 0),
    "page_table": (0, 1, 0),
    "kernel_stack": (0, 1, 0),
    "high_order": (0, 1, 0),
    "reserved": (pg.RESERVED, 1, 0),
    "free": (pg.BUDDY, 0, 0),
}


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
            flags, count, mapped = _STRUCTURE[layout.kind]
            if layout.mlock:
                flags |= pg.MLOCKED | pg.UNEVICTABLE
            if layout.kind == "file" and layout.filesystem == "tmpfs":
                flags |= pg.SWAPBACKED | pg.DIRTY
            if layout.buffers != "none":
                flags |= pg.PRIVATE
                count += 1
            if layout.cow_of >= 0:  # copies come into being one by one; until then the frames are free
                flags, count, mapped = _STRUCTURE["free"]
            self.flags[here] = flags
            self.region[here] = number
            for start in range(0, layout.pages, _CHUNK):  # no second array of the whole region
                stop = min(start + _CHUNK, layout.pages)
                at = layout.first_pfn
                self.index[at + start : at + stop] = np.arange(start, stop, dtype=np.uint32)
            self.refcount[here] = count
            self.mapcount[here] = mapped
            if layout.order:
                self._allocations(here, layout)
        for array in (self.flags, self.region, self.index, self.refcount, self.mapcount):
            array.flags.writeable = False

    def _allocations(self, here: slice[int, int, None], layout: Layout) -> None:
        """Pages that are not the first of their allocation: compound tails, or count 0."""
        tail = {"hugetlb": pg.TAIL, "slab_multi": pg.TAIL}.get(layout.kind, 0)
        step = 1 << layout.order
        whole = layout.pages // step * step
        self.flags[here][:whole].reshape(-1, step)[:, 1:] = tail
        self.refcount[here][:whole].reshape(-1, step)[:, 1:] = 0


@dataclass(slots=True, eq=False)
class MemMap:
    """All regions and the overlay of one replication."""

    layouts: InitVar[Iterable[Layout]]
    memory_pages: int
    regions: list[Region] = field(init=False)
    by_name: dict[str, Region] = field(init=False)
    swapper: AddressSpace = field(init=False)  # its i_mmap tree is always empty
    overlay: dict[int, Page] = field(default_factory=dict)
    carved: list[Region] = field(default_factory=list)  # regions made later, out of free memory
    taken: dict[int, int] = field(default_factory=dict)  # given away since the boot: first pfn -> pages
    lost_blocks: set[tuple[int, int]] = field(default_factory=set)  # (first pfn, order) never allocated again
    moved: dict[int, int] = field(default_factory=dict)  # pfn -> the frame whose place in its region it took
    _frames: list[Region] = field(init=False)
    _firsts: list[int] = field(init=False)

    def __post_init__(self, layouts: Iterable[Layout]) -> None:
        self.regions = [Region(number, layout) for number, layout in enumerate(layouts)]
        self.by_name = {region.name: region for region in self.regions}
        self.swapper = AddressSpace("swapper", "swapper")
        self._frames = sorted(
            (region for region in self.regions if region.layout.first_pfn >= 0 and region.layout.pages),
            key=lambda region: region.layout.first_pfn,
        )
        self._firsts = [region.layout.first_pfn for region in self._frames]

    def region_of(self, pfn: int) -> tuple[Region, int]:
        """The region that uses frame ``pfn``, and the page's index there."""
        place = self.moved.get(pfn, pfn)
        region = self._frames[bisect_right(self._firsts, place) - 1]
        if self.carved and region.kind == "free":
            region = next((each for each in self.carved if each.holds(place)), region)
        return region, place - region.layout.first_pfn

    def carve(self, layout: Layout) -> Region:
        """A region made while the machine runs; its frames were free before."""
        region = Region(len(self.regions), layout)
        self.regions.append(region)
        self.by_name[layout.name] = region
        if layout.first_pfn >= 0:
            self.carved.append(region)
        return region

    def is_taken(self, first_pfn: int, pages: int) -> bool:
        """Whether any of these frames has been given away since the boot."""
        return any(first < first_pfn + pages and first_pfn < first + n for first, n in self.taken.items())

    def move(self, pfn: int, u: float) -> None:
        """Give frame ``pfn`` the role of a frame drawn from all memory: frames change hands at random."""
        self.moved[pfn] = int(u * self.memory_pages)

    def pfn_valid(self, pfn: int) -> bool:
        """Whether the frame has a struct page."""
        return 0 <= pfn < self.memory_pages

    def tear_down(self) -> None:
        """The boot is over: pages, regions and mappings let go of one another and of their tasks."""
        for page in self.overlay.values():
            page.tear_down()
        self.overlay.clear()
        for region in self.regions:
            region.vmas, region.fork_family = [], None
            region.anon_vma.clear()
            region.watched.clear()
            if region.mapping is not None:
                region.mapping.tear_down()
