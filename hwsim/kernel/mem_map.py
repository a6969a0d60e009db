"""The kernel's array of struct page: regions and overlay.

*regions*: per replication, each with an epoch and clocks; a kill, exit or truncation raises the epoch in
O(1), whatever the size.  *overlay*: the pages of interest of this replication as
:class:`~hwsim.kernel.mm_types.Page`; forgetting a replication is dropping it.  A region is made, and what a
page is gets drawn (``memory/draw_state``), when it is first looked at.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from hwsim.kernel.frames import Layout, Layouts
from hwsim.kernel.mm_types import AddressSpace, Page, Region


class Regions:
    """The regions of one boot, by number; each is made when somebody first asks for it.

    ``first_looks`` are called in turn with a region that has just been made: they give it what it would have
    had since the boot.
    """

    __slots__ = ("_carved", "_layouts", "first_looks", "made")

    def __init__(self, layouts: Layouts) -> None:
        self._layouts = layouts
        self._carved = 0
        self.made: dict[int, Region] = {}
        self.first_looks: list[Callable[[Region], None]] = []

    def __getitem__(self, number: int) -> Region:
        region = self.made.get(number)
        if region is None:
            region = self.made[number] = Region(number, self._layouts[number])
            for look in self.first_looks:
                look(region)
        return region

    def __len__(self) -> int:
        return len(self._layouts) + self._carved

    def __iter__(self) -> Iterator[Region]:
        return map(self.__getitem__, range(len(self)))

    def carve(self, layout: Layout) -> Region:
        """One more region, of which the boot knew nothing."""
        region = self.made[len(self)] = Region(len(self), layout)
        self._carved += 1
        return region


class RegionsByName(Mapping[str, Region]):
    """The same by name; a later one hides an earlier one of its name."""

    __slots__ = ("_carved", "_numbers", "_regions")

    def __init__(self, layouts: Layouts, regions: Regions) -> None:
        self._regions = regions
        self._numbers = layouts.numbers
        self._carved: dict[str, Region] = {}

    def __getitem__(self, name: str) -> Region:
        return self._carved[name] if name in self._carved else self._regions[self._numbers[name]]

    def __contains__(self, name: object) -> bool:
        return name in self._numbers or name in self._carved

    def __len__(self) -> int:
        return len(self._numbers | self._carved)

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers | self._carved)

    def add(self, region: Region) -> None:
        """A region that was carved out."""
        self._carved[region.name] = region


@dataclass(slots=True, eq=False)
class MemMap:
    """All regions and the overlay of one replication."""

    layouts: Layouts
    memory_pages: int
    regions: Regions = field(init=False)
    by_name: RegionsByName = field(init=False)
    swapper: AddressSpace = field(init=False)  # its i_mmap tree is always empty
    overlay: dict[int, Page] = field(default_factory=dict)
    carved: list[Region] = field(default_factory=list)  # regions made later, out of free memory
    taken: dict[int, int] = field(default_factory=dict)  # given away since the boot: first pfn -> pages
    lost_blocks: set[tuple[int, int]] = field(default_factory=set)  # (first pfn, order) never allocated again
    moved: dict[int, int] = field(default_factory=dict)  # pfn -> the frame whose place in its region it took

    def __post_init__(self) -> None:
        self.regions = Regions(self.layouts)
        self.by_name = RegionsByName(self.layouts, self.regions)
        self.swapper = AddressSpace("swapper", "swapper")

    def region_of(self, pfn: int) -> tuple[Region, int]:
        """The region that uses frame ``pfn``, and the page's index there."""
        place, layouts = self.moved.get(pfn, pfn), self.layouts
        number = layouts.placed[bisect_right(layouts.firsts, place) - 1]
        region = self.regions.made.get(number) or self.regions[number]
        if self.carved and region.layout.is_free:
            region = next((each for each in self.carved if each.holds(place)), region)
        return region, place - region.layout.first_pfn

    def carve(self, layout: Layout) -> Region:
        """A region made while the machine runs; its frames were free before."""
        region = self.regions.carve(layout)
        self.by_name.add(region)
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
        self.regions.first_looks.clear()
        for region in self.regions.made.values():
            region.vmas, region.fork_family = [], None
            region.anon_vma.clear()
            region.watched.clear()
            if region.mapping is not None:
                region.mapping.tear_down()
