"""How often each line of the memory is read, and overwritten unread, when everybody lives.

Taken from how the machine was laid out and never from its present state: corrected errors follow from reads,
and what follows from them must be the same under every policy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from hwsim.kernel.frames import Layout, Layouts
from hwsim.kernel.mm_types import Region
from hwsim.spec import Spec


class LineRates(NamedTuple):
    """Accesses of one line in a second: reads (loads and partial stores), and stores of the whole line."""

    reads: float
    overwrites: float


_NOBODY = LineRates(0.0, 0.0)


class LineReads:
    """The rates of any line.  Life: made for the layout of a machine -> asked by page frame number."""

    def __init__(self, spec: Spec, layouts: Layouts) -> None:
        placed = sorted((each for each in layouts if each.first_pfn >= 0), key=lambda each: each.first_pfn)
        self._firsts = [each.first_pfn for each in placed]
        self._ends = [each.first_pfn + each.pages for each in placed]
        users = {each.name: [(1.0, Region(0, each))] for each in placed}
        for count, name, layout in _mappings(spec, layouts):
            users[name].append((count, Region(0, layout)))
        self._users = [users[each.name] for each in placed]

    def of(self, pfn: int) -> LineRates:
        """The rates of a line of page frame ``pfn``; none for memory that nobody uses."""
        at = bisect_right(self._firsts, pfn) - 1
        if at < 0 or pfn >= self._ends[at]:
            return _NOBODY
        index, reads, overwrites = pfn - self._firsts[at], 0.0, 0.0
        for count, region in self._users[at]:
            if index < region.layout.pages:
                read, overwrite = region.line_rates(index)
                reads += count * read
                overwrites += count * overwrite
        return LineRates(reads * 1e9, overwrites * 1e9)


def _mappings(spec: Spec, layouts: Layouts) -> Iterator[tuple[float, str, Layout]]:
    """(tasks, name of what they map, the mapping): files, and the further tasks of a shared segment."""
    by_name = {each.name: each for each in layouts}
    for task in spec.tasks:
        for region in task.regions:
            tasks = float(task.count * (1 + task.children))
            layout = by_name.get(f"{task.name}/{region.name}")
            if layout is None:
                continue
            if region.file is not None:
                yield tasks, f"file:{region.file}", layout
            elif layout.first_pfn >= 0:
                yield tasks - 1.0, layout.name, layout
