"""The census of a machine: how many pages of each class are in which state, by the law and in one machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hwsim.elementary import added
from hwsim.elementary_each import Floats
from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import ErrorState, lookup
from hwsim.kernel.gather import Flags, gather
from hwsim.kernel.kernel import Kernel
from hwsim.memory.flag_array import Piece, pieces
from hwsim.memory.inode_clock import by_law
from hwsim.memory.layout import family_name
from hwsim.memory.page_class import PageClass, on_average
from hwsim.memory.page_law import MAPPED, NO_STRUCT_PAGE, PTE_DIRTY, Asker
from hwsim.rng import binomial

LOW, HIGH = 0.025, 0.975  # of the machines that the law can give
_STRIDE = 197  # has no divisor in common with the clocks: each is paired with another draw
_CHUNK = 1 << 20  # pages
Units = tuple[int, float, Floats]  # (allocations, pages of each that are meant, their chance)


class PageState(NamedTuple):
    """All that memory_failure() depends on: ``state`` as in ``page_law``, the file system of the mapping,
    who may map the page, and the chance that one try to unmap it fails."""

    state: int
    filesystem: str
    askers: tuple[Asker, ...]
    unmap_fail: float


class Count(NamedTuple):
    """Pages of one class in one state.

    ``name`` is of the memory ("postgres/heap", "file:tables"), all tasks of a group together.  ``pages`` is
    the mean by the law, ``low`` and ``high`` hold 95 % of all machines; ``drawn`` is one of them.
    """

    name: str
    kind: str
    page: PageState
    pages: float
    low: float
    high: float
    drawn: int


@dataclass(slots=True, eq=False)
class _Tally:
    """What is summed up of one class and state."""

    units: list[Units] = field(default_factory=list)
    drawn: int = 0


def census(kernel: Kernel, now_ns: int, flags: Flags) -> list[Count]:
    """What there is of each class in each state, in order of frames.

    ``kernel`` has booted and nothing has happened to it yet; ``flags`` is its flag array at ``now_ns``.  The
    law costs the same for every size, what is counted in the array follows the number of pages.
    """
    tallies: dict[tuple[str, str, PageState], _Tally] = {}
    for piece in pieces(kernel, now_ns, by_law):
        region = piece.pages.region
        here = region.layout.first_pfn + piece.pages.first
        drawn = flags[here : here + piece.pages.pages]
        for state, units in _states(piece).items():
            page = _page_state(piece.pages, state)
            tally = tallies.setdefault((family_name(region.name), region.kind, page), _Tally())
            tally.units += units
            tally.drawn += int(np.count_nonzero(drawn == state))
    found = [Count(*key, *_range(tally.units), tally.drawn) for key, tally in tallies.items()]
    hidden = kernel.spec.hidden_pages
    if hidden:
        nowhere = PageState(NO_STRUCT_PAGE, "", (), 0.0)
        found.append(Count("hidden", "hidden", nowhere, hidden, hidden, hidden, hidden))
    return found


def pages_by_row(states: tuple[ErrorState[Kernel], ...], flags: Flags) -> dict[int, int]:
    """How many pages of a flag array match each row of a kernel's table.

    A dirty bit that only an entry has is PG_dirty by then: try_to_unmap() moves it.
    """
    low = np.arange(pg.TABLE_MASK + 1)
    rows = lookup(states)[np.where(low & PTE_DIRTY, low | pg.DIRTY, low)]
    found = np.zeros(256, np.int64)
    for start in range(0, len(flags), _CHUNK):
        found += np.bincount(gather(rows, flags[start : start + _CHUNK]), minlength=256)
    return {row: int(found[row]) for row in np.flatnonzero(found).tolist()}


def _states(piece: Piece) -> dict[int, list[Units]]:
    """What there is of each state in the class."""
    pages = piece.pages
    found: dict[int, list[Units]] = {}
    firsts = -(-pages.pages // pages.step)
    for part in piece.law:
        found.setdefault(part.first, []).append((firsts, 1.0, part.chance))
        if pages.step > 1:
            others = (pages.pages - firsts) / firsts
            found.setdefault(part.others, []).append((firsts, others, part.chance))
    return found


def _page_state(pages: PageClass, state: int) -> PageState:
    askers: set[Asker] = set()
    fail = 0.0
    if state & MAPPED:
        askers = {Asker(vma.task.mce_kill, vma.task.caught) for vma in pages.vmas}
        fail = max((vma.region.layout.unmap_fail for vma in pages.vmas), default=0.0)
    return PageState(state, pages.region.layout.filesystem, tuple(sorted(askers)), fail)


def _range(units: list[Units]) -> tuple[float, float, float]:
    """(mean, low, high) of the pages in a state.

    Given its clock, a machine's count is binomial; over the clocks it is spread besides.
    """
    total = sum(number for number, _, _ in units)
    pages = on_average((number * each) * chance for number, each, chance in units)
    allocations = on_average(number * chance for number, _, chance in units)
    mean = added(pages.tolist()) / len(pages)
    size = mean / (added(allocations.tolist()) / len(allocations))
    chances = np.minimum(1.0, pages / (size * total)).tolist()
    if len(chances) == 1:
        low, high = (size * binomial(u, total, chances[0]) for u in (LOW, HIGH))
    else:
        us = ((nth * _STRIDE % len(chances) + 0.5) / len(chances) for nth in range(len(chances)))
        counts = sorted(size * binomial(u, total, chance) for u, chance in zip(us, chances, strict=True))
        low, high = (counts[int(u * len(counts))] for u in (LOW, HIGH))
    return mean, low, high
