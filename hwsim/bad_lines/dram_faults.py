"""The DRAM faults of one machine: onset, the errors they make, corrected errors by arithmetic, repair."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.bad_lines.bad_lines import BadLines
from hwsim.bad_lines.fault_course import FaultCourse
from hwsim.bad_lines.line_set import LineSet
from hwsim.bad_lines.rows import has_row
from hwsim.bad_lines.ruined import Ruined, SingleLines
from hwsim.elementary import added, exp, log1p, normal_quantile
from hwsim.elementary_each import exp_of_each, normal_quantile_of_each
from hwsim.engine import FAULT_ONSET
from hwsim.hardware.dram.address_map import CoordinateRange
from hwsim.hardware.dram.dram_fault import dimms_of, is_within_a_row
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.mce.cmci import interrupted
from hwsim.kernel.mce.mcelog import kept_share
from hwsim.kernel.mce.poll import Seen, polled
from hwsim.many_draws import Floats, ManyDraws
from hwsim.memory.cells import Cells
from hwsim.memory.layout import MemoryLayout
from hwsim.record import Ecc, End, FaultEnd, FaultRow, Permanence
from hwsim.rng import Draws, Slot, binomial
from hwsim.spec import FEW_LINES, DramSpec, ErrorSpec
from hwsim.units import LINE_SHIFT, LINES_PER_PAGE, PAGE_SHIFT

_NAME = -9_000_000  # names of draws that belong to faults: below zero, apart from all others
_SAMPLE = 64  # lines of a wide fault that are asked how often they are read


def frailty(draws: Draws, source: int, dram: DramSpec) -> float:
    """This machine's factor on the rate of its faults: lognormal with mean 1."""
    if dram.frailty <= 0.0:
        return 1.0
    z = normal_quantile(draws.extra(_NAME - source, Slot.FRAILTY))
    return exp(dram.frailty * z - dram.frailty * dram.frailty / 2.0)


def rate_per_s(draws: Draws, source: int, error: ErrorSpec) -> float:
    """Arrivals of an error source in a second, on this machine."""
    return error.rate_per_s if error.dram is None else error.rate_per_s * frailty(draws, source, error.dram)


def rates_per_s(draws: ManyDraws, source: int, error: ErrorSpec) -> float | Floats:
    """:func:`rate_per_s` on each of many machines, or the one rate that all of them have."""
    dram = error.dram
    if dram is None or dram.frailty <= 0.0:
        return error.rate_per_s
    z = normal_quantile_of_each(draws.extra(_NAME - source, Slot.FRAILTY))
    return error.rate_per_s * exp_of_each(dram.frailty * z - dram.frailty * dram.frailty / 2.0)


