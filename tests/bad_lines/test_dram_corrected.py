"""Corrected errors of a machine: from reads, without events; transients that fade; spare rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from hwsim.engine import Engine
from hwsim.hardware.dram.address_map import CoordinateRange
from hwsim.hardware.dram.dram_fault import Dimms
from hwsim.hardware.patrol_scrubber import PatrolScrubber
from hwsim.memory.layout import MemoryLayout
from hwsim.rng import Draws, Slot
from hwsim.spec import (
    ErrorSpec,
    FileSpec,
    KernelPoolSpec,
    MachineSpec,
    RegionSpec,
    ScrubSpec,
    Spec,
    TaskSpec,
    Touch,
)
from tests.bad_lines.test_dram_faults import BASE, DAY, HOUR, PAGES, of, play, world
from tests.support.worlds import NO_TIME, events_of


def test_corrected_faults_make_no_errors_but_are_counted_without_events() -> None:
    """A row of 16 lines in memory that the kernel reads; every read shows it, and so does every sweep."""
    dram = of("row", ecc="chipkill", show=1.0, show_sigma=0.0)
    slab = KernelPoolSpec("slab", PAGES, load_per_s=64 * 60.0)
    machine = MachineSpec(PAGES, scrub=ScrubSpec(HOUR), times=NO_TIME)
    spec = Spec("rows", 3 * DAY, 11, 1, machine, (ErrorSpec(1e-5, dram=dram),), pools=(slab,))
    result = play(spec)
    assert result.errors == []
    assert events_of(spec) < 100
    for fault in result.faults:
        expected = 16 * (60.0 + 1 / 3600) * (fault.end_ns - fault.onset_ns) / 1e9
        assert abs(fault.corrected - expected) < 6 * expected**0.5
    assert result.row.corrected == sum(fault.corrected for fault in result.faults) > 10**6


def test_without_reads_only_the_sweep_corrects() -> None:
    """A single bit in memory that nobody uses: one corrected error a sweep, or none without a scrubber."""
    for scrub, each_h in ((ScrubSpec(HOUR), 1.0), (ScrubSpec(None), 0.0)):
        result = play(world(of("bit", show=1.0, show_sigma=0.0), per_s=1e-4, horizon_ns=4 * DAY, scrub=scrub))
        expected = sum((fault.end_ns - fault.onset_ns) / HOUR for fault in result.faults) * each_h
        assert abs(result.row.corrected - expected) <= 5 * sqrt(expected)


def test_reads_of_a_line_are_those_of_all_who_map_it() -> None:
    shm = RegionSpec("shm", "shm", 8, (Touch(0.5, 2.0, 4.0), Touch(0.5)), shared=True, full_line=0.5)
    own = RegionSpec("own", "anon", 8, (Touch(1.0, 1.0),), lines_per_touch=32.0)
    view = RegionSpec("view", "file", 4, (Touch(1.0, 64.0),), file="data", shared=True)
    file = FileSpec("data", 8, touch=(Touch(1.0, 3.0, 1.0),))
    tasks = (TaskSpec("app", 3, regions=(shm, own, view)),)
    spec = Spec("reads", DAY, 1, 1, MachineSpec(64), tasks=tasks, files=(file,))
    plan = MemoryLayout(spec)
    reads = plan.line_reads
    first = {layout.name: layout.first_pfn for layout in plan.layouts}
    rates = {
        name: tuple(round(rate, 9) for rate in reads.of(first[region] + index))
        for name, region, index in (
            ("hot", "app/shm", 0), ("cold", "app/shm", 7), ("own", "app.1/own", 0),
            ("mapped", "file:data", 0), ("unmapped", "file:data", 7), ("free", "free", 0),
        )
    }  # fmt: skip
    assert rates == {
        "hot": (3 * (2 + 4 * 0.5) / 64, 3 * 4 * 0.5 / 64),
        "cold": (0.0, 0.0),
        "own": (0.5, 0.0),
        "mapped": (3 + 0.9 + 3 * 64 / 64, 0.1),
        "unmapped": (3.9, 0.1),
        "free": (0.0, 0.0),
    }
    assert reads.of(10**9) == (0.0, 0.0)


def test_a_corrected_transient_is_gone_when_the_sweep_has_passed_its_line() -> None:
    spec = world(of("bit", transient=1.0, permanent=0.0), per_s=1e-4)
    result = play(spec)
    scrubber = PatrolScrubber(
        Engine(), spec.machine.scrub, PAGES, Draws(spec.seed, 0).extra(-1, Slot.PHASE), print
    )
    ended = [fault for fault in result.faults if fault.end == "scrubbed"]
    assert len(ended) >= len(result.faults) - 1
    made = Dimms(of("bit"))
    for fault in ended:
        column = (fault.column or 0) // 8 * 8
        where = CoordinateRange(
            socket=0, channel=fault.dimm, subchannel=0, dimm=0, rank=fault.rank, bank_group=0,
            bank=fault.bank, row=fault.row, column=column,
        )  # fmt: skip
        address = int(made.lines(where, 1, np.random.default_rng(0))[0])
        visit = scrubber.next_visit_ns(address >> 12, address >> 6 & 63, fault.onset_ns)
        assert (fault.end_ns, fault.corrected) == (visit, 1)
    left = play(world(of("bit", transient=1.0, permanent=0.0), per_s=1e-4, scrub=ScrubSpec(None)))
    assert {fault.end for fault in left.faults} == {"horizon"}
    wide = play(world(of("row", transient=1.0, permanent=0.0, ecc="chipkill"), per_s=1e-4))
    swept = [fault for fault in wide.faults if fault.end == "scrubbed"]
    assert {(fault.end_ns - fault.onset_ns, fault.corrected) for fault in swept} == {(HOUR, 16)}


def test_a_transient_is_written_back_by_the_first_read_or_overwritten() -> None:
    """Reads and stores of whole lines at the same rate, no scrubber: each ends half of them."""
    heap = RegionSpec("heap", "anon", 250, (Touch(1.0, 0.01, 0.01),), lines_per_touch=64.0, full_line=1.0)
    dram = of("bit", transient=1.0, permanent=0.0)
    machine = MachineSpec(PAGES, scrub=ScrubSpec(None), times=NO_TIME)
    app = TaskSpec("app", regions=(heap,))
    spec = Spec("transients", 40 * DAY, 11, 1, machine, (ErrorSpec(1e-4, dram=dram),), tasks=(app,))
    faults = [fault for index in range(3) for fault in play(spec, index).faults]
    ends = Counter(fault.end for fault in faults)
    assert set(ends) <= {"corrected", "overwritten", "horizon"}
    assert abs(ends["corrected"] - ends["overwritten"]) < 4 * sqrt(len(faults))
    waits = [(fault.end_ns - fault.onset_ns) / 1e9 for fault in faults if fault.end != "horizon"]
    assert sum(waits) / len(waits) == pytest.approx(50.0, rel=4 / sqrt(len(waits)))
    assert all(fault.corrected == (fault.end == "corrected") for fault in faults)


def test_a_spare_row_takes_over_after_so_many_corrected_errors() -> None:
    dram = of("row", ecc="chipkill", show=1.0, show_sigma=0.0, row_sparing=600)
    slab = KernelPoolSpec("slab", PAGES, load_per_s=4.0)
    machine = MachineSpec(PAGES, scrub=ScrubSpec(None), times=NO_TIME)
    result = play(Spec("rows", DAY, 11, 1, machine, (ErrorSpec(1e-4, dram=dram),), pools=(slab,)))
    early = [fault for fault in result.faults if fault.onset_ns < DAY - 900_000_000_000]
    assert {(fault.end, fault.corrected) for fault in early} == {("spared", 600)}
    waits = np.array([(fault.end_ns - fault.onset_ns) / 1e9 for fault in early])  # one a second
    assert abs(waits.mean() - 600.0) < 4 * sqrt(600.0 / len(waits))
    assert 0 < waits.std() < 3 * sqrt(600.0)


def test_a_fifth_of_the_faulty_machines_makes_over_nine_tenths_of_the_errors() -> None:
    """The default spread (Schroeder et al., SIGMETRICS'09: the top 20 % of DIMMs make over 90 %)."""
    dram = replace(BASE, rates=(("bit", 0.0, 1.0, None),), frailty=1.0)
    spec = world(dram, per_s=0.2 / (30 * 86400), horizon_ns=30 * DAY, load=64.0)
    counts = sorted((play(spec, index).row.corrected for index in range(4000)), reverse=True)
    faulty = [count for count in counts if count > 0]
    assert len(faulty) > 300
    assert sum(faulty[: len(faulty) // 5]) > 0.9 * sum(faulty)
    assert sum(faulty) / len(faulty) > 10 * faulty[len(faulty) // 2]  # mean over median: tens
