"""Machines on which nothing happens are not built: at field rates that is nearly all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.kernel.meminfo import meminfo_proc_show
from hwsim.kernel.versions.boot import booted
from hwsim.machine.arrivals import nothing_arrives, onsets
from hwsim.many_draws import ManyDraws
from hwsim.record import Replication, ReplicationRow
from hwsim.rng import Draws
from hwsim.spec import Spec

_NUMBERS = len(ReplicationRow._fields) - 2  # all but replication and end_ns are zero


def uneventful(spec: Spec, index: int) -> Replication | None:
    """The result of a replication without a script and without an arrival before the horizon, else None.

    The first arrival of each source is the one that the machine would have drawn; a count always arrives.
    """
    if not _may_be_quiet(spec):
        return None
    draws = Draws(spec.seed, index)
    for source, error in enumerate(spec.errors):
        if next(onsets(draws, source, error, spec.horizon_ns), None) is not None:
            return None
    return _nothing_happened(spec, index)


def quiet(spec: Spec, indices: Sequence[int]) -> dict[int, Replication]:
    """:func:`uneventful` of many machines at once: those that are, by index."""
    if not _may_be_quiet(spec):
        return {}
    draws = ManyDraws(spec.seed, indices)
    eventless = np.ones(len(indices), np.bool_)
    for source, error in enumerate(spec.errors):
        eventless &= nothing_arrives(draws, source, error, spec.horizon_ns)
    found = np.array(indices, np.int64)[eventless].tolist()
    # All but the index is the same, and shared.
    row, *rest = _nothing_happened(spec, 0)
    numbers = row[1:]
    return {index: Replication._make((ReplicationRow._make((index, *numbers)), *rest)) for index in found}


def _may_be_quiet(spec: Spec) -> bool:
    return not spec.script and all(error.count is None for error in spec.errors)


def _nothing_happened(spec: Spec, index: int) -> Replication:
    """What a machine leaves on which nothing happened."""
    row = ReplicationRow(index, spec.horizon_ns, *[0] * _NUMBERS)
    meminfo = meminfo_proc_show(booted(spec.machine.kernel, spec.machine.switches).meminfo, 0)
    return Replication(row, [], [], [], {}, [], [], meminfo, [], "no error")
