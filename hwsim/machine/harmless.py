"""Machines whose DRAM faults ruin no line: the faults take their course, and no kernel is booted for that."""

from __future__ import annotations

from typing import NoReturn

from hwsim.bad_lines.bad_lines import BadLines
from hwsim.bad_lines.dram_faults import DramFaults
from hwsim.machine.error_source import ErrorSource
from hwsim.machine.power_on import power_on
from hwsim.machine.quiet import nothing_happened
from hwsim.memory.layout import MemoryLayout
from hwsim.record import Replication
from hwsim.spec import Spec


class _NoBadLine(BadLines):
    """Ends the run when a line goes bad, which would meet a kernel."""

    __slots__ = ()

    def add(self, *_: object, **__: object) -> NoReturn:
        self.many()

    def many(self) -> NoReturn:
        """A set of lines asks what it lies in."""
        self.error_count += 1
        self.around.engine.stop()


def harmless(spec: Spec, index: int, layout: MemoryLayout) -> Replication | None:
    """The result of a replication without a script whose DRAM faults ruin no line, else None.

    All draws are those of the machine, up to the first line that goes bad.
    """
    if spec.script or all(error.dram is None for error in spec.errors):
        return None
    lines = power_on(_NoBadLine, spec, index)
    dram, engine = DramFaults(lines, layout, lines.many), lines.around.engine
    for number, error in enumerate(spec.errors):
        ErrorSource(lines, dram, layout, number, error)
    engine.run(spec.horizon_ns)
    if lines.error_count:
        return None
    faults = dram.rows(index, spec.horizon_ns)
    found = nothing_happened(spec, index)
    row = found.row._replace(
        dram_faults=len(faults),
        corrected=sum(each.corrected for each in faults),
        records=sum(each.records - each.dropped for each in faults),
    )
    return found._replace(row=row, faults=faults, settled="no line ruined")
