"""Machines on which nothing happens are not built: at field rates that is nearly all of them."""

from __future__ import annotations

from hwsim.kernel.meminfo import meminfo_proc_show
from hwsim.kernel.versions.boot import booted
from hwsim.machine.arrivals import onsets
from hwsim.record import Replication, ReplicationRow
from hwsim.rng import Draws
from hwsim.spec import Spec

_NUMBERS = len(ReplicationRow._fields) - 2  # all but replication and end_ns are zero


def uneventful(spec: Spec, index: int) -> Replication | None:
    """The result of a replication without a script and without an arrival before the horizon, else None.

    The first arrival of each source is the one that the machine would have drawn; a count always arrives.
    """
    if spec.script or any(error.count is not None for error in spec.errors):
        return None
    draws = Draws(spec.seed, index)
    for source, error in enumerate(spec.errors):
        if next(onsets(draws, source, error, spec.horizon_ns), None) is not None:
            return None
    row = ReplicationRow(index, spec.horizon_ns, *[0] * _NUMBERS)
    meminfo = meminfo_proc_show(booted(spec.machine.kernel, spec.machine.switches).meminfo, 0)
    return Replication(row, [], [], [], {}, [], [], meminfo, [], "quiet")
