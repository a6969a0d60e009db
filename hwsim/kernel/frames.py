"""How a run of frames is laid out when the machine is built, and how often its pages are touched."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from hwsim.spec import SwapCycle, Touch
from hwsim.units import LINES_PER_PAGE

MAX_ORDER = 10  # the largest block of the page allocator is 2**10 pages
_NS = 1e-9


@dataclass(frozen=True, slots=True)
class Layout:
    """One region as the machine is built: a run of ``pages`` frames from ``first_pfn``.

    ``first_pfn`` -1: no frames of its own (a file mapping: the frames are the file's).
    ``order`` is that of its allocations (huge pages, multi-page slab, stacks, high order).  ``kind`` is a
    name for rows and messages: what Linux asks of a page has a fact of its own.
    """

    name: str
    kind: str
    first_pfn: int
    pages: int
    touch: tuple[Touch, ...] = (Touch(1.0),)
    order: int = 0
    lines_per_touch: float = 1.0
    full_line: float = 0.1
    mlock: bool = False
    swap: SwapCycle | None = None
    pagevec: float = 0.0
    buffers: str = "none"
    buffers_busy: float = 0.0
    filesystem: str = ""  # of the inode that holds its pages; '' without one
    is_file: bool = False  # a file that can be opened: read(), write() and truncate() reach its pages
    is_hugetlb: bool = False  # VM_HUGETLB, PageHuge()
    is_free: bool = False  # the free lists of the boot
    turnover_per_s: float = 0.0
    truncate_per_s: float = 0.0
    evict_per_s: float = 0.0
    flush_every_ns: int | None = None  # in place of vm.dirty_expire_centisecs; 0: never
    lifetime_ns: int | None = None
    huge_free: float = 0.0
    unmap_fail: float = 0.0
    populate: bool = True
    cow_of: int = -1  # number of the region this one holds copy-on-write copies of
    bands: tuple[int, ...] = field(init=False)  # where each run of pages touched alike ends, but the last
    rates: tuple[tuple[float, float], ...] = field(init=False)  # of each: (loads, stores) per ns of a page
    line_rates: tuple[tuple[float, float], ...] = field(init=False)  # of each: see Frames.line_rates()

    def __post_init__(self) -> None:
        ends = tuple(accumulate(touch.share for touch in self.touch))
        rates = tuple((touch.load_per_s * _NS, touch.store_per_s * _NS) for touch in self.touch)
        if not ends or ends[-1] < 1.0 - 1e-9:
            rates += ((0.0, 0.0),)
        object.__setattr__(self, "bands", tuple(round(end * self.pages) for end in ends[: len(rates) - 1]))
        object.__setattr__(self, "rates", rates)
        share, full = min(1.0, self.lines_per_touch / LINES_PER_PAGE), self.full_line
        lines = tuple(((load + store * (1.0 - full)) * share, store * full * share) for load, store in rates)
        object.__setattr__(self, "line_rates", lines)


class Layouts(tuple[Layout, ...]):
    """All regions of a machine as it is built, by number, and how to find one: made once for all boots.

    ``numbers`` by name; ``placed`` are those with frames of their own, in physical order, ``firsts`` the
    first pfn of each.
    """

    def __init__(self, _layouts: Iterable[Layout]) -> None:
        self.numbers = {layout.name: number for number, layout in enumerate(self)}
        of_frames = ((n, each) for n, each in enumerate(self) if each.first_pfn >= 0 and each.pages)
        runs = sorted((each.first_pfn, number) for number, each in of_frames)
        self.firsts = [first_pfn for first_pfn, _ in runs]
        self.placed = [number for _, number in runs]

    def of(self, name: str) -> Layout:
        """The region of this name."""
        return self[self.numbers[name]]


@dataclass(slots=True, eq=False)
class Frames:
    """A run of frames in one replication: where it lies, and how often a task touches its pages."""

    number: int
    layout: Layout
    name: str = field(init=False)
    kind: str = field(init=False)
    bands: tuple[int, ...] = field(init=False)
    rates: tuple[tuple[float, float], ...] = field(init=False)

    def __post_init__(self) -> None:
        layout = self.layout
        self.name, self.kind, self.bands, self.rates = layout.name, layout.kind, layout.bands, layout.rates

    def holds(self, pfn: int) -> bool:
        """Whether the frame lies in this region."""
        return 0 <= pfn - self.layout.first_pfn < self.layout.pages

    def touch_rates(self, pgoff: int) -> tuple[float, float]:
        """(loads, stores) per ns of one page by one task."""
        return self.rates[bisect_right(self.bands, pgoff)]

    def line_rates(self, pgoff: int) -> tuple[float, float]:
        """Per ns and task: accesses that read a given line, and stores that overwrite it unread."""
        return self.layout.line_rates[bisect_right(self.bands, pgoff)]

    def stores_per_ns(self, first: int, end: int) -> float:
        """Stores per ns by one task to the pages from ``first`` to before ``end`` together."""
        total = 0.0
        for band, (_, store) in enumerate(self.rates):
            stop = end if band == len(self.rates) - 1 else min(end, self.bands[band])
            if stop > first:
                total += (stop - first) * store
                first = stop
        return total
