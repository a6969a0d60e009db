"""The memory of a machine as a table: it has booted, time has passed, and nothing has happened to it."""

from __future__ import annotations

from typing import NamedTuple

from hwsim.kernel.kernel import error_table
from hwsim.kernel.versions.boot import booted
from hwsim.machine.machine import Machine
from hwsim.machine.snapshot import Snapshot, picture
from hwsim.memory.census import Count, census, pages_by_row
from hwsim.memory.layout import MemoryLayout
from hwsim.spec import Spec


class MachineCensus(NamedTuple):
    """All pages of replication ``index`` at ``time_ns``.

    ``by_row``: of each kernel, how many pages of this machine match each row of its table.
    """

    counts: list[Count]
    by_row: dict[str, dict[int, int]]
    snapshot: Snapshot


def machine_census(spec: Spec, index: int, time_ns: int, kernels: tuple[str, ...]) -> MachineCensus:
    """Without errors and script, whatever the scenario says.  Pure, as run_replication is."""
    machine = Machine(spec, index, MemoryLayout(spec))
    snapshot = picture(machine, time_ns)
    by_row = {
        name: pages_by_row(
            error_table(booted(name, spec.machine.switches).error_states, machine.kernel.config)[0],
            snapshot.flags,
        )
        for name in kernels
    }
    return MachineCensus(census(machine.kernel, time_ns, snapshot.flags), by_row, snapshot)
