"""The census by hand, against the draws of every kind, and its ranges against many machines."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import scan
from hwsim.kernel.failure import Chance
from hwsim.kernel.versions import v5
from hwsim.machine.census import MachineCensus, machine_census
from hwsim.machine.machine import Machine
from hwsim.memory.census import Count
from hwsim.memory.draw_state import first_look
from hwsim.memory.flag_array import flag_array, pieces
from hwsim.memory.inode_clock import by_law
from hwsim.memory.kinds import KINDS
from hwsim.memory.layout import MemoryLayout
from hwsim.memory.page_law import FLAGS, MAPPED, PTE_DIRTY, USED, state_of
from hwsim.spec import FileSpec, KernelPoolSpec, MachineSpec, RegionSpec, Spec, TaskSpec, Touch
from tests.support.every_kind import EVERY_KIND, S

LRU = pg.LRU | pg.UPTODATE | USED
HEAP = LRU | pg.SWAPBACKED | pg.ANON | MAPPED | PTE_DIRTY


def counted(spec: Spec, at_ns: int) -> MachineCensus:
    return machine_census(spec, 0, at_ns, ("v5", "2.6.32"))


def means(spec: Spec, at_ns: int) -> dict[tuple[str, int], Count]:
    return {(each.name, each.page.state): each for each in counted(spec, at_ns).counts}


# -- by hand -----------------------------------------------------------------------------------------------


def test_what_chance_does_not_decide_is_exact() -> None:
    tasks = (TaskSpec("a", 2, regions=(RegionSpec("heap", "anon", 20), RegionSpec("shm", "shm", 5))),)
    pools = KernelPoolSpec("slab", 3), KernelPoolSpec("slab_multi", 16, order=3)
    found = means(Spec("x", 10, 1, 1, MachineSpec(100), tasks=tasks, pools=pools), 5)
    wanted = {
        ("kernel:slab", pg.SLAB | USED): 8,  # with the five that are left out before an aligned block
        ("kernel:slab_multi", pg.SLAB | pg.HEAD | USED): 2,
        ("kernel:slab_multi", pg.TAIL | USED): 14,
        ("a/heap", HEAP): 40,
        ("a/shm", LRU | pg.SWAPBACKED | pg.DIRTY | MAPPED): 5,
        ("free", pg.BUDDY): 31,
    }
    assert {key: each.pages for key, each in found.items()} == wanted
    assert all(each.low == each.high == each.drawn == each.pages for each in found.values())


@pytest.mark.parametrize("pages", [1, 2, 300])
def test_a_file_that_is_never_flushed_is_dirty_once_it_was_stored_to(pages: int) -> None:
    file = FileSpec("log", pages, touch=(Touch(1.0, 0.0, 0.03),), flush_every_ns=0)
    found = means(Spec("x", 100 * S, 1, 1, MachineSpec(400), files=(file,)), 40 * S)
    dirty = pages * (1.0 - exp(-0.03 * 40))
    assert found["file:log", LRU | pg.DIRTY].pages == pytest.approx(dirty, rel=2e-3)
    assert found["file:log", LRU].pages == pytest.approx(pages - dirty, rel=5e-3)


def test_a_page_that_is_flushed_is_dirty_by_the_stationary_law() -> None:
    """1 - 1 / (r W E[N]) of the time, as ``kernel/writeback`` derives it."""
    rate, wake, expire = 0.05, 5.0, 30.0
    cycles = expire / wake + 1.0 / (1.0 - exp(-rate * wake))
    file = FileSpec("log", 1, touch=(Touch(1.0, 0.0, rate),))
    found = means(Spec("x", 100_000 * S, 1, 1, MachineSpec(4), files=(file,)), 90_000 * S)
    assert found["file:log", LRU | pg.DIRTY].pages == pytest.approx(
        1.0 - 1.0 / (rate * wake * cycles), rel=0.01
    )


def test_a_family_has_as_many_frames_as_copies_were_made() -> None:
    """Of four that share a page three copy it at most: the sum of their chances less that all have stored."""
    region = RegionSpec("loaded", "anon", 100, (Touch(1.0, 0.0, 0.02),))
    spec = Spec("x", 100 * S, 1, 1, MachineSpec(1_000), tasks=(TaskSpec("f", 1, 3, (region,)),))
    found = means(spec, 50 * S)
    stored = 1.0 - exp(-1.0)
    assert found["f/loaded", HEAP].pages == pytest.approx(100 * (1 + 4 * stored - stored**4))
    assert found["f/loaded", pg.BUDDY].pages == pytest.approx(100 * (3 - 4 * stored + stored**4))


def test_frames_left_out_behind_a_copy_are_free() -> None:
    """Between the frames of a child and an aligned region lie frames of nobody, as first_look() finds."""
    regions = RegionSpec("heap", "anon", 16), RegionSpec("big", "hugetlb", 512, huge_order=9)
    spec = Spec("x", S, 1, 1, MachineSpec(2_048), tasks=(TaskSpec("f", 1, 1, regions),))
    found = means(spec, S // 2)
    assert found["f/heap", HEAP].pages == 16
    assert found["f/heap", pg.BUDDY].pages == 512 - 16


def test_the_range_holds_the_counts_of_machines() -> None:
    """Of 95 %: with 300 machines 4 standard deviations are 5 %; false alarm below 1e-4."""
    file = FileSpec("log", 2_000, touch=(Touch(1.0, 0.0, 0.002),))
    spec = Spec("x", 20_000 * S, 3, 1, MachineSpec(2_100), files=(file,))
    dirty = means(spec, 10_000 * S)["file:log", LRU | pg.DIRTY]
    plan, inside = MemoryLayout(spec), 0
    for index in range(300):
        machine = Machine(spec, index, plan)
        drawn = int((flag_array(machine.kernel, 10_000 * S, machine.draws) == LRU | pg.DIRTY).sum())
        inside += dirty.low <= drawn <= dirty.high
    assert dirty.high - dirty.low > 20
    assert inside >= 300 * 0.90


# -- every kind --------------------------------------------------------------------------------------------


def test_the_law_of_every_kind_is_that_of_its_draws() -> None:
    """A page of each class in 250 machines; false alarm 1e-3 over all states."""
    at_ns, plan = 61 * S, MemoryLayout(EVERY_KIND)
    all_pieces = list(pieces(Machine(EVERY_KIND, 0, plan).kernel, at_ns, by_law))
    assert {each.pages.region.kind for each in all_pieces} == set(KINDS)
    expected: dict[tuple[str, int], float] = {}
    seen, looks = Counter[tuple[str, int]](), Counter[str]()
    for index in range(250):
        machine = Machine(EVERY_KIND, index, plan)
        machine.engine.run(at_ns)
        for number, (pages, law) in enumerate(all_pieces):
            offset = (index * 7919) % pages.pages
            pfn, name = pages.region.layout.first_pfn + pages.first + offset, pages.region.layout.kind
            chance = Chance(number, pfn, machine.draws.row(number), machine.draws.extra)
            if pages.region.layout.order:  # alone, so that its head is drawn anew
                machine.kernel.mem_map.overlay.clear()
            seen[name, state_of(first_look(machine.kernel, pfn, chance))] += 1
            looks[name] += 1
            for part in law:
                key = name, part.others if offset % pages.step else part.first
                expected[key] = expected.get(key, 0.0) + float(part.chance.mean())
    assert set(seen) <= set(expected)
    assert len(expected) > 50
    for (name, state), mean in expected.items():
        share = min(1.0, max(0.0, mean / looks[name]))
        p_value = binomtest(seen[name, state], looks[name], share).pvalue
        assert p_value > 1e-3 / len(expected), (name, pg.names_of(state & FLAGS), mean)


rates = st.tuples(st.sampled_from([0.0, 1e-4, 0.1, 50.0]), st.sampled_from([0.0, 1e-4, 0.1, 50.0]))


@settings(max_examples=8)
@given(st.integers(0, 99), rates, rates, st.sampled_from([0.0, 0.1, 1.0]))
def test_all_pages_are_counted_once(
    at_s: int, one: tuple[float, float], other: tuple[float, float], chance: float
) -> None:
    touch = Touch(0.3, *one), Touch(0.6, *other)
    spec = replace(
        EVERY_KIND,
        files=tuple(replace(each, touch=touch, pagevec=chance) for each in EVERY_KIND.files),
        tasks=tuple(
            replace(task, regions=tuple(replace(each, touch=touch) for each in task.regions))
            for task in EVERY_KIND.tasks
        ),
    )
    found = counted(spec, at_s * S)
    assert sum(each.drawn for each in found.counts) == 40_007
    assert sum(each.pages for each in found.counts) == pytest.approx(40_007)
    assert all(sum(rows.values()) == 40_000 for rows in found.by_row.values())
    for each in found.counts:
        assert 0.0 <= each.low <= each.high
        assert each.pages >= 0.0


def test_the_rows_are_those_that_memory_failure_looks_up() -> None:
    """Every page of the array by the scan, an entry's dirty bit moved to the page as try_to_unmap() does."""
    found = counted(EVERY_KIND, 61 * S)
    rows = Counter[int]()
    for state, number in zip(*np.unique(found.snapshot.flags, return_counts=True), strict=True):
        flags = int(state) & FLAGS | (pg.DIRTY if state & PTE_DIRTY else 0)
        rows[scan(v5.ERROR_STATES, flags).row] += int(number)
    assert found.by_row["v5"] == dict(sorted(rows.items()))


def test_the_same_machine_is_the_same_census() -> None:
    first, second = counted(EVERY_KIND, 61 * S), counted(EVERY_KIND, 61 * S)
    assert first.counts == second.counts
    assert (first.snapshot.flags == second.snapshot.flags).all()
