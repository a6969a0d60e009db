"""The lines that a DRAM fault ruins: they go bad together; of an intermittent fault, window by window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from mypy_extensions import trait

from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.bad_lines import BadLines
from hwsim.bad_lines.ending import good_again
from hwsim.bad_lines.fault_course import FaultCourse
from hwsim.record import End, Permanence

Pages = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]  # page frames ascending, a bit for each line
Line = tuple[int, int]  # page frame number, and the line in the page


@trait
class Ruined:
    """Lines of one fault, or of two that met: many are a set, few are single lines from the start."""

    __slots__ = ()

    def go_bad(self) -> int:
        """They go bad now; how many."""
        raise NotImplementedError

    def good_again(self) -> bool:
        """What nobody has found reads right again, what is isolated stays; whether any goes bad once more."""
        raise NotImplementedError


class SingleLines(Ruined):
    """Few lines.

    Life: made with the fault -> :meth:`go_bad` -> :meth:`good_again`, and bad with the next window.
    """

    __slots__ = ("_bad_lines", "_lines", "_made", "_owners")

    def __init__(self, bad_lines: BadLines, owners: Sequence[FaultCourse], lines: list[Line]) -> None:
        self._bad_lines, self._owners, self._lines = bad_lines, owners, lines
        self._made: list[BadLine] = []

    def go_bad(self) -> int:
        source, permanent = self._owners[0].source, is_permanent(self._owners)
        self._made = [self._bad_lines.add(source, pfn, line, permanent) for pfn, line in self._lines]
        for bad in self._made:
            bad.faults = tuple(self._owners)
        return len(self._made)

    def good_again(self) -> bool:
        back = read_right_again(self._bad_lines, self._made)
        self._lines = [(line.pfn, line.number_in_page) for line in back]
        return bool(back)


def is_permanent(owners: Sequence[FaultCourse]) -> bool:
    """Whether what is written there heals none of it."""
    return all(each.fault.permanence == Permanence.PERMANENT for each in owners)


def read_right_again(bad_lines: BadLines, made: list[BadLine]) -> list[BadLine]:
    """The window of their fault is over; the answer is which of them go bad again with the next."""
    by_pfn = bad_lines.by_pfn
    pages = [by_pfn[line.pfn] for line in made if line.pfn in by_pfn]
    for page in {page.error: page for page in pages}.values():
        good_again(page, made)
    return [line for line in made if line.finished and line.record.end != End.REPLACED]
