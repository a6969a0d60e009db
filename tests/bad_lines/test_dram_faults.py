"""Faults of a machine's DIMMs: where they lie, what the ECC makes of them, how they meet and are repaired."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from math import sqrt
from typing import Any

import numpy as np
import pytest

from hwsim.bad_lines.fault_course import FaultCourse
from hwsim.hardware.dram.address_map import CoordinateRange
from hwsim.hardware.dram.dram_fault import Dimms, DramFault
from hwsim.hardware.dram.ecc import ON_DIE_SEC, OUTCOMES, SECDED, residual
from hwsim.hardware.dram.ecc_line import line_outcomes
from hwsim.hardware.dram.fit_tables import FIXED
from hwsim.machine import Machine, MemoryLayout, run_replication
from hwsim.machine.quiet import uneventful
from hwsim.record import Replication
from hwsim.spec import (
    DramSpec,
    ErrorSpec,
    MachineSpec,
    RegionSpec,
    ScrubSpec,
    Spec,
    TaskSpec,
    Touch,
)
from tests.support.worlds import NO_TIME

HOUR, DAY = 3_600_000_000_000, 86_400_000_000_000
# Four banks of 64 rows of 16 lines: 256 KiB a rank, two ranks, two channels.
SMALL = (("banks", 4), ("channels", 2), ("columns", 128), ("ranks", 2), ("rows", 64))
PAGES = 256
BASE = DramSpec("ddr2-faultsim", own=SMALL, frailty=0.0)


def dimms(mode: str, ecc: str = "secded", ue_share: float | None = 0.0, **more: bool) -> Dimms:
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


BEAT, WIDE = ("word", "column"), ("row", "bank", "multi_bank", "multi_rank")


@pytest.mark.parametrize(
    ("ecc", "more", "bit", "beat", "wide", "channel"),
    [
        ("none", {}, "silent", "silent", "silent", "silent"),
        ("secded", {}, "CE", "CE UE miscorrected silent", "UE", "UE"),
        ("chipkill", {}, "CE", "CE", "CE", "UE"),
        ("sddc", {"ue_share": 0.0}, "CE", "CE", "CE", "CE"),
        ("sddc", {"ue_share": 1.0}, "UE", "UE", "UE", "UE"),
        ("sddc", {"ue_share": None}, "CE", "CE", "CE", "UE"),
        ("secded", {"on_die": True}, "none", "none CE UE miscorrected silent", "UE", "UE"),
        ("chipkill", {"on_die": True}, "none", "none CE", "CE", "UE"),
        ("secded", {"mirror": True}, "CE", "CE miscorrected silent", "CE", "CE"),
        ("none", {"mirror": True}, "silent", "silent", "silent", "silent"),
    ],
)
@pytest.mark.parametrize("mode", FIXED)
def test_what_each_ecc_makes_of_one_fault(
    mode: str, ecc: str, more: dict[str, Any], bit: str, beat: str, wide: str, channel: str
) -> None:
    made = dimms(mode, ecc, **more)
    allowed = {"bit": bit, "channel": channel, **dict.fromkeys(BEAT, beat), **dict.fromkeys(WIDE, wide)}
    assert {fault.outcome for fault in drawn(made, 30)} <= set(allowed[mode].split())


@pytest.mark.parametrize("mode", BEAT)
@pytest.mark.parametrize("on_die", [False, True])
def test_a_beat_of_a_chip_meets_secded_as_its_patterns_do(mode: str, on_die: bool) -> None:
    """Each pattern of the four pins of each chip, decoded; a pattern of none counts as one wrong bit."""
    wanted: Counter[str] = Counter()
    for chip, pattern, beat in product(range(18), range(16), range(8)):
        for bits in [pattern] if pattern else [1, 2, 4, 8]:
            pins = np.array([bits >> pin & 1 for pin in range(4)], dtype=np.uint8)
            if on_die:
                word = np.zeros(136, dtype=np.uint8)
                word[4 * beat : 4 * beat + 4] = pins
                burst = residual(ON_DIE_SEC, word)[:32].reshape(8, 4)
            else:
                burst = np.zeros((8, 4), dtype=np.uint8)
                burst[beat] = pins
            line = np.zeros((8, 18, 4), dtype=np.uint8)
            line[:, chip] = burst
            found = OUTCOMES[int(line_outcomes(SECDED, line))] if burst.any() else "none"
            wanted[found] += 4 if pattern else 1
    made = dimms(mode, "secded", on_die=on_die)
    chance, number = np.random.default_rng(5), 8_000
    counts = Counter(made.draw(chance).outcome for _ in range(number))
    total = wanted.total()
    for outcome in wanted | counts:
        share = wanted[outcome] / total
        assert abs(counts[outcome] - number * share) < 4.5 * sqrt(number * share * (1 - share)) + 1


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
        (at("word", 1, **CELL), at("row", 2, **ROW), True, True),
        (at("word", 1, **CELL), at("word", 2, **{**CELL, "column": 16}), False, False),
        (at("word", 1, **CELL), at("column", 2, **{**COLUMN, "column": 9}), False, True),
        (at("multi_bank", 1, rank=0), at("bit", 2, 3, **CELL), True, True),
        (at("multi_bank", 1, rank=1), at("bit", 2, 3, **CELL), False, False),
        (at("multi_bank", 1, rank=0), at("multi_bank", 1, rank=0), False, False),
        (at("multi_rank", 3), at("column", 2, **{**COLUMN, "rank": 1}), True, True),
        (at("bit", 1, 0, **CELL), at("bit", 1, 1, **CELL), True, False),  # two bits of a word, one chip
        (at("bit", 1, 0, **CELL), at("bit", 1, 0, **CELL), False, False),  # the same bit
        (at("bit", 1, 0, **CELL), at("bit", 2, 0, **CELL), True, True),
        (at("bit", 1, 0, **CELL), at("bit", 2, 0, **{**CELL, "rank": 1}), False, False),
        (
            at("bit", 1, 0, **CELL),
            at("bit", 2, 0, **{**CELL, "column": 9}),
            False,
            True,
        ),  # two beats, one symbol
        (at("column", 1, **COLUMN), at("column", 2, **{**COLUMN, "column": 9}), False, True),
        (at("column", 1, **COLUMN), at("column", 2, **{**COLUMN, "column": 10}), False, False),
    ],
)
def test_two_faults_on_hand_made_addresses(
    one: DramFault, other: DramFault, secded: bool, chipkill: bool
) -> None:
    for ecc, expected in (("secded", secded), ("chipkill", chipkill), ("sddc", chipkill), ("none", False)):
        made = dimms("bit", ecc)
        assert (made.meet(one, other) is not None) is expected
        assert (made.meet(other, one) is not None) is expected
        assert dimms("bit", ecc, mirror=True).meet(one, other) is None  # each is corrected in its copy
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


def test_a_channel_is_mended_for_itself() -> None:
    """Faults of two channels and a row of the first: the panic of one takes neither the others with it."""
    made = Dimms(of("row"))
    channel = DramFault("channel", "permanent", CoordinateRange(socket=0, channel=0), None, None, "UE")
    assert made.number(channel) is None
    assert [made.number(at("row", 1, **ROW)), made.number(at("bank", 2, rank=0))] == [0, 0]
    dram = replace(BASE, rates=(("channel", 0.0, 1.0, None),), max_lines=4)
    result = play(replace(panicking(repair_share=1.0), errors=(ErrorSpec(2e-5, dram=dram),)), 1)
    assert result.row.panics > 0
    replaced = [fault for fault in result.faults if fault.end == "replaced"]
    assert 0 < len(replaced) <= result.row.panics


def test_a_transient_error_that_brought_the_machine_down_is_gone_after_the_reboot() -> None:
    dram = of("row", transient=1.0, permanent=0.0)
    result = play(replace(panicking(repair_share=0.0), errors=(ErrorSpec(1e-4, dram=dram),)))
    assert 0 < result.row.panics <= len(result.faults)
    assert "rebooted" in {fault.end for fault in result.faults}


@pytest.mark.parametrize("mode", ["bit", "row"])
def test_a_transient_fault_is_gone_after_the_next_sweep_though_nobody_looks(mode: str) -> None:
    """One cell is, and of a whole row what tasks have left of it; most machines here have one fault."""
    spec = world(of(mode, transient=1.0, permanent=0.0, ecc="chipkill"), per_s=1.2e-5)
    faults = [fault for index in range(20) for fault in play(spec, index).faults]
    assert len(faults) > 10
    for fault in faults:
        if fault.onset_ns < DAY - HOUR:
            assert (fault.end, 0 < fault.end_ns - fault.onset_ns <= HOUR) == ("scrubbed", True)
        else:
            assert fault.end in ("scrubbed", "horizon")


def test_dimms_are_counted_by_socket_channel_and_slot_and_a_mirror_has_its_own() -> None:
    where = CoordinateRange(socket=1, channel=1, dimm=1)
    plain, mirrored = dimms("row"), dimms("row", mirror=True)
    fitted = plain.fitted
    first = (fitted.channels + 1) * fitted.dimms + 1
    assert plain.number(replace(at("row", 1, **ROW), where=where)) == first
    numbers = [mirrored.number(replace(at("row", 1, **ROW), where=where, copy=copy)) for copy in (0, 1)]
    assert numbers == [(fitted.channels + 2 + copy) * fitted.dimms + 1 for copy in (0, 1)]
    assert mirrored.number(replace(at("row", 1, **ROW), where=CoordinateRange(socket=1, channel=1))) is None


def test_mirrored_memory_is_lost_when_both_copies_are() -> None:
    made = dimms("row", mirror=True)
    assert made.geometry.channels * 2 == made.fitted.channels
    first = replace(at("row", 1, **ROW), copy=0, in_copy="UE")
    second = replace(at("column", 3, **COLUMN), copy=1, in_copy="UE")
    assert made.meet(first, second) is not None
    assert made.meet(first, replace(second, copy=0)) is None  # the other copy is whole
    assert made.meet(first, replace(second, in_copy="CE")) is None
    assert {fault.copy for fault in drawn(made)} == {0, 1}
    dram = replace(of("multi_rank", max_lines=4), mirror=True)
    machine = MachineSpec(PAGES // 2, times=NO_TIME)
    result = play(Spec("mirror", DAY, 11, 1, machine, (ErrorSpec(1e-4, dram=dram),)))
    assert {fault.outcome for fault in result.faults} == {"CE"}
    assert {row.onset_ns for row in result.errors} == {row.onset_ns for row in result.faults if row.met}
    assert result.errors


def test_an_intermittent_fault_comes_and_goes_until_somebody_finds_it() -> None:
    dram = of("word", ecc="sddc", intermittent=1.0, on_ns=HOUR // 60, off_ns=HOUR // 2)
    dram = replace(dram, rates=(("word", 0.0, 1.0, 1.0),))
    result = play(world(dram, per_s=1.2e-5, horizon_ns=4 * DAY, scrub=ScrubSpec(DAY)))
    assert {fault.permanence for fault in result.faults} == {"intermittent"}
    assert max(fault.errors for fault in result.faults) > 3
    assert all(not row.permanent for row in result.errors)
    ends = Counter(row.end for row in result.errors)
    assert ends["healed"] > len(result.faults)  # each window that nobody looked into
    shown = [(row.end_ns - row.onset_ns) / 1e9 for row in result.errors if row.end == "healed"]
    assert sum(shown) / len(shown) == pytest.approx(60.0, rel=4 / sqrt(len(shown)))
    steady = play(world(replace(dram, intermittent=0.0), per_s=1.2e-5, horizon_ns=4 * DAY))
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


def test_a_dimm_goes_with_its_own_faults_only() -> None:
    """Two faults of it, one of its neighbour, one of another source, one of the whole channel."""
    row, bank = at("row", 1, **ROW), at("bank", 2, rank=1)
    neighbour = replace(row, where=replace(row.where, channel=1))
    channel = replace(row, where=CoordinateRange(socket=0, channel=0))
    found = Machine(world(BASE), 0, MemoryLayout(world(BASE))).dram
    faults = [(0, row), (0, bank), (0, neighbour), (1, row), (0, channel)]
    found.faults = [FaultCourse(n, source, 0, fault, of("row")) for n, (source, fault) in enumerate(faults)]
    found._replace_dimm(found.faults[0], 5)
    assert [each.end for each in found.faults] == ["replaced", "replaced", "", "", ""]
    found._replace_dimm(found.faults[4], 6)
    assert [each.end for each in found.faults] == ["replaced", "replaced", "", "", "replaced"]
