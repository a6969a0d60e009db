"""Sets of page offsets as ranges: what is said of a whole file costs what its edges cost."""

from __future__ import annotations

from collections.abc import Iterator


class PageRanges:
    """Page offsets of a file, kept as sorted ranges that neither overlap nor touch."""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        self._ranges: list[range] = []

    def __contains__(self, pgoff: object) -> bool:
        return any(pgoff in each for each in self._ranges)

    def __iter__(self) -> Iterator[range]:
        return iter(self._ranges)

    def add(self, pages: range) -> None:
        """Take all of ``pages`` in; an empty range is nothing."""
        if not pages:
            return
        apart = [each for each in self._ranges if each.stop < pages.start or pages.stop < each.start]
        joined = [each for each in self._ranges if each not in apart]
        start = min([pages.start, *(each.start for each in joined)])
        stop = max([pages.stop, *(each.stop for each in joined)])
        self._ranges = sorted([*apart, range(start, stop)], key=lambda each: each.start)

    def discard(self, pages: range) -> None:
        """Leave all of ``pages`` out from now on."""
        left = []
        for each in self._ranges:
            left.append(range(each.start, min(each.stop, pages.start)))
            left.append(range(max(each.start, pages.stop), each.stop))
        self._ranges = [each for each in left if each]

    def within(self, pages: range) -> int:
        """How many of ``pages`` are in the set."""
        both = (range(max(each.start, pages.start), min(each.stop, pages.stop)) for each in self._ranges)
        return sum(len(each) for each in both)
