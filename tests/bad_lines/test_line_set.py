"""The lines of a wide fault as a set: the law of one object a line, closed forms, what the record tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest

from hwsim.bad_lines import dram_faults, line_set
from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.hasten import hazard_per_ns
from hwsim.engine import Engine
from hwsim.hardware.dram.dram_fault import Dimms
from hwsim.hardware.patrol_scrubber import PatrolScrubber
from hwsim.machine import Machine, MemoryLayout
from hwsim.record import Replication
from hwsim.spec import (
    DramSpec,
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
from tests.support.worlds import NO_TIME

S, HOUR = 1_000_000_000, 3_600_000_000_000
OWN = (("banks", 4), ("channels", 2), ("columns", 128), ("ranks", 2), ("rows", 16))  # a bank: 256 lines
PAGES, LINES = 64, 256
BANK = DramSpec("ddr2-faultsim", own=OWN, frailty=0.0, rates=(("bank", 0.0, 1.0, None),))
TRANSIENT = replace(BANK, rates=(("bank", 1.0, 0.0, None),))
INTERMITTENT = replace(BANK, intermittent=1.0, on_ns=HOUR // 4, off_ns=HOUR // 2)

TASKS = (
    TaskSpec(
        "app",
        2,
        regions=(
            RegionSpec("heap", "anon", 6, (Touch(0.5, 2e-5, 1e-5), Touch(0.5))),
            RegionSpec("lazy", "anon", 4, (Touch(1.0, 2e-5, 1e-5),), populate=False, lines_per_touch=16.0),
            RegionSpec("seg", "shm", 8, (Touch(1.0, 2e-5, 2e-5),), populate=False, lines_per_touch=8.0),
            RegionSpec(
                "map", "file", 10, (Touch(0.3, 1e-5, 3e-5), Touch(0.7, 1e-5)), file="data", shared=True
            ),
        ),
        restart_ns=S,
    ),
)
FILES = (
    FileSpec(
        "data", 16, touch=(Touch(0.6, 2e-6, 2e-5), Touch(0.4)), lines_per_touch=8.0, turnover_per_s=1e-5,
        truncate_per_s=1e-5,
    ),
)  # fmt: skip
POOLS = (KernelPoolSpec("slab", 6, load_per_s=1e-6, lifetime_ns=6 * HOUR),)


def world(dram: DramSpec = BANK, **more: Any) -> Spec:
    """A machine with all kinds of memory that is used, and one fault in its first hour."""
    options: dict[str, Any] = {
        "times": NO_TIME,
        "reboot_ns": 60 * S,
        "alloc_per_s": 1e-3,
        "device_read": "UCNA",
    }
    parts = {name: more.pop(name) for name in ("tasks", "files", "pools") if name in more}
    machine = MachineSpec(PAGES, **{**options, "scrub": ScrubSpec(3 * HOUR), **more})
    found = Spec("set", 4 * HOUR, 11, 1, machine, (ErrorSpec(count=1, end_ns=HOUR, dram=dram),))
    return replace(found, **{"tasks": TASKS, "files": FILES, "pools": POOLS, **parts})


@contextmanager
def few_lines(number: int) -> Iterator[None]:
    """So many lines are single ones from the start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dram_faults, "FEW_LINES", number)
        yield


def played(spec: Spec, machines: int, few: int) -> list[Replication]:
    layout = MemoryLayout(spec)
    with few_lines(few):
        found = []
        for index in range(machines):
            machine = Machine(spec, index, layout)
            machine.run()
            found.append(machine.result())
    return found


def first_find_ns(result: Replication) -> int:
    times = [row.found_ns for row in result.errors if row.found_ns is not None]
    return min(times) - result.faults[0].onset_ns if times else 4 * HOUR


def counted(result: Replication) -> dict[str, float]:
    """What anybody can observe of the machine."""
    found = [row for row in result.errors if row.found_ns is not None]
    facts: dict[str, float] = {f"found by {how}": sum(row.found == how for row in found) for how in HOW}
    facts |= {f"found in {kind}": sum(row.kind == kind for row in found) for kind in KINDS}
    facts |= {f"first in {s} s": first_find_ns(result) < s * S for s in (5, 30, 120, 600)}
    sums = ("panics", "kills", "data_lost_bytes", "capacity_lost_bytes", "disk_corruptions", "lost_writes")
    facts |= {name: getattr(result.row, name) for name in sums}
    facts["mappers"] = sum(row.mappers for row in found)
    facts["isolated"] = sum(row.end == "isolated" for row in found)
    return facts


HOW = ("scrub", "task_load", "kernel_load", "device_read")
KINDS = ("anon", "shm", "file", "slab", "free")


