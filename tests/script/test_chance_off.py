"""Machines without chance: one run stands for all, and what a script says is what happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hwsim.machine import MemoryLayout, run_replication
from hwsim.record import Replication
from hwsim.rng import NO, WHICH, YES_NO, NoChance, Slot
from hwsim.scenario import ScenarioError, load
from hwsim.spec import (
    Delay,
    FileSpec,
    RegionSpec,
    Spec,
    SwapCycle,
    TimesSpec,
    Touch,
    without_chance,
)
from tests.support.worlds import P0, app, happened, heap, machine, outcomes, run, world
from tests.whole.shipped import SCRIPTED, spec_of

S = 1_000_000_000
MACHINE = 'name = "x"\nhorizon = "1 h"\n[machine]\nmemory = "64 MiB"\nchance = "off"\n'


def without_number(found: Replication) -> tuple[Any, ...]:
    """Everything a run leaves, but for its number."""
    tables = (found.errors, found.signals, found.lost_writes, found.faults)
    rows = [[row._replace(replication=0) for row in table] for table in tables]
    return found.row._replace(replication=0), rows, found.reach, found.log, found.events, found.meminfo


@pytest.mark.parametrize("name", SCRIPTED)
def test_every_replication_of_a_script_is_the_same(name: str) -> None:
    spec = spec_of(name)
    plan = MemoryLayout(spec)
    first, *others = (without_number(run_replication(spec, index, plan, trace=True)) for index in range(60))
    assert not spec.machine.chance
    assert all(each == first for each in others)


def test_a_written_page_is_dirty_until_a_step_writes_it_back(tmp_path: Path) -> None:
    """With the flusher of chance it is clean in some replications, and no event says so."""
    file = '[[file]]\nname = "disk"\nsize = "128 KiB"\nfilesystem = "blockdev"\nbuffers = "idle"\n'
    steps = [
        ('"59 s"', "open", 'task = "app.0"\nfile = "disk"'),
        ('"60 s"', "write", 'task = "app.0"\nfile = "disk"\nindex = 3'),
        ('"62 s"', "inject", 'page = { file = "disk", index = 3 }'),
        ('"64 s"', "read", 'task = "app.0"\nfile = "disk"\nindex = 3'),
        ('"66 s"', "fsync", 'task = "app.0"\nfile = "disk"'),
    ]
    script = "".join(f'[[script]]\nat = {at}\ndo = "{do}"\n{more}\n' for at, do, more in steps)
    path = tmp_path / "flusher.toml"
    path.write_text(f'{MACHINE}{file}[[task]]\nname = "app"\n{script}')
    spec = load(path).spec
    for index in range(60):
        found = run_replication(spec, index, trace=True)
        assert outcomes(found) == [0, "ok", "ok", "EIO"]
        assert [(row.file, row.page_index) for row in found.lost_writes] == [("disk", 3)]


def test_no_probability_below_one_is_met_and_a_certain_one_is() -> None:
    draws = NoChance(1, 2)
    for slot in (Slot.CONTEXT, Slot.BUFFERS):
        assert not draws.row(0)[slot] < 1.0 - 2.0**-53
        assert draws.row(0)[slot] < 1.0
    assert draws.extra(7, Slot.REPAIR) == NO
    assert int(draws.row(3)[Slot.CPU] * 4096) == 0
    assert draws.extra(5, Slot.TOUCH | 3 << 8, 9) == 0.5


# Drawn durations, and "has it happened by now" at a rate; counts too, which are then their median.
HOW_LONG = """
RACE_TASK RACE_KERNEL RACE_HEAL RACE_DEVICE RENDEZVOUS NOTIFY LOCK_WAIT RMAP UNMAP HANDLER DELIVERY
PRESENT DIRTY WHO_STORED FREED TURNOVER ALLOC INNOCENT READER RACE_OVERWRITE TOUCH SIGBUS_HANDLER
PHASE LIFETIME LATER_LOOK STALE EVICT STORES SWAPPED_IN FRAILTY FAULT WINDOW_OFF CORRECTED RECORDS
DROPPED WINDOW_ON READ_AGAIN TRUNCATED DIRTIED_WHEN WRITTEN_OUT
"""


def test_of_every_draw_it_is_said_what_it_decides() -> None:
    """A new slot is a duration, or stands in YES_NO or WHICH of hwsim/rng.py, for chance = "off"."""
    assert not YES_NO & WHICH
    assert {slot.name for slot in Slot if slot not in YES_NO | WHICH} <= set(HOW_LONG.split())


def test_draws_do_not_depend_on_seed_replication_or_name() -> None:
    assert NoChance(1, 2).row(5) == NoChance(3, 4).row(6)
    assert {NoChance(seed, 0).extra(name, Slot.LIFETIME, seed) for seed in (1, 2) for name in (3, 4)} == {0.5}


@pytest.mark.parametrize(
    ("delay", "median"),
    [
        (Delay("exponential", mean_ns=1_000_000), 693_147),
        (Delay("uniform", low_ns=10, high_ns=30), 20),
        (Delay("lognormal", mean_ns=500, sigma=2.0), 500),
        (Delay("constant", mean_ns=7), 7),
        (Delay("constant", mean_ns=7, chance=0.99), 0),
    ],
)
def test_times_are_their_medians(delay: Delay, median: int) -> None:
    assert delay.without_chance() == Delay(mean_ns=median)


def quiet(spec: Spec) -> Replication:
    return run(without_chance(spec))


def test_times_probabilities_and_the_cpu_of_a_find() -> None:
    """The default times: medians from the find to the death; the kernel was interrupted, on CPU 0."""
    steps = ((1_000, "inject", {"page": P0, "how": "line"}), (2_000, "scrub", {"page": P0}))
    found = quiet(world(*steps, times=TimesSpec()))
    (handled,) = (facts for _, event, facts in found.events if event == "memory_failure")
    assert (handled["context"], handled["cpu"]) == ("workqueue", 0)
    rendezvous, workqueue, walk, handler, delivery = 100_000, 34_657, 5_200, 20_000, 34_657
    start = 2_000 + rendezvous + workqueue
    assert happened(found)[5:] == [
        (start, "memory_failure"),
        (start, "poisoned"),
        (start + walk, "unmapped"),
        (start + walk, "signal"),
        (start + walk + handler, "result"),
        (start + walk + delivery, "killed"),
    ]


def test_no_swap_cycle_and_no_pagevec_unless_it_is_certain() -> None:
    cycle = SwapCycle(1_000, dirty_unmapped=1.0)
    steps = ((1_000, "inject", {"page": P0}),)
    never = world(*steps, tasks=(app(RegionSpec("heap", "anon", 8, swap=cycle, pagevec=0.99)),))
    always = world(*steps, tasks=(app(RegionSpec("heap", "anon", 8, pagevec=1.0)),))
    assert run(never).errors[0].message == "swapcache"
    assert quiet(never).errors[0].message == "LRU"
    assert quiet(always).errors[0].message == "anonymous"


def test_touches_come_at_the_median_of_their_waiting_time() -> None:
    """A load each 100 us on average of all lines: after 69.3 us."""
    tasks = (app(RegionSpec("heap", "anon", 8, touch=(Touch(1.0, 1e4, 0.0),), lines_per_touch=64)),)
    found = quiet(world((1_000, "inject", {"page": P0, "how": "line"}), tasks=tasks))
    assert (1_000 + 69_314 + 1, "consumed") in happened(found)


def test_a_bad_frame_keeps_its_place_over_a_reboot() -> None:
    line = (1_000, "inject", {"page": heap(3), "how": "line", "permanent": True})
    touched = (500_000, "load", {"task": "app.0", "page": heap(3)})
    found = quiet(world(line, (2_000, "reboot"), touched, reboot_ns=1_000))
    assert outcomes(found) == ["consumed"]
    assert found.errors[0].region == "app.0/heap"


def test_errors_by_rate_are_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(f'{MACHINE}[[errors]]\nrate = "1 / d"\n')
    with pytest.raises(ScenarioError, match="no error comes by itself in a machine without chance"):
        load(path)


def test_the_rest_of_the_machine_stays() -> None:
    spec = without_chance(world(files=(FileSpec("data", 8),), tolerant=0))
    assert spec.machine.tolerant == 0
    assert spec.machine.memory_pages == machine().memory_pages
    assert spec.files[0].flush_every_ns == 0
    assert without_chance(spec) == spec