class DramFaults:
    """All faults of a machine, in order of onset."""

    __slots__ = ("_around", "_bad_lines", "_cells", "_layout", "faults")

    def __init__(self, bad_lines: BadLines, layout: MemoryLayout, cells: Callable[[], Cells]) -> None:
        self._around = bad_lines.around
        self._bad_lines = bad_lines
        self._layout = layout
        self._cells = cells  # found when a set of lines first asks for them
        self.faults: list[FaultCourse] = []

    def onset(self, source: int, dram: DramSpec) -> None:
        """A fault comes: alone or with an earlier one it may be more than the ECC corrects."""
        around, now, dimms = self._around, self._around.engine.now_ns, dimms_of(dram)
        number = len(self.faults)
        chance = around.draws.generator(_NAME - number, Slot.FAULT)
        fault = dimms.draw(chance)
        course = FaultCourse(number, source, now, fault, dram)
        course.shows = min(1.0, dram.show * exp(dram.show_sigma * float(chance.standard_normal())))
        course.u = around.draws.extra(_NAME - number, Slot.CORRECTED)
        earlier = [each for each in self.faults if each.source == source and self._is_there(each)]
        self.faults.append(course)
        if fault.outcome == Ecc.CE:
            self._meet_reads(course, chance)
        if fault.outcome == Ecc.UE:
            self._ruin([course], self._lines([course], fault.where, chance))
        for other in earlier:
            where = dimms.meet(fault, other.fault)
            if where is not None:
                course.met += 1
                self._ruin([course, other], self._lines([course, other], where, chance))

    def _lines(
        self, owners: list[FaultCourse], where: CoordinateRange, chance: np.random.Generator
    ) -> Ruined:
        """The lines of a range that the machine has; many are a set, which is raced as one."""
        course, limit = owners[0], owners[0].dram.max_lines
        dimms, spec = dimms_of(course.dram), self._around.spec
        count = dimms.map.line_count(where)
        many = min(count, limit or count) > FEW_LINES and not self._layout.spec.script
        cells = self._cells() if many else None
        pfns, lines = dimms.pages(where, limit, chance)
        fitted = int(np.searchsorted(pfns, spec.memory_pages + spec.hidden_pages))
        pfns, lines = pfns[:fitted], lines[:fitted]
        if cells is not None and np.bitwise_count(lines).sum() > FEW_LINES:
            course.sets += 1
            own = self._around.draws.generator(_NAME - course.number, Slot.FAULT, course.sets)
            return LineSet(self._bad_lines, cells, owners, (pfns, lines), own)
        single = [
            (pfn, line)
            for pfn, bits in zip(pfns.tolist(), lines.tolist(), strict=True)
            for line in range(LINES_PER_PAGE)
            if bits >> line & 1
        ]
        return SingleLines(self._bad_lines, owners, single)

    # -- corrected errors -----------------------------------------------------------------------------

    def _meet_reads(self, course: FaultCourse, chance: np.random.Generator) -> None:
        """How often its lines are read, from a sample; when a transient is gone, and a row spared."""
        around, now, fault = self._around, self._around.engine.now_ns, course.fault
        lines = dimms_of(course.dram).lines(fault.where, _SAMPLE, chance).tolist()
        rates_of = self._layout.line_reads.of
        rates = [rates_of(address >> PAGE_SHIFT) for address in lines]
        reads = added(each.reads for each in rates) / len(rates)
        overwrites = added(each.overwrites for each in rates) / len(rates)
        period = around.spec.scrub.period_ns
        sweeps = 1e9 / period if period else 0.0
        course.reads_per_s = course.lines * (reads + sweeps)
        if fault.permanence != Permanence.TRANSIENT:
            self._schedule_spare(course, chance)
            return
        if course.lines > 1:
            course.read_first = (reads + sweeps) / max(reads + sweeps + overwrites, 1e-300)
            if period:
                course.fades_ns, course.fades_as = now + period, FaultEnd.SCRUBBED
            return
        ends = [
            (now + int(chance.exponential(1e9 / rate)) + 1, how)
            for rate, how in ((reads, FaultEnd.CORRECTED), (overwrites, FaultEnd.OVERWRITTEN))
            if rate > 0.0
        ]
        pfn, line = lines[0] >> PAGE_SHIFT, lines[0] >> LINE_SHIFT & LINES_PER_PAGE - 1
        fitted = around.spec.memory_pages + around.spec.hidden_pages
        visit = around.scrubber.next_visit_ns(pfn, line, now) if pfn < fitted else None
        if visit is not None:
            ends.append((visit, FaultEnd.SCRUBBED))
        if ends:
            course.fades_ns, course.fades_as = min(ends)

    def _is_there(self, course: FaultCourse) -> bool:
        self._let_fade(course, self._around.engine.now_ns)
        return not course.gone

    def _let_fade(self, course: FaultCourse, now_ns: int) -> None:
        """A transient is gone once it was corrected, swept over or overwritten."""
        if course.fades_ns is not None and course.fades_ns <= now_ns:
            self._finish(course, course.fades_as, course.fades_ns)

    def _schedule_spare(self, course: FaultCourse, chance: np.random.Generator) -> None:
        """A spare row takes over at so many corrected errors; when is known as soon as the rate is."""
        threshold, rate = course.dram.row_sparing, course.shown_per_s * course.active_share
        if threshold is None or rate <= 0.0 or not is_within_a_row(course.fault):
            return
        around = self._around
        at = course.onset_ns + int(min(chance.standard_gamma(threshold) / rate * 1e9, 1e18))
        if at < around.horizon_ns:
            around.engine.at(
                at, FAULT_ONSET | course.source, lambda _event: self._finish(course, FaultEnd.SPARED, at)
            )

    def _finish(self, course: FaultCourse, end: str, now_ns: int) -> None:
        if course.gone:
            return
        course.end, course.end_ns = end, now_ns
        course.corrected = course.corrected_until(now_ns)
        if end == FaultEnd.SPARED:
            course.corrected = course.dram.row_sparing or 0
        self._report(course)

    def _report(self, course: FaultCourse) -> None:
        """How many of its corrected errors the kernel read out, and how many records its log had no room for.

        Each error is taken to be seen with the share that the kernel sees in the long run, apart from the
        others; each fault to have a bank to itself.
        """
        extra, name = self._around.draws.extra, _NAME - course.number
        course.records = course.corrected
        if course.fault.permanence != Permanence.TRANSIENT and course.corrected:
            seen = self._seen(course.shown_per_s)
            share = seen.records_per_s / course.shown_per_s
            course.records = binomial(extra(name, Slot.RECORDS), course.corrected, share)
            kept = kept_share(seen.records_per_s, self._around.spec.corrected.mcelog_ns * 1e-9)
            course.dropped = course.records - binomial(extra(name, Slot.DROPPED), course.records, kept)

    def _seen(self, rate_per_s: float) -> Seen:
        how = self._around.spec.corrected
        return polled(rate_per_s) if how.signals == "poll" else interrupted(rate_per_s, how.storms)

    def bank_is_taken(self, failure: MemoryFailure) -> bool:
        """Whether a corrected error waits in the bank, so that a find overflows it (SDM 3B, table 15-7)."""
        rate = added(
            each.shown_per_s * each.active_share
            for each in self.faults
            if not each.gone
            and each.fault.outcome == Ecc.CE
            and each.fault.permanence != Permanence.TRANSIENT
        )
        return rate > 0.0 and failure.extra(Slot.BANK_TAKEN, failure.attempt) < self._seen(rate).taken

    # -- lines that go bad ----------------------------------------------------------------------------

    def _ruin(self, owners: list[FaultCourse], lines: Ruined) -> None:
        """The lines go bad now; of an intermittent fault, until its window ends."""
        first = owners[0]
        if any(each.gone for each in owners):
            return
        number = lines.go_bad()
        for each in owners:
            each.ruined += number
        permanence = {each.fault.permanence for each in owners}
        if Permanence.INTERMITTENT in permanence and Permanence.TRANSIENT not in permanence and number:
            self._later(first, first.dram.on_ns, Slot.WINDOW_ON, lambda: self._window_ends(owners, lines))

    def _window_ends(self, owners: list[FaultCourse], lines: Ruined) -> None:
        """Until the next one, if any line is left to go bad in it."""
        first = owners[0]
        if lines.good_again():
            self._later(first, first.dram.off_ns, Slot.WINDOW_OFF, lambda: self._ruin(owners, lines))

    def _later(self, course: FaultCourse, mean_ns: int, slot: Slot, then: Callable[[], None]) -> None:
        around = self._around
        u = around.draws.extra(_NAME - course.number, slot, course.ruined)
        at = around.engine.now_ns + max(1, int(-mean_ns * log1p(-u)))
        if at < around.horizon_ns:
            around.engine.at(at, FAULT_ONSET | course.source, lambda _event: then())

    # -- repair ---------------------------------------------------------------------------------------

    def rebooted(self) -> None:
        """Before a new kernel comes up memory is initialised, DIMMs may be replaced and rows repaired.

        ``on_panic.repair`` is the chance that the DIMM of a panic is; every fault of it goes with it.
        """
        around, now = self._around, self._around.engine.now_ns
        for error in self._bad_lines.open.values():
            if error.faults and error.record.end == End.PANIC and not error.finished:
                u = around.draws.extra(error.error, Slot.REPAIR, error.races)
                if u < around.spec.repair_share:
                    for each in error.faults:
                        self._replace_dimm(each, now)
        for course in self.faults:
            self._let_fade(course, now)
            if course.fault.permanence == Permanence.TRANSIENT:
                self._finish(course, FaultEnd.REBOOTED, now)
            elif course.dram.ppr and course.fault.outcome != Ecc.NONE and is_within_a_row(course.fault):
                self._finish(course, FaultEnd.PPR, now)

    def _replace_dimm(self, course: FaultCourse, now_ns: int) -> None:
        """The DIMM and all its faults go; what is no DIMM's, a channel, is mended for itself."""
        dimms = dimms_of(course.dram)
        number = dimms.number(course.fault)
        for each in self.faults:
            of_it = number is not None and each.source == course.source and dimms.number(each.fault) == number
            if each is course or of_it:
                self._finish(each, FaultEnd.REPLACED, now_ns)

    def rows(self, replication: int, end_ns: int) -> list[FaultRow]:
        """The records, once the run is over."""
        for course in self.faults:
            self._let_fade(course, end_ns)
            self._finish(course, FaultEnd.HORIZON, end_ns)
        for line in filter(has_row, self._bad_lines.all.values()):
            for course in line.faults:
                course.errors += 1
        return [_row(course, replication) for course in self.faults]


def _row(course: FaultCourse, replication: int) -> FaultRow:
    fault, dimms = course.fault, dimms_of(course.dram)
    where = fault.where
    return FaultRow(
        replication=replication,
        fault=course.number,
        source=course.source,
        onset_ns=course.onset_ns,
        mode=fault.mode,
        permanence=fault.permanence,
        dimm=dimms.number(fault),
        rank=where.rank,
        chip=fault.chip,
        bank=dimms.bank(where),
        row=where.row,
        column=where.column,
        lines=course.lines,
        outcome=fault.outcome,
        met=course.met,
        ruined=course.ruined,
        errors=course.errors,
        corrected=course.corrected,
        records=course.records,
        dropped=course.dropped,
        end=course.end,
        end_ns=course.end_ns,
    )
