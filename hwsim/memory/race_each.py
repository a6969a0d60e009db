"""When each party would first meet the bad lines of many machines: the first race of each, over arrays.

The draws are those of the race of one line (``bad_lines/race``), whose first takes the row of its error.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from hwsim.elementary_each import log1p_of_each
from hwsim.kernel.page_flags import BUDDY, DIRTY
from hwsim.many_draws import Floats, Positions
from hwsim.memory.behaviours import BEHAVIOURS
from hwsim.memory.cells import Cells
from hwsim.memory.kinds import POOLS
from hwsim.memory.page_array import PageArray
from hwsim.rng import Slot
from hwsim.units import MAX_NS

FAR: Final = MAX_NS  # never: no horizon is longer

READS: Final = ("task_load", "kernel_load")
RENEWS: Final = ("allocated", "first_touch")
OTHERS: Final = ("freed", "dirtied")
REACHES: Final = (*READS, "task_overwrites", "kernel_overwrites", "freed")  # a line that was handled


def first_times(pages: PageArray, allocations_per_ns: float) -> dict[str, Positions]:
    """int64[pages] for each thing that may happen to a line by chance: when, in ns; :data:`FAR` is never.

    ``dirtied`` is no later than whatever follows from it.  ``allocations_per_ns``: of one free page.
    """
    cells, cell = pages.cells, pages.cell
    is_free, used = pages.flags & BUDDY != 0, (pages.references > 0).astype(np.int64)
    held = used * ~is_free
    heals = ~pages.permanent
    first = is_free & np.array([each.by_first_touch for each in BEHAVIOURS.values()])[cells.kind[cell]]
    clean = ~is_free & (pages.flags & DIRTY == 0)
    in_use = ~is_free
    lifetime = cells.fact("lifetime_ns")[cell]
    leaves = np.divide(1.0, lifetime, out=np.zeros(len(cell)), where=lifetime > 0.0)
    cut = cells.fact("truncate_per_s")[cell] * 1e-9
    turnover = cells.fact("turnover_per_s")[cell] * 1e-9
    overwrites = cells.kernel_overwrites[used, cell]
    rates = {
        "task_load": (Slot.RACE_TASK, cells.task_reads[cell] * held),
        "kernel_load": (Slot.RACE_KERNEL, cells.kernel_reads[used, cell] * in_use),
        "task_overwrites": (Slot.RACE_HEAL, cells.task_overwrites[cell] * (held * heals)),
        "kernel_overwrites": (Slot.RACE_OVERWRITE, overwrites * (in_use & heals)),
        "refilled": (Slot.TURNOVER, turnover * (in_use & heals)),
        "allocated": (Slot.ALLOC, allocations_per_ns * is_free),
        "first_touch": (Slot.RACE_TASK, cells.touches[cell] * first),
        "freed": (Slot.FREED, np.where(lifetime > 0.0, leaves, cut) * in_use),
        "dirtied": (Slot.RACE_DEVICE, cells.stores[pages.permanent.astype(np.int64), cell] * clean),
    }
    return {
        what: _when(pages.onset_ns, pages.slot(slot), rate)
        for what, (slot, rate) in rates.items()
        if rate.any()
    }


class Most(NamedTuple):
    """How often anything may come by chance at most, per ns, whatever a page is by then; float64[cells]."""

    to_line: Floats  # reads and overwrites of it
    to_page: Floats  # it is touched first, freed, filled anew, handed out, or made dirty beside its bad lines


def most_per_ns(cells: Cells, allocations_per_ns: float, *, permanent: bool) -> Most:
    """The sums of the rates of a race, with all that can be so."""
    kinds = [(each.by_first_touch, name in POOLS) for name, each in BEHAVIOURS.items()]
    first_touch, pool = np.array(kinds)[cells.kind].T
    to_line = cells.task_reads + cells.task_overwrites
    to_line += cells.kernel_reads.max(axis=0) + cells.kernel_overwrites.max(axis=0)
    lifetime = cells.fact("lifetime_ns")
    to_page = np.divide(1.0, lifetime, out=np.zeros(len(lifetime)), where=lifetime > 0.0)
    to_page += (cells.fact("truncate_per_s") + cells.fact("turnover_per_s")) * 1e-9
    to_page += cells.stores[int(permanent)] + cells.touches * (first_touch & ~cells.populated)
    to_page += allocations_per_ns * ~(pool | (cells.fact("is_file") > 0.0))
    return Most(to_line, to_page)


def _when(now_ns: Positions, u: Floats, rate_per_ns: Floats) -> Positions:
    """Exponential waits by inverse CDF, as whole ns after now."""
    waits = np.full(len(u), float(FAR))
    np.divide(-log1p_of_each(-u), rate_per_ns, out=waits, where=rate_per_ns > 0.0)
    comes = waits < FAR
    times: Positions = np.where(comes, now_ns + np.where(comes, waits, 0.0).astype(np.int64) + 1, FAR)
    return times
