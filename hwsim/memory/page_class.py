"""Classes of pages: runs of frames of one region that are used alike, so that one law holds for them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hwsim.elementary_each import Floats, exp_of_each
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import Region, Vma
from hwsim.memory.inode_clock import InodeClock
from hwsim.spec import MachineSpec

ClockOf = Callable[[Region, MachineSpec, int], InodeClock]


@dataclass(slots=True, eq=False)
class PageClass:
    """The pages of ``region`` from page offset ``first`` on, at ``now_ns``.

    Nobody's rates change among them: not those of system calls, not those of a task that covers them with
    one of ``vmas``.  ``clock``: of the inode, if it accounts dirty pages.  Chances are float64, of shape
    (1,) or one a clock.
    """

    kernel: Kernel
    region: Region
    first: int
    pages: int
    vmas: list[Vma]
    now_ns: int
    clock: InodeClock | None

    @property
    def step(self) -> int:
        """Pages of an allocation."""
        return 1 << self.region.layout.order

    def untouched(self, vma: Vma) -> Floats:
        """That the task has not touched a page since the mapping came to be."""
        if vma.populated:
            return np.zeros(1)
        load, store = vma.region.touch_rates(self.first)
        return no_event(load + store, vma.since_ns, self.now_ns)

    def not_stored(self, vma: Vma, since_ns: Floats | float) -> Floats:
        """That the task has not stored to a page since then, or since the mapping came to be."""
        since = np.maximum(since_ns, float(vma.since_ns))
        return no_event(vma.region.touch_rates(self.first)[1], since, self.now_ns)

    def locked_share(self, unmapped: Floats) -> Floats:
        """Of the mapped pages, those that one of the tasks maps that lock their memory.

        ``unmapped``: that no task maps a page.  Exact where all tasks lock it, or none.
        """
        if not any(vma.mlocked for vma in self.vmas):
            return np.zeros(1)
        unlocked = together(self.untouched(vma) for vma in self.vmas if vma.mlocked)
        return np.minimum(1.0, (1.0 - unlocked) / np.maximum(1.0 - unmapped, 1e-300))


def together(chances: Iterable[Floats]) -> Floats:
    """That several independent things are so."""
    total = np.ones(1)
    for each in chances:
        total = total * each
    return total


def on_average(chances: Iterable[Floats]) -> Floats:
    """How many of several things are so."""
    total = np.zeros(1)
    for each in chances:
        total = total + each
    return total


def no_event(per_ns: float, since_ns: Floats | float, now_ns: Floats | float) -> Floats:
    """That a Poisson stream of this rate had no event from ``since_ns`` up to now."""
    return exp_of_each(-per_ns * np.atleast_1d(np.float64(now_ns) - since_ns))


def classes_of(kernel: Kernel, now_ns: int, clock_of: ClockOf) -> Iterator[PageClass]:
    """All classes; where a script has carved a region out of free memory, it comes after what it lies on."""
    for region, pages in _extents(kernel):
        mapping = region.mapping
        all_vmas = (region.fork_family or region).anon_vma if mapping is None else mapping.vmas
        clock = None if mapping is None or mapping.host is None else clock_of(region, kernel.spec, now_ns)
        for first, end in pairwise((*_begins(region, all_vmas, pages), pages)):
            vmas = [vma for vma in all_vmas if vma.alive and vma.covers(first)]
            yield PageClass(kernel, region, first, end - first, vmas, now_ns, clock)


def _begins(region: Region, vmas: Iterable[Vma], pages: int) -> list[int]:
    """The page offsets below ``pages`` at which somebody's rates change, or a task begins or ends to map."""
    step = 1 << region.layout.order  # the pages of an allocation fare as its first
    begins = {-(-begin // step) * step for begin in rate_changes(region, vmas)}
    return sorted(each for each in begins if each < pages)


def rate_changes(region: Region, vmas: Iterable[Vma]) -> set[int]:
    """The page offsets at which somebody's rates may change: of the region, or of a task that maps it."""
    return {0, *region.bands}.union(*((vma.pgoff, vma.pgoff + vma.pages, *vma.region.bands) for vma in vmas))


def _extents(kernel: Kernel) -> Iterator[tuple[Region, int]]:
    """Regions with their pages; frames left out before an aligned one count to the region before them."""
    mem_map = kernel.mem_map
    placed = [each for each in mem_map.regions if each.layout.first_pfn >= 0 and each.layout.pages]
    laid_out = [each for each in placed if each not in mem_map.carved]
    ends = [each.layout.first_pfn for each in laid_out[1:]] + [mem_map.memory_pages]
    for region, end in zip(laid_out, ends, strict=True):
        yield region, end - region.layout.first_pfn
    for region in mem_map.carved:
        if region.layout.first_pfn >= 0:
            yield region, region.layout.pages
