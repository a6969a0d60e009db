"""Faults of a machine's DIMMs: where they lie, what the ECC makes of them, how they meet and are repaired."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwsim.hardware.address_map import CoordinateRange
from hwsim.hardware.dram_fault import Dimms, DramFault
from hwsim.hardware.fit_tables import FIXED
from hwsim.machine import run_replication
from hwsim.record import Replication
from hwsim.spec import DramSpec, ErrorSpec, MachineSpec, RegionSpec, ScrubSpec, Spec, TaskSpec, Touch
from hwsim.uneventful import uneventful
from tests.worlds import NO_TIME

HOUR, DAY = 3_600_000_000_000, 86_400_000_000_000
# Four banks of 64 rows of 16 lines: 256 KiB a rank, two ranks, two channels.
SMALL = (("banks", 4), ("channels", 2), ("columns", 128), ("ranks", 2), ("rows", 64))
PAGES = 256
BASE = DramSpec("ddr2-faultsim", own=SMALL, frailty=0.0)


def dimms(mode: str, ecc: str = "secded", ue_share: float = 0.0, **more: bool) -> Dimms:
    return Dimms(replace(BASE, rates=((mode, 1.0, 1.0, ue_share),), ecc=ecc, **more))


def drawn(made: Dimms, number: int = 40) -> list[DramFault]:
    return [made.draw(np.random.default_rng(seed)) for seed in range(number)]


@pytest.mark.parametrize("mode", FIXED)
def test_a_fault_fixes_what_its_mode_fixes(mode: str) -> None:
    for fault in drawn(dimms(mode)):
        fixed = set(fault.where.fixed())
        if mode == "channel":
            assert fixed == {"socket", "channel"}
            assert fault.chip is None
        else:
            place = {"socket", "channel", "subchannel", "dimm"}
            wanted = place | (set(FIXED[mode]) - {"bit"})
            assert fixed == wanted | ({"bank_group"} if "bank" in wanted else set())
        assert (fault.bit is not None) == (mode == "bit")


LINES = {
    "bit": 1, "word": 1, "column": 64, "row": 16,
    "bank": 1024, "multi_bank": 4096, "multi_rank": 8192, "channel": 8192,
}  # fmt: skip


@pytest.mark.parametrize("mode", FIXED)
def test_its_lines_are_those_of_the_address_map(mode: str) -> None:
    made = dimms(mode)
    for fault in drawn(made, 5):
        assert made.map.line_count(fault.where) == LINES[mode]
        every = made.lines(fault.where, 10_000, np.random.default_rng(1))
        some = made.lines(fault.where, 8, np.random.default_rng(1))
        assert every.size == LINES[mode]
        assert bool(made.map.contains(fault.where, every).all())
        assert 0 < some.size <= 8
        assert set(some.tolist()) <= set(every.tolist())


@pytest.mark.parametrize(
    ("ecc", "more", "outcomes"),
    [
        ("none", {}, {"bit": "silent", "channel": "silent", "*": "silent"}),
        ("secded", {}, {"bit": "CE", "channel": "UE", "*": "UE"}),
        ("chipkill", {}, {"bit": "CE", "channel": "UE", "*": "CE"}),
        ("sddc", {"ue_share": 0.0}, {"bit": "CE", "channel": "UE", "*": "CE"}),
        ("sddc", {"ue_share": 1.0}, {"bit": "UE", "channel": "UE", "*": "UE"}),
        ("secded", {"on_die": True}, {"bit": "none", "channel": "UE", "*": "UE"}),
        ("chipkill", {"on_die": True}, {"bit": "none", "channel": "UE", "*": "CE"}),
        ("secded", {"mirror": True}, {"bit": "CE", "channel": "CE", "*": "CE"}),
        ("none", {"mirror": True}, {"bit": "silent", "channel": "silent", "*": "silent"}),
    ],
)
@pytest.mark.parametrize("mode", FIXED)
def test_what_each_ecc_makes_of_one_fault(
    mode: str, ecc: str, more: dict[str, float], outcomes: dict[str, str]
) -> None:
    made = dimms(mode, ecc, **more)
    assert {fault.outcome for fault in drawn(made, 20)} == {outcomes.get(mode, outcomes["*"])}


def at(mode: str, chip: int, bit: int | None = None, **fixed: int) -> DramFault:
    where = CoordinateRange(socket=0, channel=0, subchannel=0, dimm=0, **fixed)
    return DramFault(mode, "permanent", where, chip, bit, "CE")


ROW = {"rank": 0, "bank_group": 0, "bank": 1, "row": 7}
COLUMN = {"rank": 0, "bank_group": 0, "bank": 1, "column": 8}
CELL = {**ROW, "column": 8}


@pytest.mark.parametrize(
    ("one", "other", "secded", "chipkill"),
    [
        (at("row", 1, **ROW), at("column", 2, **COLUMN), True, True),
        (at("row", 1, **ROW), at("column", 1, **COLUMN), False, False),  # one chip
        (at("row", 1, **ROW), at("column", 2, **{**COLUMN, "bank": 2}), False, False),
        (at("row", 1, **ROW), at("row", 2, **{**ROW, "row": 8}), False, False),
        (at("bank", 1, rank=0, bank_group=0, bank=1), at("multi_rank", 2), True, True),
        (at("bit", 1, 0, **CELL), at("bit", 1, 1, **CELL), True, False),  # two bits of a word, one chip
        (at("bit", 1, 0, **CELL), at("bit", 1, 0, **CELL), False, False),  # the same bit
        (at("bit", 1, 0, **CELL), at("bit", 2, 0, **CELL), True, True),
        (at("bit", 1, 0, **CELL), at("bit", 2, 0, **{**CELL, "rank": 1}), False, False),
    ],
)
def test_two_faults_on_hand_made_addresses(
    one: DramFault, other: DramFault, secded: bool, chipkill: bool
) -> None:
    for ecc, expected in (("secded", secded), ("chipkill", chipkill), ("sddc", chipkill), ("none", False)):
        made = dimms("bit", ecc)
        assert (made.meet(one, other) is not None) is expected
        assert (made.meet(other, one) is not None) is expected
        assert dimms("bit", ecc, mirror=True).meet(one, other) is None
    both = {"bit"} & {one.mode, other.mode}
    assert (dimms("bit", "chipkill", on_die=True).meet(one, other) is not None) is (chipkill and not both)


def test_where_two_faults_meet_both_hold() -> None:
    where = dimms("bit", "chipkill").meet(at("row", 1, **ROW), at("column", 2, **COLUMN))
    assert where is not None
    assert where.fixed() == {"socket": 0, "channel": 0, "subchannel": 0, "dimm": 0, **CELL}


def world(dram: DramSpec, per_s: float = 3e-3, horizon_ns: int = DAY, load: float = 0.0, **more: Any) -> Spec:
    options: dict[str, Any] = {"times": NO_TIME, "scrub": ScrubSpec(HOUR), **more}
    heap = RegionSpec("heap", "anon", 128, (Touch(1.0, load_per_s=load),))
    return Spec(
        "dram", horizon_ns, 11, 1, MachineSpec(PAGES, **options), (ErrorSpec(per_s, dram=dram),),
        tasks=(TaskSpec("app", 2, regions=(heap,), restart_ns=1_000_000_000),),
    )  # fmt: skip


def of(mode: str, *, transient: float = 0.0, permanent: float = 1.0, **more: Any) -> DramSpec:
    return replace(BASE, rates=((mode, transient, permanent, None),), **more)


def play(spec: Spec, index: int = 0) -> Replication:
    return run_replication(spec, index)


def test_an_uncorrectable_row_ruins_its_lines_and_they_are_found() -> None:
    result = play(world(of("row"), per_s=2e-5, horizon_ns=2 * DAY))
    assert result.row.dram_faults == len(result.faults) > 0
    fault = result.faults[0]
    assert (fault.mode, fault.outcome, fault.lines, fault.corrected) == ("row", "UE", 16, 0)
    mine = [row for row in result.errors if row.onset_ns == fault.onset_ns]
    made = Dimms(of("row"))
    where = CoordinateRange(
        socket=0, channel=fault.dimm, subchannel=0, dimm=0, rank=fault.rank, bank_group=0, bank=fault.bank,
        row=fault.row,
    )  # fmt: skip
    wanted = made.lines(where, 100, np.random.default_rng(0)).tolist()
    assert sorted(row.pfn * 4096 + row.line * 64 for row in mine) == wanted
    assert fault.errors == 16
    assert "scrub" in {row.found for row in mine}


def test_corrected_faults_make_no_errors_but_are_counted_without_events() -> None:
    dram = of("row", ecc="chipkill", ce_per_s=1000.0, ce_sigma=0.0)
    result = play(world(dram, per_s=1e-5, horizon_ns=3 * DAY))
    assert result.errors == []
    assert result.row.events < 100
    for fault in result.faults:
        expected = 1000.0 * (fault.end_ns - fault.onset_ns) / 1e9
        assert abs(fault.corrected - expected) < 6 * expected**0.5
    assert result.row.corrected == sum(fault.corrected for fault in result.faults) > 10**6


def test_a_corrected_transient_is_gone_with_the_next_sweep() -> None:
    result = play(world(of("bit", transient=1.0, permanent=0.0), per_s=1e-4))
    ended = [fault for fault in result.faults if fault.end == "scrubbed"]
    assert len(ended) >= len(result.faults) - 1
    for fault in ended:
        assert fault.end_ns == (fault.onset_ns // HOUR + 1) * HOUR
        assert fault.corrected == 1
    left = play(world(of("bit", transient=1.0, permanent=0.0), per_s=1e-4, scrub=ScrubSpec(None)))
    assert {fault.end for fault in left.faults} == {"horizon"}


def test_two_chips_that_meet_are_an_error_though_each_is_corrected() -> None:
    dram = of("multi_rank", ecc="chipkill", max_lines=3)
    result = play(world(dram, per_s=1e-4))
    assert {fault.outcome for fault in result.faults} == {"CE"}
    assert [fault.met > 0 for fault in result.faults].count(True) > 0
    first = next(fault for fault in result.faults if fault.met)
    others = [
        each for each in result.faults[: first.fault] if each.dimm == first.dimm and each.chip != first.chip
    ]
    assert first.met == len(others)
    assert {row.onset_ns for row in result.errors} == {row.onset_ns for row in result.faults if row.met}


def panicking(**more: Any) -> Spec:
    return world(of("row"), per_s=1e-4, horizon_ns=DAY, load=1.0, reboot_ns=60_000_000_000, **more)


def test_a_dimm_that_brings_the_machine_down_is_replaced_with_all_its_faults() -> None:
    result = play(replace(panicking(repair_share=1.0), errors=(ErrorSpec(1e-4, dram=of("column")),)))
    assert result.row.panics > 0
    panicked = {row.onset_ns for row in result.errors if row.panic_ns is not None}
    guilty = [fault for fault in result.faults if fault.onset_ns in panicked]
    assert guilty
    assert {fault.end for fault in guilty} == {"replaced"}
    ends = Counter(row.end for row in result.errors if row.onset_ns in panicked)
    assert set(ends) <= {"panic", "replaced", "duplicate", "isolated", "reachable"}
    assert ends["replaced"] > 0


def test_a_reboot_forgets_what_the_kernel_knew_not_the_fault() -> None:
    kept, replaced = play(panicking(repair_share=0.0)), play(panicking(repair_share=1.0))
    assert kept.row.panics > 3 * replaced.row.panics
    assert {fault.end for fault in kept.faults} == {"horizon"}


def test_post_package_repair_takes_rows_at_a_boot_and_leaves_banks() -> None:
    rows = play(replace(panicking(repair_share=0.0), errors=(ErrorSpec(1e-4, dram=of("row", ppr=True)),)))
    assert "ppr" in {fault.end for fault in rows.faults}
    banks = play(replace(panicking(repair_share=0.0), errors=(ErrorSpec(1e-5, dram=of("bank", ppr=True)),)))
    assert banks.row.panics > 0
    assert {fault.end for fault in banks.faults} == {"horizon"}


def test_a_spare_row_takes_over_after_so_many_corrected_errors() -> None:
    dram = of("row", ecc="chipkill", ce_per_s=1.0, ce_sigma=0.0, row_sparing=600)
    result = play(world(dram, per_s=1e-4))
    early = [fault for fault in result.faults if fault.onset_ns < DAY - 600_000_000_000]
    assert {fault.end for fault in early} == {"spared"}
    assert {fault.end_ns - fault.onset_ns for fault in early} == {600_000_000_000}


def test_an_intermittent_fault_comes_back_after_a_heal() -> None:
    dram = of("word", intermittent=1.0, on_ns=HOUR // 60, off_ns=HOUR // 2)
    result = play(world(dram, per_s=1.2e-5))
    assert {fault.permanence for fault in result.faults} == {"intermittent"}
    assert max(fault.errors for fault in result.faults) > 3
    assert all(not row.permanent for row in result.errors)
    steady = play(world(of("word"), per_s=1.2e-5))
    assert {fault.errors for fault in steady.faults} == {1}


def test_faults_are_the_same_whatever_the_policy() -> None:
    spec = panicking(repair_share=0.0)
    late = replace(spec, machine=replace(spec.machine, early_kill=0))
    early = replace(spec, machine=replace(spec.machine, early_kill=1))
    for index in range(5):
        assert [row[1:15] for row in play(late, index).faults] == [
            row[1:15] for row in play(early, index).faults
        ]


def test_a_machine_without_a_fault_is_not_built_and_would_be_the_same() -> None:
    spec = world(replace(of("row"), frailty=2.0), per_s=1e-6)
    quiet = [index for index in range(60) if uneventful(spec, index) is not None]
    assert 20 < len(quiet) < 60
    assert all(play(spec, index).faults == [] for index in quiet)
    assert all(play(spec, index).faults != [] for index in set(range(60)) - set(quiet))


def test_a_fifth_of_the_faulty_machines_makes_over_nine_tenths_of_the_errors() -> None:
    """The default spread (Schroeder et al., SIGMETRICS'09: the top 20 % of DIMMs make over 90 %)."""
    dram = replace(BASE, rates=(("bit", 0.0, 1.0, None),), frailty=1.0)
    spec = world(dram, per_s=0.2 / (30 * 86400), horizon_ns=30 * DAY)
    counts = sorted((play(spec, index).row.corrected for index in range(4000)), reverse=True)
    faulty = [count for count in counts if count > 0]
    assert len(faulty) > 300
    assert sum(faulty[: len(faulty) // 5]) > 0.9 * sum(faulty)
    assert sum(faulty) / len(faulty) > 10 * faulty[len(faulty) // 2]  # mean over median: tens
