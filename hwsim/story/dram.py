"""The DRAM faults of one machine: onset, the errors they make, corrected errors by arithmetic, repair."""

from __future__ import annotations

from math import exp, log1p
from statistics import NormalDist
from typing import TYPE_CHECKING

from hwsim.engine import FAULT_ONSET
from hwsim.hardware.address_map import LINE_SHIFT, PAGE_SHIFT
from hwsim.hardware.dram_fault import DramFault, dimms_of, is_within_a_row
from hwsim.kernel.cmci import interrupted
from hwsim.kernel.mce_poll import Seen, polled
from hwsim.kernel.mcelog import kept_share
from hwsim.record import FaultRow
from hwsim.rng import Draws, Slot, binomial, poisson

if TYPE_CHECKING:
    from hwsim.kernel.memory_failure import Report
    from hwsim.machine import Machine
    from hwsim.spec import DramSpec, ErrorSpec

_NORMAL = NormalDist()
_NAME = -9_000_000  # names of draws that belong to faults: below zero, apart from all others


def frailty(draws: Draws, source: int, dram: DramSpec) -> float:
    """This machine's factor on the rate of its faults: lognormal with mean 1."""
    if dram.frailty <= 0.0:
        return 1.0
    z = _NORMAL.inv_cdf(draws.extra(_NAME - source, Slot.FRAILTY))
    return exp(dram.frailty * z - dram.frailty**2 / 2.0)


def rate_per_s(draws: Draws, source: int, error: ErrorSpec) -> float:
    """Arrivals of an error source in a second, on this machine."""
    return error.rate_per_s if error.dram is None else error.rate_per_s * frailty(draws, source, error.dram)


class FaultStory:
    """One fault.  Life: onset -> its lines go bad, once or window by window -> repaired, scrubbed or not."""

    __slots__ = (
        "corrected", "dram", "dropped", "end", "end_ns", "errors", "factor", "fault", "met", "number",
        "onset_ns", "records", "source", "u",
    )  # fmt: skip

    def __init__(self, number: int, source: int, onset_ns: int, fault: DramFault, dram: DramSpec) -> None:
        self.number, self.source, self.onset_ns, self.fault, self.dram = number, source, onset_ns, fault, dram
        self.errors = self.met = self.corrected = self.records = self.dropped = 0
        self.factor = 1.0  # on the rate of its corrected errors
        self.u = 0.5  # decides their number
        self.end, self.end_ns = "", -1

    @property
    def gone(self) -> bool:
        """Whether it was repaired or scrubbed away."""
        return self.end != ""