@pytest.mark.parametrize("faults", [1, 3])
@pytest.mark.parametrize("dram", [BANK, TRANSIENT, INTERMITTENT], ids=["permanent", "transient", "windows"])
def test_a_set_is_observed_as_one_object_a_line_is(dram: DramSpec, faults: int) -> None:
    """60 machines each way with other draws; 21 means within 4.5 standard errors: 1 false alarm in 7,000."""
    machines = 60 if faults == 1 else 30
    spec = world(dram)
    spec = replace(spec, errors=(replace(spec.errors[0], count=faults),))
    single, as_set = (list(map(counted, played(spec, machines, few))) for few in (1 << 40, 0))
    for what in single[0]:
        one, other = (np.array([each[what] for each in facts], float) for facts in (single, as_set))
        error = sqrt((one.var() + other.var()) / machines)
        assert abs(one.mean() - other.mean()) <= 4.5 * error, what
    assert np.mean([each["found by scrub"] for each in single]) > 3  # there was something to compare


def test_the_scrubber_finds_the_line_that_it_comes_to_first() -> None:
    """Nobody reads: the first find is the earliest visit to any of its lines, to the nanosecond."""
    spec = world(tasks=(), files=(), pools=())
    layout = MemoryLayout(spec)
    for index in range(20):
        machine = Machine(spec, index, layout)
        with few_lines(0):
            machine.run()
        result, scrubber = machine.result(), machine.bad_lines.around.scrubber
        fault = result.faults[0]
        course = machine.dram.faults[0]
        lines = Dimms(BANK).lines(course.fault.where, LINES, np.random.default_rng(0)).tolist()
        by_page = {address >> 12: address >> 6 & 63 for address in reversed(lines)}
        visits = [scrubber.next_visit_ns(pfn, line, fault.onset_ns) for pfn, line in by_page.items()]
        assert first_find_ns(result) + fault.onset_ns == min(each for each in visits if each is not None)


def test_reads_find_the_first_line_after_one_exponential_time() -> None:
    """A slab that is read: the time times the total rate is exponential; Kolmogorov-Smirnov, 1 in 10,000."""
    machines, per_s = 400, 1e-3
    spec = world(
        tasks=(), files=(), pools=(KernelPoolSpec("slab", PAGES, load_per_s=per_s),), scrub=ScrubSpec(None)
    )
    total_per_s = LINES * per_s / 64  # a touch reads one line
    times = np.sort([first_find_ns(each) / S * total_per_s for each in played(spec, machines, 0)])
    below = 1.0 - np.exp(-times)
    steps = np.arange(machines + 1) / machines
    distance = max(np.max(steps[1:] - below), np.max(below - steps[:-1]))
    assert distance < sqrt(log(2 / 1e-4) / 2 / machines)


