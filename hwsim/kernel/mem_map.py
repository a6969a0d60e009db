"""The kernel's array of struct page: regions and overlay.

*regions*: per replication, each with an epoch and clocks; a kill, exit or truncation raises the epoch in
O(1), whatever the size.  *overlay*: the pages of interest of this replication as
:class:`~hwsim.kernel.mm_types.Page`; forgetting a replication is dropping it.  What a page is, is drawn when
it is first looked at (``memory/draw_state``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field

from hwsim.kernel.frames import Layout
from hwsim.kernel.mm_types import AddressSpace, Page, Region


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
        if self.carved and region.layout.is_free:
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
