"""Runs of frames whose pages are alike, for many pages at once: which run a frame is in, and how much can happen there.

Taken from how the machine was laid out, as if everybody lived: what can happen to a line of the run at most, per
ns.  What happens in truth depends on what the page is, which is drawn when that much has come.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hwsim.kernel.frames import Layout
from hwsim.memory.kinds import POOLS
from hwsim.memory.line_reads import mappings
from hwsim.spec import Spec
from hwsim.units import LINES_PER_PAGE

_NS = 1e-9
_WRITTEN_BACK = ("tmpfs", "ramfs", "hugetlbfs")  # what is not


class Run(NamedTuple):
    """Pages from frame ``first_pfn`` to that of the next run: of one region, each touched alike by whoever uses it.

    ``most_per_ns`` bounds how often a line is read or overwritten or its page first touched, freed or filled
    anew, or dirtied if the flusher writes it then; beside that ``can_be_free`` says whether the allocator can take
    it.  ``one_by_one``: what comes to a page follows other clocks than these (rounds through the swap cache, ends of
    tasks, forks, eviction, scripts).
    """

    first_pfn: int
    layout: Layout | None  # None: memory that the kernel does not see
    most_per_ns: float
    can_be_free: bool
    one_by_one: bool


class Runs:
    """All runs of a machine, in order of frames; ``of()`` is :func:`numpy.searchsorted`."""

    def __init__(self, spec: Spec, layouts: list[Layout]) -> None:
        users: dict[str, list[tuple[float, Layout]]] = {
            each.name: [(2.0 if each.is_hugetlb else 1.0, each)] for each in layouts if each.first_pfn >= 0
        }  # of a huge page the kernel reads as much as its task
        for count, name, layout in mappings(spec, layouts):
            users[name].append((count, layout))
        clocked = {task.name for task in spec.tasks if task.children or task.lifetime_ns is not None}
        self.all = [
            run
            for layout in sorted(layouts, key=lambda each: each.first_pfn)
            if layout.first_pfn >= 0 and layout.pages
            for run in _runs(layout, users[layout.name], clocked, scripted=bool(spec.script))
        ]
        self.all.append(Run(spec.machine.memory_pages, None, 0.0, can_be_free=False, one_by_one=False))
        self.firsts = np.array([run.first_pfn for run in self.all], dtype=np.int64)


def _runs(
    layout: Layout, users: list[tuple[float, Layout]], clocked: set[str], *, scripted: bool
) -> Iterator[Run]:
    cuts = {0, *(end for _, user in users for end in (*user.bands, user.pages) if end < layout.pages)}
    own = not layout.is_file and layout.kind not in POOLS
    one_by_one = (
        scripted
        or layout.swap is not None
        or layout.cow_of >= 0
        or layout.evict_per_s > 0.0
        or any(user.name.partition("/")[0].split(".")[0] in clocked for _, user in users)
    )
    for first in sorted(cuts):
        most = (layout.turnover_per_s + layout.truncate_per_s) * _NS
        most += 1.0 / layout.lifetime_ns if layout.lifetime_ns else 0.0
        most += sum(count * _most(layout, user, first) for count, user in users if first < user.pages)
        yield Run(layout.first_pfn + first, layout, most, own, one_by_one)


def _most(layout: Layout, user: Layout, index: int) -> float:
    """Of one who uses the page in this way."""
    load, store = user.rates[bisect_right(user.bands, index)]
    share = (
        min(1.0, user.lines_per_touch / LINES_PER_PAGE) if user.populate else 1.0
    )  # the first touch counts
    dirtied = store if layout.is_file and layout.filesystem not in _WRITTEN_BACK else 0.0
    return (load + store) * share + dirtied
