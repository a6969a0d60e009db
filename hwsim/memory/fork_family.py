"""Which frame each process of a forked family holds for one page (mm/memory.c of 2.6.30).

What was there at a fork is shared until somebody stores to it; what appears later is each process's own.
All of it follows from a few draws by name, so that every frame of the family tells the same story.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hwsim.elementary import added, log1p
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import Region, Task, Vma
from hwsim.rng import Slot

Uniform = Callable[[Slot, int], float]
_NEVER = float("inf")


class Taking(NamedTuple):
    """A process takes a frame: for a page it touches first, or for its copy at its first store."""

    time_ns: float
    vma: Vma
    frames: Region
    copied: bool


def copy_regions(kernel: Kernel, family: Region) -> list[Region]:
    """The frames meant for copies by the children of a family, one region for each child."""
    regions, found = kernel.mem_map.regions, []
    for number in range(family.number + 1, len(regions)):
        if regions[number].layout.cow_of != family.number:
            break
        found.append(regions[number])
    return found


def is_shared(kernel: Kernel, region: Region) -> bool:
    """Whether the region holds frames of a family that has forked, or was made to fork."""
    return region.fork_family is not None or len(region.anon_vma) > 1 or bool(copy_regions(kernel, region))


class Family:
    """One page of a family: who shares it, and every frame taken for it, past and to come.

    A process takes its own frame if that is free; a parent has none of its own but the original.  The
    last sharer finds itself alone and keeps the frame, so there is always one left.
    """

    __slots__ = ("_home", "_index", "_sharers", "_since", "_uniform", "takings")

    def __init__(self, kernel: Kernel, family: Region, index: int, uniform: Uniform) -> None:
        self._index, self._uniform = index, uniform
        vmas = [vma for vma in family.anon_vma if vma.covers(index)]
        self._since: dict[Vma | None, float] = {None: -_NEVER}  # when the first of the sharers had it
        self._sharers: dict[Vma | None, list[Vma]] = {}  # by who had it first; None: all, from the start
        of_task = {vma.task: vma for vma in vmas}
        for vma in vmas:
            self._sharers.setdefault(self._first(vma, of_task), []).append(vma)
        events = [(self._since[first], first.number, first, False) for first in self._sharers if first]
        for sharers in self._sharers.values():
            events += self._copies(sharers)
        free = [family, *copy_regions(kernel, family)]
        self._home: dict[Vma | None, Region] = {}
        if None in self._sharers:
            self._home[None] = free.pop(0)
        self.takings: list[Taking] = []
        for time, _, vma, copied in sorted(events, key=lambda each: each[:2]):
            if free and time < _NEVER:
                frames = next((each for each in free if vma in each.vmas), free[0])
                free.remove(frames)
                self.takings.append(Taking(time, vma, frames, copied))
                if not copied:
                    self._home[vma] = frames

    def _first(self, vma: Vma, of_task: dict[Task, Vma]) -> Vma | None:
        """Whose first touch made the frame that ``vma`` shares: its own, or an ancestor's before the fork."""
        if vma.populated:
            return None
        parent = vma.task.parent
        origin = of_task.get(parent) if parent is not None else None
        if origin is not None:
            first = self._first(origin, of_task)
            if self._since[first] <= vma.since_ns:
                return first
        if vma not in self._since:
            rate = added(vma.region.touch_rates(self._index))
            self._since[vma] = vma.since_ns + self._wait(Slot.PRESENT, vma, rate)
        return vma

    def _copies(self, sharers: list[Vma]) -> list[tuple[float, int, Vma, bool]]:
        stores = []
        for vma in sharers if len(sharers) > 1 else ():
            wait = self._wait(Slot.WHO_STORED, vma, vma.region.touch_rates(self._index)[1])
            stores.append((vma.forked_ns + wait, vma.number, vma, True))
        return sorted(stores, key=lambda each: each[:2])[: len(sharers) - 1]

    def _wait(self, slot: Slot, vma: Vma, rate: float) -> float:
        return -log1p(-self._uniform(slot, vma.number)) / rate if rate > 0.0 else _NEVER

    def holders(self, frames: Region, now_ns: int) -> list[Vma]:
        """Who maps the page's frame of ``frames`` now; nobody, and it is free."""
        taken = [each for each in self.takings if each.time_ns <= now_ns]
        for each in taken:
            if each.copied and each.frames is frames:
                return [each.vma]
        gone = {each.vma for each in taken if each.copied}
        for first, home in self._home.items():
            if home is frames and self._since[first] <= now_ns:
                return [vma for vma in self._sharers[first] if vma not in gone]
        return []

    def taking(self, frames: Region, now_ns: int) -> Taking | None:
        """When the page's frame of ``frames`` is taken, if that is still to come."""
        return next((each for each in self.takings if each.frames is frames and each.time_ns > now_ns), None)