@pytest.mark.parametrize("dram", [BANK, TRANSIENT], ids=["permanent", "transient"])
def test_never_more_comes_to_a_line_than_its_set_waits_for(
    dram: DramSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first of them would be late."""
    shares = []

    def recorded(line: BadLine) -> float:
        hazard = hazard_per_ns(line)
        found = line_set_of.pop()
        shares.append(hazard / found._most(int(np.searchsorted(found._pfn, line.pfn))))
        return hazard

    line_set_of: list[line_set.LineSet] = []
    come = line_set.LineSet._come
    monkeypatch.setattr(line_set, "hazard_per_ns", recorded)

    def comes(found: line_set.LineSet) -> None:
        line_set_of.append(found)
        come(found)

    monkeypatch.setattr(line_set.LineSet, "_come", comes)
    played(world(dram, repair_share=0.0), 20, 0)
    assert len(shares) > 100
    assert max(shares) <= 1.0 + 1e-6
    assert max(shares) > 0.5


def test_lines_that_nobody_met_have_no_row_and_the_fault_counts_them() -> None:
    for result in played(world(tasks=(), pools=(), scrub=ScrubSpec(24 * HOUR)), 3, 0):
        fault = result.faults[0]
        assert fault.ruined == fault.lines == LINES
        assert fault.errors == len(result.errors) < LINES
        met = {row.pfn for row in result.errors if row.end != "duplicate"}
        assert met == {row.pfn for row in result.errors}
        assert all(row.onset_ns == fault.onset_ns for row in result.errors)


def test_a_limit_still_holds() -> None:
    (result,) = played(world(replace(BANK, max_lines=100)), 1, 0)
    assert 64 < result.faults[0].ruined <= 100


def test_another_error_on_a_page_of_the_set_joins_its_lines() -> None:
    spec = world(tasks=(), files=(), pools=(), scrub=ScrubSpec(None), alloc_per_s=0.0)
    with few_lines(0):
        machine = Machine(spec, 0, MemoryLayout(spec))
        machine.engine.run(HOUR)
    assert not machine.bad_lines.all
    where = machine.dram.faults[0].fault.where
    pfn = int(Dimms(BANK).pages(where, None, np.random.default_rng(0))[0][3])
    machine.bad_lines.add(0, pfn, 5, permanent=True)
    (stands,) = (line for line in machine.bad_lines.all.values() if not line.finished)
    assert stands.pfn == pfn
    assert stands.onset_ns == machine.dram.faults[0].onset_ns
    assert 5 in {stands.number_in_page, *(each.number_in_page for each in stands.other_lines)}


def test_a_set_is_gone_with_its_dimm_and_comes_up_in_the_next_boot_without() -> None:
    slab = (KernelPoolSpec("slab", PAGES, load_per_s=1.0),)
    busy = world(pools=slab, files=(), tasks=(), repair_share=0.0)
    replaced = played(replace(busy, machine=replace(busy.machine, repair_share=1.0)), 5, 0)
    kept = played(busy, 5, 0)
    assert all(each.row.panics == 1 and each.faults[0].end == "replaced" for each in replaced)
    assert all(each.row.panics > 5 for each in kept)
    healed = played(replace(busy, errors=(replace(busy.errors[0], dram=TRANSIENT),)), 5, 0)
    assert all(each.row.panics == 1 and each.faults[0].end == "rebooted" for each in healed)


def test_windows_bring_back_what_is_not_isolated() -> None:
    results = played(world(INTERMITTENT, scrub=ScrubSpec(2 * HOUR), tasks=(), files=(), pools=()), 8, 0)
    windows = [len({row.onset_ns for row in result.errors}) for result in results]
    assert sum(number > 1 for number in windows) > 2
    for result, seen in zip(results, windows, strict=True):
        isolated = [row.pfn for row in result.errors if row.end == "isolated"]
        assert len(isolated) == len(set(isolated))
        assert result.faults[0].ruined > LINES * seen - 8 * len(isolated) * seen


@pytest.mark.parametrize("period_ns", [HOUR, 7919, 1000])
def test_the_next_place_of_the_scrubber_is_that_of_the_next_visit(period_ns: int) -> None:
    scrubber = PatrolScrubber[BadLine](Engine(), ScrubSpec(period_ns), PAGES, 0.37, lambda _line: None)
    places = range(0, PAGES * 64, 37)
    for after in (0, 1, period_ns // 3, period_ns - 1, 5 * period_ns + 17):
        ahead = scrubber.next_place(after)
        visits = {place: scrubber.next_visit_ns(*divmod(place, 64), after) for place in places}
        wanted = min(visits.items(), key=lambda each: (each[1], (each[0] < ahead, each[0])))[0]
        assert next((place for place in places if place >= ahead), places[0]) == wanted


@pytest.mark.parametrize("mode", ["row", "column", "bank", "channel"])
def test_pages_of_a_range_are_its_lines(mode: str) -> None:
    made = Dimms(replace(BANK, rates=((mode, 0.0, 1.0, None),)))
    where = made.draw(np.random.default_rng(3)).where
    lines = made.lines(where, 1 << 20, np.random.default_rng(0))
    for limit in (None, lines.size // 3):
        pfns, bits = made.pages(where, limit, np.random.default_rng(0))
        listed = [
            pfn * 4096 + line * 64
            for pfn, word in zip(pfns.tolist(), bits.tolist(), strict=True)
            for line in range(64)
            if word >> line & 1
        ]
        wanted = lines if limit is None else made.lines(where, limit, np.random.default_rng(0))
        assert listed == wanted.tolist()


def test_a_page_that_is_stored_to_reaches_the_disk_with_its_bad_line() -> None:
    """Written after each store, whoever dirtied the file before; 4.5 standard errors, 1 in 150,000."""
    per_s, machines = 1e-4, 300
    file = FileSpec("data", PAGES, touch=(Touch(1.0, 0.0, per_s),), lines_per_touch=8.0)
    spec = world(tasks=(), pools=(), files=(file,), device_read="ignored", scrub=ScrubSpec(None))
    single = ErrorSpec(count=1, end_ns=S, permanent=1.0)
    results = played(replace(spec, errors=(single,)), machines, 1 << 40)
    share = 1.0 - exp(-per_s * 4 * HOUR / S)
    met = sum(row.disk_ns is not None for result in results for row in result.errors)
    assert abs(met - machines * share) < 4.5 * sqrt(machines * share * (1.0 - share))


def test_one_dimm_is_replaced_and_the_sets_of_others_go_on() -> None:
    """Three faults, with pages in common: a panic takes one DIMM's, the others are there in the next boot."""
    slab = (KernelPoolSpec("slab", PAGES, load_per_s=1e-2),)
    spec = world(pools=slab, files=(), tasks=(), repair_share=1.0)
    spec = replace(spec, errors=(ErrorSpec(count=3, end_ns=S, dram=BANK),))
    ends = set()
    for index in range(20):
        machine = Machine(spec, index, MemoryLayout(spec))
        with few_lines(0):
            machine.run()
        ends |= {each.end for each in machine.dram.faults}
        assert machine.panics == len({each.end_ns for each in machine.dram.faults if each.gone})
        assert not machine.bad_lines.sets
    assert ends == {"replaced"}
