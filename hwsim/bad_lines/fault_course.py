"""The course of one DRAM fault of a machine, and the corrected errors that it makes by arithmetic."""

from __future__ import annotations

from hwsim.elementary import expm1
from hwsim.hardware.dram.dram_fault import DramFault, dimms_of
from hwsim.record import Ecc, FaultEnd, Permanence
from hwsim.rng import binomial, poisson
from hwsim.spec import DramSpec


class FaultCourse:
    """One fault.  Life: onset -> its lines go bad, once or window by window -> it fades, is repaired, stays.

    Corrected errors come from reads: ``reads_per_s`` of all its lines together, by tasks, kernel and
    scrubber, of which the share ``shows`` meets wrong bits.  A transient is written back by the first read
    that corrects it: it fades at ``fades_ns``, as ``fades_as``; of a wide one the share ``read_first`` of the
    lines is read before it is overwritten.
    """

    __slots__ = (
        "corrected", "dram", "dropped", "end", "end_ns", "errors", "fades_as", "fades_ns", "fault", "lines",
        "met", "number", "onset_ns", "read_first", "reads_per_s", "records", "ruined", "sets", "shows",
        "source", "u",
    )  # fmt: skip

    def __init__(self, number: int, source: int, onset_ns: int, fault: DramFault, dram: DramSpec) -> None:
        self.number, self.source, self.onset_ns, self.fault, self.dram = number, source, onset_ns, fault, dram
        self.ruined = self.sets = self.errors = self.met = self.corrected = self.records = self.dropped = 0
        self.lines = dimms_of(dram).map.line_count(fault.where)
        self.reads_per_s = self.shows = 0.0
        self.read_first = 1.0
        self.u = 0.5  # decides the number of its corrected errors
        self.fades_ns: int | None = None
        self.fades_as = ""
        self.end, self.end_ns = "", -1

    @property
    def gone(self) -> bool:
        """Whether it was repaired, scrubbed or written away."""
        return self.end != ""

    @property
    def is_repaired(self) -> bool:
        """Whether its lines are good again."""
        return self.end in (FaultEnd.REPLACED, FaultEnd.SPARED, FaultEnd.PPR)

    @property
    def shown_per_s(self) -> float:
        """Corrected errors in a second while it shows."""
        return self.reads_per_s * self.shows

    @property
    def active_share(self) -> float:
        """The share of time in which it shows."""
        dram = self.dram
        return (
            dram.on_ns / (dram.on_ns + dram.off_ns)
            if self.fault.permanence == Permanence.INTERMITTENT
            else 1.0
        )

    def corrected_until(self, end_ns: int) -> int:
        """Corrected errors from the onset on, if it ends then: one draw, never an event each."""
        seconds = (end_ns - self.onset_ns) / 1e9
        if self.fault.outcome != Ecc.CE:
            return 0
        if self.fault.permanence != Permanence.TRANSIENT:
            return poisson(self.u, self.shown_per_s * self.active_share * seconds)
        if self.lines == 1:
            return int(self.end in (FaultEnd.SCRUBBED, FaultEnd.CORRECTED))
        each_per_s = self.reads_per_s / self.lines / max(self.read_first, 1e-12)
        met = 1.0 if self.end == FaultEnd.SCRUBBED else -expm1(-each_per_s * seconds)
        return binomial(self.u, self.lines, self.read_first * met)
