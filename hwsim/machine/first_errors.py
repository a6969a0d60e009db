"""Which of many machines have one single error, and where that falls."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwsim.elementary_each import log1p_of_each
from hwsim.machine.arrivals import end_of_source_ns
from hwsim.many_draws import ManyDraws, Positions
from hwsim.memory.cells import Truths
from hwsim.memory.layout import MemoryLayout
from hwsim.rng import Slot
from hwsim.spec import ErrorSpec, Spec
from hwsim.units import LINES_PER_PAGE, MAX_NS

_FAR_WAIT = float(MAX_NS)  # no horizon is longer, and an int64 holds it besides a time


class FirstErrors(NamedTuple):
    """One entry a machine with one error: its position in the draws, and the error."""

    machine: Positions
    source: Positions
    onset_ns: Positions
    pfn: Positions
    line: Positions
    permanent: Truths


def single_errors(spec: Spec, layout: MemoryLayout, draws: ManyDraws, machines: int) -> FirstErrors:
    """All machines with exactly one error of one line before the horizon; no source is one of DRAM faults."""
    errors = np.zeros(machines, np.int64)
    source, onset_ns = errors.copy(), errors.copy()
    for number, error in enumerate(spec.errors):
        first_ns, fallen = _arrivals(draws, machines, number, error, spec.horizon_ns)
        errors += fallen
        source[fallen > 0], onset_ns[fallen > 0] = number, first_ns[fallen > 0]
    machine = np.flatnonzero(errors == 1)
    source, onset_ns = source[machine], onset_ns[machine]
    pfn, chance = np.zeros(len(machine), np.int64), np.zeros(len(machine))
    place = draws.slot(Slot.PLACE)[machine]
    for number, error in enumerate(spec.errors):
        here = source == number
        if here.any():
            pfn[here], chance[here] = layout.place_each(error.where, place[here]), error.permanent
    line = (draws.slot(Slot.LINE)[machine] * LINES_PER_PAGE).astype(np.int64)
    return FirstErrors(machine, source, onset_ns, pfn, line, draws.slot(Slot.PERMANENT)[machine] < chance)


def _arrivals(
    draws: ManyDraws, machines: int, source: int, error: ErrorSpec, horizon_ns: int
) -> tuple[Positions, Positions]:
    """The first onset of a source on each machine, and how many errors it has there; 2 is two or more."""
    end_ns = end_of_source_ns(error, horizon_ns)
    window_ns = end_ns - error.start_ns
    none = np.zeros(machines, np.int64)
    if error.count is not None:
        if window_ns <= 0 or error.count == 0:
            return none, none
        u = draws.first_arrivals(source, 1)[:, 0]
        within = np.minimum((u * window_ns).astype(np.int64), window_ns - 1)
        return error.start_ns + within, none + min(error.count, 2)
    if error.rate_per_s <= 0.0:
        return none, none
    waits_ns = -log1p_of_each(-draws.first_arrivals(source, 2)) / error.rate_per_s * 1e9
    waits = np.minimum(waits_ns, _FAR_WAIT).astype(np.int64)
    first_ns = error.start_ns + waits[:, 0]
    second_ns = first_ns + waits[:, 1]
    first = (waits_ns[:, 0] < end_ns) & (first_ns < end_ns)
    second = first & (waits_ns[:, 1] < end_ns) & (second_ns < end_ns)
    return first_ns, first.astype(np.int64) + second
