"""Accesses while somebody else has the page lock: who waits, who dirties the page first, what comes after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hwsim.spec import Delay, FileSpec, RegionSpec, SigbusSpec, TaskSpec, Touch
from tests.support.worlds import NO_TIME, happened, heap, log, on_file, outcomes, play, signals

MKWRITE, FIRST_DIRTY = ["ext4", "xfs", "nfs"], ["ext2", "ext3"]
PAGE = {"page": {"file": "data", "index": 0}}
KERNELS = ["v5", "2.6.32"]


def _world(filesystem: str, store_per_s: float = 0.0, **more: Any) -> dict[str, Any]:
    touch = (Touch(1.0, 0.0, store_per_s),)
    region = RegionSpec("map", "file", 8, touch, file="data", shared=True, populate=False, full_line=0.0)
    task = TaskSpec("app", regions=(region,), sigbus=SigbusSpec("return", "return"))
    world = {"tasks": (task,), "files": (FileSpec("data", 8, filesystem=filesystem),), "early_kill": 1}
    return world | more


def _touch(at: int, verb: str, index: int = 0) -> tuple[int, str, dict[str, Any]]:
    return at, verb, {"task": "app.0", "page": heap(index, region="map")}


# The page is mapped, clean and under writeback: memory_failure() takes its lock and waits for 3 us.
UNDER_LOCK = (
    _touch(1_000, "store"),
    (3_000, "start_writeback", PAGE),
    (3_000, "inject", PAGE),
    (6_000, "end_writeback", PAGE),
)
STORE = _touch(4_000, "store")
# The same, where tasks store by chance: nobody has looked at the page before, and it is clean at 3 us.
CHANCE = (_touch(3_000, "load"), *UNDER_LOCK[1:])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("filesystem", MKWRITE)
def test_a_store_through_page_mkwrite_waits_and_faults_again(kernel: str, filesystem: str) -> None:
    steps = (*UNDER_LOCK, STORE, on_file(9_000, "fsync"))
    result = play(*steps, kernel=kernel, **_world(filesystem))
    assert outcomes(result) == ["ok", "reread_disk", 0]
    assert (signals(result), result.lost_writes, result.errors[0].row) == ([], [], 13)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("filesystem", FIRST_DIRTY)
def test_elsewhere_the_page_is_dirty_before_the_store_waits(kernel: str, filesystem: str) -> None:
    steps = (*UNDER_LOCK, STORE, on_file(9_000, "fsync"))
    result = play(*steps, kernel=kernel, **_world(filesystem, early_kill=0))
    assert outcomes(result) == ["ok", "VM_FAULT_HWPOISON", "EIO"]
    assert (result.errors[0].row, len(result.lost_writes)) == (12, 1)
    assert {row.time_ns for row in result.signals} == {6_000}
    assert {row.code for row in result.signals} == {"BUS_MCEERR_AR"}


def test_a_block_device_is_like_ext2() -> None:
    """v5 refuses to drop the page, but its entries are poison entries."""
    result = play(*UNDER_LOCK, STORE, **_world("blockdev", early_kill=0))
    assert outcomes(result) == ["ok", "VM_FAULT_HWPOISON"]
    assert (result.errors[0].row, result.errors[0].outcome) == (12, "Failed")


@pytest.mark.parametrize("filesystem", FIRST_DIRTY)
def test_the_signal_comes_before_the_store_is_made_again(filesystem: str) -> None:
    """The task is told early while its store waits: its handler runs first, then it meets the entry."""
    result = play(*UNDER_LOCK, STORE, **_world(filesystem))
    codes = [(row.code, row.result) for row in result.signals]
    assert codes[:2] == [("BUS_MCEERR_AO", "handled"), ("BUS_MCEERR_AR", "handled")]
    assert codes[-1] == ("BUS_MCEERR_AR", "looping")


def test_who_dies_of_the_signal_stores_nothing() -> None:
    world = _world("ext3")
    world["tasks"] = (replace(world["tasks"][0], sigbus=SigbusSpec()),)
    result = play(*UNDER_LOCK, STORE, **world)
    assert signals(result) == [(100, "SIGBUS", "BUS_MCEERR_AO", "early", "killed")]
    assert (4_000, "store skipped") in happened(result)


def test_a_handler_that_maps_a_fresh_page_lets_the_store_through() -> None:
    world = _world("ext3")
    world["tasks"] = (replace(world["tasks"][0], sigbus=SigbusSpec("remap", "exit")),)
    result = play(*UNDER_LOCK, STORE, **world)
    assert [(row.code, row.result) for row in result.signals] == [("BUS_MCEERR_AO", "handled")]
    assert outcomes(result)[-1] != "VM_FAULT_HWPOISON"


@pytest.mark.parametrize("filesystem", [*MKWRITE, *FIRST_DIRTY])
def test_by_chance_it_is_the_same_rule(filesystem: str) -> None:
    """1e7 stores a second over 3 us: none at all has probability exp(-29), the quiet lines counted."""
    by_script = play(*UNDER_LOCK, STORE, **_world(filesystem, early_kill=0))
    by_chance = play(*CHANCE, **_world(filesystem, 1e7, early_kill=0))
    for result in (by_script, by_chance):
        error = result.errors[0]
        waits = filesystem in MKWRITE
        assert (error.row, len(result.lost_writes)) == ((13, 0) if waits else (12, 1))
        assert [row.time_ns for row in result.signals][:1] == ([] if waits else [6_000])


@pytest.mark.parametrize("touch_per_s", [0.0, 1e-3])
def test_a_store_that_waited_is_the_next_touch(touch_per_s: float) -> None:
    """By chance too the late kill is at the unlock, not at a touch that is drawn anew."""
    world = _world("ext3", 1e7, early_kill=0)
    task = world["tasks"][0]
    region = replace(task.regions[0], touch=(Touch(1.0, touch_per_s, 1e7),))
    world["tasks"] = (replace(task, regions=(region,), sigbus=SigbusSpec()),)
    slow = replace(NO_TIME, page_handler=Delay(mean_ns=2_000))
    (signal,) = play(*CHANCE, times=slow, **world).signals
    assert (signal.time_ns, signal.code, signal.result) == (8_000, "BUS_MCEERR_AR", "killed")


# -- faults on empty and swap entries -------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["load", "store"])
@pytest.mark.parametrize("filesystem", [*MKWRITE, *FIRST_DIRTY, "blockdev", "tmpfs", "ramfs"])
def test_every_fault_on_an_empty_entry_waits(filesystem: str, verb: str) -> None:
    steps = (
        on_file(1_000, "write", index=0),
        (2_000, "lock_page", PAGE),
        _touch(3_000, verb),
        on_file(4_000, "read", index=0),
        (5_000, "unlock_page", PAGE),
        _touch(6_000, verb),
    )
    result = play(*steps, **_world(filesystem))
    assert outcomes(result) == ["ok", "ok", "ok", "ok"]


def test_a_fault_that_waits_for_memory_failure_reads_the_page_anew() -> None:
    steps = (*UNDER_LOCK[1:], _touch(4_000, "load"))
    assert outcomes(play(*steps, **_world("ext3"))) == ["reread_disk"]


def test_a_fault_that_waits_for_truncate_finds_the_end_of_the_file() -> None:
    steps = (
        (1_000, "lock_page", PAGE),
        _touch(2_000, "load"),
        (3_000, "truncate", {"file": "data", "pages": 0}),
        (4_000, "unlock_page", PAGE),
    )
    result = play(*steps, **_world("ext4"))
    assert outcomes(result)[0] == "BUS_ADRERR"


HEAP = RegionSpec("heap", "anon", 8)


def test_a_fault_on_a_swap_entry_waits_but_poison_is_answered_at_once() -> None:
    page = {"page": heap(0)}
    task = TaskSpec("app", regions=(HEAP,), sigbus=SigbusSpec("return", "return"))
    out = (1_000, "swap_out", page), (2_000, "lock_page", page)
    load = (3_000, "load", {"task": "app.0", **page})
    unlock = (4_000, "unlock_page", page)
    assert outcomes(play(*out, load, unlock, tasks=(task,))) == ["swapped out", "ok"]
    poisoned = play(*out, (2_500, "inject", page), load, unlock, tasks=(task,))
    assert outcomes(poisoned) == ["swapped out", "VM_FAULT_HWPOISON"]
    assert poisoned.signals[0].time_ns == 3_000


def test_copy_on_write_waits_for_the_lock() -> None:
    """do_wp_page() of anonymous memory: who comes first has the lock first."""
    page = {"page": heap(0)}
    task = TaskSpec("app", regions=(HEAP,), sigbus=SigbusSpec("return", "return"))

    def race(store_at: int, inject_at: int) -> str:
        steps = (
            (1_000, "fork", {"task": "app.0"}),
            (2_000, "lock_page", page),
            (store_at, "store", {"task": "app.0", **page}),
            (inject_at, "inject", page),
            (5_000, "unlock_page", page),
        )
        return str(outcomes(play(*steps, tasks=(task,), early_kill=0))[1])

    assert race(store_at=3_000, inject_at=4_000) == "copied"
    assert race(store_at=4_000, inject_at=3_000) == "VM_FAULT_HWPOISON"


def test_madvise_hwpoison_waits_for_the_page() -> None:
    steps = (
        (1_000, "lock_page", PAGE),
        (2_000, "madvise", {"task": "app.0", "region": "map", "first": 0, "pages": 1, "advice": "hwpoison"}),
        (4_000, "unlock_page", PAGE),
    )
    result = play(*steps, **_world("ext4"))
    assert [(row.found_ns, row.message) for row in result.errors] == [(4_000, "clean LRU")]
    assert len(log(result)) == 2


# -- by chance, with a signal under way -----------------------------------------------------------------


@pytest.mark.parametrize("delivery_ns", [0, 50_000])
def test_by_chance_too_the_handler_comes_before_the_store_that_waited(delivery_ns: int) -> None:
    times = replace(NO_TIME, signal_delivery=Delay(mean_ns=delivery_ns))
    result = play(*CHANCE, times=times, **_world("ext3", 1e7))
    told, repeated = result.signals[:2]
    assert (told.code, told.time_ns, told.done_ns) == ("BUS_MCEERR_AO", 6_000, 6_000 + delivery_ns)
    assert (repeated.code, repeated.time_ns) == ("BUS_MCEERR_AR", 6_000 + delivery_ns)


def test_a_touch_whose_signal_merges_is_made_again_after_the_handler() -> None:
    """SIGBUS does not queue: AR finds AO pending, and the access is repeated when that handler returns."""
    times = replace(NO_TIME, signal_delivery=Delay(mean_ns=50_000))
    region = RegionSpec("heap", "anon", 8, (Touch(1.0, 1e7, 0.0),))
    task = TaskSpec("app", regions=(region,), sigbus=SigbusSpec("return", "return"))
    result = play((3_000, "inject", {"page": heap(0)}), times=times, tasks=(task,), early_kill=1)
    assert [(row.code, row.result) for row in result.signals][:3] == [
        ("BUS_MCEERR_AO", "handled"),
        ("BUS_MCEERR_AR", "merged"),
        ("BUS_MCEERR_AR", "handled"),
    ]
    assert result.signals[2].time_ns == 53_000


@pytest.mark.parametrize(("store_per_s", "dirtied"), [(0.0, []), (1e9, [6_000])])
def test_the_log_says_when_stores_have_dirtied_the_page_during_the_wait(
    store_per_s: float, dirtied: list[int]
) -> None:
    result = play(*CHANCE, **_world("ext3", store_per_s))
    assert [time for time, event in happened(result) if event == "dirtied"] == dirtied