class DramFaults:
    """All faults of a machine, in order of onset.

    Corrected errors are never events: their number is one Poisson draw over the time a fault is there.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.faults: list[FaultStory] = []

    def onset(self, source: int, dram: DramSpec) -> None:
        """A fault comes: alone or with an earlier one it may be more than the ECC corrects."""
        machine, now, dimms = self._machine, self._machine.engine.now, dimms_of(dram)
        number = len(self.faults)
        chance = machine.draws.generator(_NAME - number, Slot.FAULT)
        fault = dimms.draw(chance)
        story = FaultStory(number, source, now, fault, dram)
        story.factor = exp(dram.ce_sigma * float(chance.standard_normal()))
        story.u = machine.draws.extra(_NAME - number, Slot.CORRECTED)
        earlier = [each for each in self.faults if each.source == source and self._is_there(each)]
        self.faults.append(story)
        self._schedule_spare(story)
        ruined: list[tuple[list[FaultStory], list[int]]] = []
        if fault.outcome == "UE":
            ruined.append(([story], dimms.lines(fault.where, dram.max_lines, chance).tolist()))
        for other in earlier:
            where = dimms.meet(fault, other.fault)
            if where is not None:
                story.met += 1
                ruined.append(([story, other], dimms.lines(where, dram.max_lines, chance).tolist()))
        fitted = machine.spec.machine.memory_pages + machine.spec.machine.hidden_pages
        for owners, addresses in ruined:
            inside = [address for address in addresses if address >> PAGE_SHIFT < fitted]
            self._ruin(owners, [(address >> PAGE_SHIFT, address >> LINE_SHIFT & 63) for address in inside])

    def _ruin(self, owners: list[FaultStory], lines: list[tuple[int, int]]) -> None:
        """The lines go bad now; of an intermittent fault, in its next window again."""
        machine, first = self._machine, owners[0]
        source, dram = first.source, first.dram
        if any(each.gone for each in owners):
            return
        permanence = {each.fault.permanence for each in owners}
        for pfn, line in lines:
            story = machine.add_error(source, pfn, line, permanence == {"permanent"})
            story.faults = tuple(owners)
            for each in owners:
                each.errors += 1
        if "intermittent" in permanence and "transient" not in permanence and lines:
            u = machine.draws.extra(_NAME - first.number, Slot.WINDOW_OFF, first.errors)
            wait = int(-(dram.on_ns + dram.off_ns) * log1p(-u))
            at = machine.engine.now + max(1, wait)
            if at < machine.horizon_ns:
                machine.engine.at(at, FAULT_ONSET | source, lambda _event: self._ruin(owners, lines))

    def _is_there(self, story: FaultStory) -> bool:
        self._let_scrub(story, self._machine.engine.now)
        return not story.gone

    def _let_scrub(self, story: FaultStory, now_ns: int) -> None:
        """A sweep that corrects takes a transient away."""
        period = self._machine.spec.machine.scrub.period_ns
        if story.gone or story.fault.permanence != "transient" or period is None:
            return
        until = (story.onset_ns // period + 1) * period
        if until <= now_ns and story.fault.outcome == "CE":
            self._finish(story, "scrubbed", until)

    def _schedule_spare(self, story: FaultStory) -> None:
        """After so many corrected errors a spare row takes over; when is known as soon as the rate is."""
        fault, dram = story.fault, story.dram
        if dram.row_sparing is None or fault.outcome != "CE" or not is_within_a_row(fault):
            return
        rate = _corrected_per_s(story)
        if fault.permanence == "transient" or rate <= 0.0:
            return
        at = story.onset_ns + int(dram.row_sparing / rate * 1e9)
        machine = self._machine
        if at < machine.horizon_ns:
            machine.engine.at(
                at, FAULT_ONSET | story.source, lambda _event: self._finish(story, "spared", at)
            )

    def _finish(self, story: FaultStory, end: str, now_ns: int) -> None:
        if story.gone:
            return
        story.end, story.end_ns = end, now_ns
        story.corrected = _corrected(story)
        self._report(story)

    def _report(self, story: FaultStory) -> None:
        """How many of its corrected errors the kernel read out, and how many records its log had no room for.

        Each error is taken to be seen with the share that the kernel sees in the long run, apart from the
        others; each fault to have a bank to itself.
        """
        extra, name = self._machine.draws.extra, _NAME - story.number
        story.records = story.corrected
        if story.fault.permanence != "transient" and story.corrected:
            rate = story.dram.ce_per_s * story.factor  # while it shows
            seen = self._seen(rate)
            share = seen.records_per_s / rate
            story.records = binomial(extra(name, Slot.RECORDS), story.corrected, share)
            kept = kept_share(seen.records_per_s, self._machine.spec.machine.corrected.mcelog_ns * 1e-9)
            story.dropped = story.records - binomial(extra(name, Slot.DROPPED), story.records, kept)

    def _seen(self, rate_per_s: float) -> Seen:
        how = self._machine.spec.machine.corrected
        return polled(rate_per_s) if how.signals == "poll" else interrupted(rate_per_s, how.storms)

    def bank_is_taken(self, report: Report) -> bool:
        """Whether a corrected error waits in the bank, so that a find overflows it (SDM 3B, table 15-7)."""
        rate = sum(
            _corrected_per_s(each)
            for each in self.faults
            if not each.gone and each.fault.outcome == "CE" and each.fault.permanence != "transient"
        )
        return rate > 0.0 and report.extra(Slot.BANK_TAKEN, report.attempt) < self._seen(rate).taken

    def rebooted(self) -> None:
        """Before a new kernel comes up: the DIMM of a panic may be replaced, rows repaired.

        ``on_panic.repair`` is the chance that it is replaced; every fault of the DIMM goes with it.
        """
        machine, now = self._machine, self._machine.engine.now
        for error in machine.stories:
            if error.faults and error.end == "panic" and not error.finished:
                u = machine.draws.extra(error.error, Slot.REPAIR, error.races)
                if u < machine.spec.machine.repair_share:
                    for each in error.faults:
                        self._replace_dimm(each, now)
        for story in self.faults:
            self._let_scrub(story, now)
            if story.dram.ppr and story.fault.outcome != "none" and is_within_a_row(story.fault):
                self._finish(story, "ppr", now)

    def _replace_dimm(self, story: FaultStory, now_ns: int) -> None:
        number = dimms_of(story.dram).number
        for each in self.faults:
            if each.source == story.source and number(each.fault.where) == number(story.fault.where):
                self._finish(each, "replaced", now_ns)

    def rows(self, replication: int, end_ns: int) -> list[FaultRow]:
        """The records, once the run is over."""
        for story in self.faults:
            self._let_scrub(story, end_ns)
            self._finish(story, "horizon", end_ns)
        return [self._row(story, replication) for story in self.faults]

    def _row(self, story: FaultStory, replication: int) -> FaultRow:
        fault, dimms = story.fault, dimms_of(story.dram)
        where = fault.where
        return FaultRow(
            replication,
            story.number,
            story.source,
            story.onset_ns,
            fault.mode,
            fault.permanence,
            dimms.number(where),
            where.rank,
            fault.chip,
            dimms.bank(where),
            where.row,
            where.column,
            dimms.map.line_count(where),
            fault.outcome,
            story.met,
            story.errors,
            story.corrected,
            story.records,
            story.dropped,
            story.end,
            story.end_ns,
        )


def _corrected_per_s(story: FaultStory) -> float:
    """Corrected errors of a fault that stays, over its windows and what lies between them."""
    dram = story.dram
    share = dram.on_ns / (dram.on_ns + dram.off_ns) if story.fault.permanence == "intermittent" else 1.0
    return dram.ce_per_s * story.factor * share


def _corrected(story: FaultStory) -> int:
    """Corrected errors until its end; of a transient the one read of the sweep that corrects it."""
    if story.fault.outcome != "CE":
        return 0
    if story.fault.permanence == "transient":
        return int(story.end == "scrubbed")
    return poisson(story.u, _corrected_per_s(story) * (story.end_ns - story.onset_ns) / 1e9)
