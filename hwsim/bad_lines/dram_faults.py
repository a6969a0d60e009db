"""The DRAM faults of one machine: onset, the errors they make, corrected errors by arithmetic, repair."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, expm1, log1p
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from hwsim.engine import FAULT_ONSET
from hwsim.hardware.address_map import LINE_SHIFT, PAGE_SHIFT
from hwsim.hardware.dram_fault import DramFault, dimms_of, is_within_a_row
from hwsim.kernel.cmci import interrupted
from hwsim.kernel.mce_poll import Seen, polled
from hwsim.kernel.mcelog import kept_share
from hwsim.record import FaultRow
from hwsim.rng import Draws, Slot, binomial, poisson

if TYPE_CHECKING:
    from hwsim.bad_lines.bad_line import BadLine
    from hwsim.kernel.failure import MemoryFailure
    from hwsim.machine import Machine
    from hwsim.spec import DramSpec, ErrorSpec

_NORMAL = NormalDist()
_NAME = -9_000_000  # names of draws that belong to faults: below zero, apart from all others
_SAMPLE = 64  # lines of a wide fault that are asked how often they are read

Line = tuple[int, int]  # page frame number, and the line in the page


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
    """One fault.  Life: onset -> its lines go bad, once or window by window -> it fades, is repaired, stays.

    Corrected errors come from reads: ``reads_per_s`` of all its lines together, by tasks, kernel and
    scrubber, of which the share ``shows`` meets wrong bits.  A transient is written back by the first read
    that corrects it: it fades at ``fades_ns``, as ``fades_as``; of a wide one the share ``read_first`` of the
    lines is read before it is overwritten.
    """

    __slots__ = (
        "corrected", "dram", "dropped", "end", "end_ns", "errors", "fades_as", "fades_ns", "fault", "lines",
        "met", "number", "onset_ns", "read_first", "reads_per_s", "records", "shows", "source", "u",
    )  # fmt: skip

    def __init__(self, number: int, source: int, onset_ns: int, fault: DramFault, dram: DramSpec) -> None:
        self.number, self.source, self.onset_ns, self.fault, self.dram = number, source, onset_ns, fault, dram
        self.errors = self.met = self.corrected = self.records = self.dropped = 0
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
    def shown_per_s(self) -> float:
        """Corrected errors in a second while it shows."""
        return self.reads_per_s * self.shows

    @property
    def active_share(self) -> float:
        """The share of time in which it shows."""
        dram = self.dram
        return dram.on_ns / (dram.on_ns + dram.off_ns) if self.fault.permanence == "intermittent" else 1.0

    def corrected_until(self, end_ns: int) -> int:
        """Corrected errors from the onset on, if it ends then: one draw, never an event each."""
        seconds = (end_ns - self.onset_ns) / 1e9
        if self.fault.outcome != "CE":
            return 0
        if self.fault.permanence != "transient":
            return poisson(self.u, self.shown_per_s * self.active_share * seconds)
        if self.lines == 1:
            return int(self.end in ("scrubbed", "corrected"))
        each_per_s = self.reads_per_s / self.lines / max(self.read_first, 1e-12)
        met = 1.0 if self.end == "scrubbed" else -expm1(-each_per_s * seconds)
        return binomial(self.u, self.lines, self.read_first * met)


class DramFaults:
    """All faults of a machine, in order of onset."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.faults: list[FaultStory] = []

    def onset(self, source: int, dram: DramSpec) -> None:
        """A fault comes: alone or with an earlier one it may be more than the ECC corrects."""
        machine, now, dimms = self._machine, self._machine.engine.now_ns, dimms_of(dram)
        number = len(self.faults)
        chance = machine.draws.generator(_NAME - number, Slot.FAULT)
        fault = dimms.draw(chance)
        story = FaultStory(number, source, now, fault, dram)
        story.shows = min(1.0, dram.show * exp(dram.show_sigma * float(chance.standard_normal())))
        story.u = machine.draws.extra(_NAME - number, Slot.CORRECTED)
        earlier = [each for each in self.faults if each.source == source and self._is_there(each)]
        self.faults.append(story)
        if fault.outcome == "CE":
            self._meet_reads(story, chance)
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

    # -- corrected errors -----------------------------------------------------------------------------

    def _meet_reads(self, story: FaultStory, chance: np.random.Generator) -> None:
        """How often its lines are read, from a sample; when a transient is gone, and a row spared."""
        machine, now, fault = self._machine, self._machine.engine.now_ns, story.fault
        rates_of = machine.plan.line_reads.of
        lines = dimms_of(story.dram).lines(fault.where, _SAMPLE, chance).tolist()
        rates = [rates_of(address >> PAGE_SHIFT) for address in lines]
        reads = sum(each.reads for each in rates) / len(rates)
        overwrites = sum(each.overwrites for each in rates) / len(rates)
        period = machine.spec.machine.scrub.period_ns
        sweeps = 1e9 / period if period else 0.0
        story.reads_per_s = story.lines * (reads + sweeps)
        if fault.permanence != "transient":
            self._schedule_spare(story, chance)
            return
        if story.lines > 1:
            story.read_first = (reads + sweeps) / max(reads + sweeps + overwrites, 1e-300)
            if period:
                story.fades_ns, story.fades_as = now + period, "scrubbed"
            return
        ends = [
            (now + int(chance.exponential(1e9 / rate)) + 1, how)
            for rate, how in ((reads, "corrected"), (overwrites, "overwritten"))
            if rate > 0.0
        ]
        pfn, line = lines[0] >> PAGE_SHIFT, lines[0] >> LINE_SHIFT & 63
        fitted = machine.spec.machine.memory_pages + machine.spec.machine.hidden_pages
        visit = machine.scrubber.next_visit_ns(pfn, line, now) if pfn < fitted else None
        if visit is not None:
            ends.append((visit, "scrubbed"))
        if ends:
            story.fades_ns, story.fades_as = min(ends)

    def _is_there(self, story: FaultStory) -> bool:
        self._let_fade(story, self._machine.engine.now_ns)
        return not story.gone

    def _let_fade(self, story: FaultStory, now_ns: int) -> None:
        """A transient is gone once it was corrected, swept over or overwritten."""
        if story.fades_ns is not None and story.fades_ns <= now_ns:
            self._finish(story, story.fades_as, story.fades_ns)

    def _schedule_spare(self, story: FaultStory, chance: np.random.Generator) -> None:
        """A spare row takes over at so many corrected errors; when is known as soon as the rate is."""
        threshold, rate = story.dram.row_sparing, story.shown_per_s * story.active_share
        if threshold is None or rate <= 0.0 or not is_within_a_row(story.fault):
            return
        machine = self._machine
        at = story.onset_ns + int(min(chance.standard_gamma(threshold) / rate * 1e9, 1e18))
        if at < machine.horizon_ns:
            machine.engine.at(
                at, FAULT_ONSET | story.source, lambda _event: self._finish(story, "spared", at)
            )

    def _finish(self, story: FaultStory, end: str, now_ns: int) -> None:
        if story.gone:
            return
        story.end, story.end_ns = end, now_ns
        story.corrected = story.corrected_until(now_ns)
        if end == "spared":
            story.corrected = story.dram.row_sparing or 0
        self._report(story)

    def _report(self, story: FaultStory) -> None:
        """How many of its corrected errors the kernel read out, and how many records its log had no room for.

        Each error is taken to be seen with the share that the kernel sees in the long run, apart from the
        others; each fault to have a bank to itself.
        """
        extra, name = self._machine.draws.extra, _NAME - story.number
        story.records = story.corrected
        if story.fault.permanence != "transient" and story.corrected:
            seen = self._seen(story.shown_per_s)
            share = seen.records_per_s / story.shown_per_s
            story.records = binomial(extra(name, Slot.RECORDS), story.corrected, share)
            kept = kept_share(seen.records_per_s, self._machine.spec.machine.corrected.mcelog_ns * 1e-9)
            story.dropped = story.records - binomial(extra(name, Slot.DROPPED), story.records, kept)

    def _seen(self, rate_per_s: float) -> Seen:
        how = self._machine.spec.machine.corrected
        return polled(rate_per_s) if how.signals == "poll" else interrupted(rate_per_s, how.storms)

    def bank_is_taken(self, report: MemoryFailure) -> bool:
        """Whether a corrected error waits in the bank, so that a find overflows it (SDM 3B, table 15-7)."""
        rate = sum(
            each.shown_per_s * each.active_share
            for each in self.faults
            if not each.gone and each.fault.outcome == "CE" and each.fault.permanence != "transient"
        )
        return rate > 0.0 and report.extra(Slot.BANK_TAKEN, report.attempt) < self._seen(rate).taken

    # -- lines that go bad ----------------------------------------------------------------------------

    def _ruin(self, owners: list[FaultStory], lines: list[Line]) -> None:
        """The lines go bad now; of an intermittent fault, until its window ends."""
        machine, first = self._machine, owners[0]
        if any(each.gone for each in owners):
            return
        permanence = {each.fault.permanence for each in owners}
        made = []
        for pfn, line in lines:
            story = machine.bad_lines.add(first.source, pfn, line, permanence == {"permanent"})
            story.faults = tuple(owners)
            made.append(story)
        for each in owners:
            each.errors += len(lines)
        if "intermittent" in permanence and "transient" not in permanence and lines:
            self._later(first, first.dram.on_ns, Slot.WINDOW_ON, lambda: self._window_ends(owners, made))

    def _window_ends(self, owners: list[FaultStory], made: list[BadLine]) -> None:
        """What nobody has found reads right again, until the next window; what is isolated stays."""
        by_pfn, first = self._machine.bad_lines.by_pfn, owners[0]
        pages = [by_pfn[story.pfn] for story in made if story.pfn in by_pfn]
        for page in {page.error: page for page in pages}.values():
            page.lines_good_again(made)
        back = [
            (story.pfn, story.number_in_page) for story in made if story.finished and story.end != "replaced"
        ]
        if back:
            self._later(first, first.dram.off_ns, Slot.WINDOW_OFF, lambda: self._ruin(owners, back))

    def _later(self, story: FaultStory, mean_ns: int, slot: Slot, then: Callable[[], None]) -> None:
        machine = self._machine
        u = machine.draws.extra(_NAME - story.number, slot, story.errors)
        at = machine.engine.now_ns + max(1, int(-mean_ns * log1p(-u)))
        if at < machine.horizon_ns:
            machine.engine.at(at, FAULT_ONSET | story.source, lambda _event: then())

    # -- repair ---------------------------------------------------------------------------------------

    def rebooted(self) -> None:
        """Before a new kernel comes up memory is initialised, DIMMs may be replaced and rows repaired.

        ``on_panic.repair`` is the chance that the DIMM of a panic is; every fault of it goes with it.
        """
        machine, now = self._machine, self._machine.engine.now_ns
        for error in machine.bad_lines.open.values():
            if error.faults and error.end == "panic" and not error.finished:
                u = machine.draws.extra(error.error, Slot.REPAIR, error.races)
                if u < machine.spec.machine.repair_share:
                    for each in error.faults:
                        self._replace_dimm(each, now)
        for story in self.faults:
            self._let_fade(story, now)
            if story.fault.permanence == "transient":
                self._finish(story, "rebooted", now)
            elif story.dram.ppr and story.fault.outcome != "none" and is_within_a_row(story.fault):
                self._finish(story, "ppr", now)

    def _replace_dimm(self, story: FaultStory, now_ns: int) -> None:
        """The DIMM and all its faults go; what is no DIMM's, a channel, is mended for itself."""
        dimms = dimms_of(story.dram)
        number = dimms.number(story.fault)
        for each in self.faults:
            of_it = number is not None and each.source == story.source and dimms.number(each.fault) == number
            if each is story or of_it:
                self._finish(each, "replaced", now_ns)

    def rows(self, replication: int, end_ns: int) -> list[FaultRow]:
        """The records, once the run is over."""
        for story in self.faults:
            self._let_fade(story, end_ns)
            self._finish(story, "horizon", end_ns)
        return [_row(story, replication) for story in self.faults]


def _row(story: FaultStory, replication: int) -> FaultRow:
    fault, dimms = story.fault, dimms_of(story.dram)
    where = fault.where
    return FaultRow(
        replication,
        story.number,
        story.source,
        story.onset_ns,
        fault.mode,
        fault.permanence,
        dimms.number(fault),
        where.rank,
        fault.chip,
        dimms.bank(where),
        where.row,
        where.column,
        story.lines,
        fault.outcome,
        story.met,
        story.errors,
        story.corrected,
        story.records,
        story.dropped,
        story.end,
        story.end_ns,
    )
