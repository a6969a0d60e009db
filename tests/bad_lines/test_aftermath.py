"""What comes after, and between: shared heads, blocks, locks, panics, rendezvous, merged signals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hwsim.machine import run_replication
from hwsim.record import Replication
from hwsim.spec import (
    Delay,
    ErrorSpec,
    FileSpec,
    KernelPoolSpec,
    Place,
    RegionSpec,
    SigbusSpec,
    Spec,
    SwapCycle,
    TaskSpec,
    TimesSpec,
    Touch,
)
from tests.support.worlds import FILLER, HORIZON_NS, NO_TIME, P0, PFN, app, log, play, world

BUSY = (Touch(1.0, 1e6, 0.0),)  # a load of each page every microsecond


def heap(index: int, task: str = "app.0") -> dict[str, Any]:
    return {"region": f"{task}/heap", "index": index}


def test_two_errors_in_one_compound_page_leave_two_references_on_its_head() -> None:
    pools = (FILLER, KernelPoolSpec("slab_multi", 8, order=3))
    tails = [{"page": {"kernel": "slab_multi", "index": index}} for index in (1, 2)]
    result = play((1_000, "inject", tails[0]), (2_000, "inject", tails[1]), pools=pools)
    users = [text for text in log(result) if "still referenced" in text]
    assert users == [
        "MCE 0x1239: huge page still referenced by 1 users",
        "MCE 0x123a: huge page still referenced by 2 users",
    ]


def test_a_dropped_block_is_lost_once_however_many_of_its_pages_are_bad() -> None:
    bad = [(1_000 + n, "inject", {"page": {"free": 4 + n}}) for n in range(4)]
    take = {"kind": "high_order", "order": 3, "name": "block"}
    result = play(*bad, (5_000, "alloc", take))
    assert [row.end for row in result.errors] == ["isolated"] * 4
    assert result.row.capacity_lost_bytes == 8 * 4096


def test_truncation_by_chance_waits_for_the_page_lock() -> None:
    """memory_failure() holds the lock for 100 us; the file is truncated every microsecond."""
    times = replace(NO_TIME, page_handler=Delay(mean_ns=100_000))
    file = FileSpec("data", 8, truncate_per_s=1e6)
    steps = (
        (1_000, "write", {"task": "app.0", "file": "data", "index": 0}),
        (1_001, "inject", {"page": {"file": "data", "index": 0}}),
        (500_000, "fsync", {"task": "app.0", "file": "data"}),
    )
    result = play(*steps, files=(file,), times=times)
    assert (result.errors[0].row, result.errors[0].outcome) == (12, "Recovered")
    fsync = next(facts for _, event, facts in result.events if event == "script" and facts["verb"] == "fsync")
    assert fsync["result"] == "EIO"


def _paired(region: RegionSpec, early_kill: int) -> Replication:
    times = replace(TimesSpec(), lock_wait=Delay(mean_ns=3_000_000), rmap_per_vma=Delay(mean_ns=1_000_000))
    spec = world(
        (1_000, "inject", {"page": heap(0)}), tasks=(app(region),), times=times, early_kill=early_kill
    )
    return run_replication(replace(spec, horizon_ns=HORIZON_NS * 1_000_000), 0)


@pytest.mark.parametrize("rate_per_s", [0.01, 1.0, 300.0, 20_000.0])
@pytest.mark.parametrize("swap", [None, SwapCycle(10**18, dirty_mapped=1.0)])
def test_the_touch_prevented_is_the_touch_suffered(rate_per_s: float, swap: SwapCycle | None) -> None:
    """Law 4, with slow locks and slow collection, few and many touches, plain and swap-cache pages."""
    region = RegionSpec("heap", "anon", 8, touch=(Touch(1.0, rate_per_s, 0.0),), swap=swap)
    early, late = _paired(region, 1), _paired(region, 0)
    assert [row.cause for row in early.signals + late.signals] == ["early", "late"]
    prevented, suffered = early.signals[0].would_touch_ns, late.signals[0].time_ns
    if rate_per_s < 1_000:  # no touch falls into the millisecond that collecting takes
        assert prevented == suffered
    else:
        assert prevented is not None
        assert prevented >= suffered


def test_after_a_panic_nobody_is_killed_any_more() -> None:
    times = replace(NO_TIME, signal_delivery=Delay(mean_ns=300_000))
    steps = (
        (1_000, "inject", {"page": heap(0)}),
        (2_000, "inject", {"page": heap(1), "how": "line"}),
        (3_000, "load", {"task": "app.0", "page": heap(1)}),
    )
    result = play(*steps, times=times, reboot_ns=100_000)
    assert result.row.panics == 1
    assert [row.result for row in result.signals] == ["lost"]
    assert result.row.kills == 0


def test_no_task_reads_the_line_while_the_cpus_meet() -> None:
    """The handler runs at the end of the rendezvous, before the CPUs are back with their tasks."""
    region = RegionSpec("heap", "anon", 8, touch=BUSY, lines_per_touch=64)
    times = replace(NO_TIME, rendezvous=Delay(mean_ns=500_000))
    result = play((1_000, "mce", {"page": heap(0)}), tasks=(app(region),), times=times, early_kill=0)
    assert result.row.panics == 0
    assert [(row.cause, row.result) for row in result.signals] == [("late", "killed")]
    assert result.signals[0].time_ns >= 501_000


def test_a_second_sigbus_merges_into_the_one_under_way() -> None:
    times = replace(NO_TIME, signal_delivery=Delay(mean_ns=10_000))
    touch = (5_000, "load", {"task": "app.0", "page": heap(0)})
    result = play((1_000, "inject", {"page": heap(0)}), touch, times=times)
    assert [(row.code, row.result) for row in result.signals] == [
        ("BUS_MCEERR_AO", "killed"),
        ("BUS_MCEERR_AR", "merged"),
    ]


def test_sigkill_does_not_wait_for_a_handler() -> None:
    task = app(sigbus=SigbusSpec("remap", "remap"))
    times = replace(NO_TIME, sigbus_handler=Delay(mean_ns=100_000))
    steps = (
        (1_000, "store", {"task": "app.0", "page": heap(1)}),
        (2_000, "flags", {"page": heap(1), "set": ("dirty",), "clear": ()}),
        (3_000, "unmap_fails", {"page": heap(1), "tries": 5}),
        (4_000, "inject", {"page": heap(0)}),
        (5_000, "inject", {"page": heap(1)}),
    )
    result = play(*steps, tasks=(task,), times=times)
    assert [(row.signal, row.result, row.done_ns) for row in result.signals] == [
        ("SIGBUS", "lost", None),
        ("SIGKILL", "killed", 5_000),
    ]


def test_an_overwritten_line_does_not_unpoison_its_page() -> None:
    """Two truths: the line is good again, PG_hwpoison stays, and nothing is consumed any more."""
    pool = KernelPoolSpec("slab", 8, store_per_s=1e5, load_per_s=0.0, full_line=1.0)
    page = {"page": {"kernel": "slab", "index": 0}}
    result = play((1_000, "mce", page), pools=(FILLER, pool))
    assert [event for _, event, _ in result.events if event == "healed"] == ["healed"]
    row = result.errors[0]
    assert (row.message, row.outcome, row.end) == ("kernel slab", "Delayed", "reachable")
    assert result.row.panics == 0


def test_a_burst_ends_with_the_memory() -> None:
    spec = Spec(
        "end",
        10**9,
        1,
        1,
        replace(world().machine, hidden_pages=2),
        (ErrorSpec(5.0, Place("pfns", pfns=(8_192,)), burst_pages=4),),
        tasks=(TaskSpec("app", regions=(RegionSpec("heap", "anon", 8),)),),
    )
    assert {row.pfn for row in run_replication(spec, 0).errors} == {8_192, 8_193}


def test_where_nothing_is_said_pages_begin_at_the_first_page_of_interest() -> None:
    assert play((1_000, "inject", {"page": heap(0)})).errors[0].pfn == PFN == P0["pfn"]


def test_a_second_bad_line_of_a_page_outlives_the_first() -> None:
    """The first line is overwritten and healed; a load then meets the other one."""
    line = {"page": heap(0), "how": "line", "permanent": True}
    steps = (
        (1_000, "inject", {"page": heap(0), "how": "line", "line": 0}),
        (2_000, "inject", {**line, "line": 5}),
        (3_000, "store", {"task": "app.0", "page": heap(0), "full_line": True}),
        (4_000, "load", {"task": "app.0", "page": heap(0)}),
    )
    result = play(*steps)
    assert [(row.line, row.end) for row in result.errors] == [(0, "healed"), (5, "panic")]
    assert result.row.panics == 1


def test_bad_lines_of_a_page_follow_one_another_until_the_last() -> None:
    line = {"page": heap(0), "how": "line"}
    store = {"task": "app.0", "page": heap(0), "full_line": True}
    steps = (
        *((1_000 + n, "inject", {**line, "line": n, "permanent": n == 9}) for n in (0, 5, 9)),
        (2_000, "store", store),
        (3_000, "store", store),
        (4_000, "load", {"task": "app.0", "page": heap(0)}),
    )
    ends = [(row.line, row.end, row.end_ns) for row in play(*steps).errors]
    assert ends == [(0, "healed", 2_000), (5, "healed", 3_000), (9, "panic", 4_000)]


def test_a_child_shares_the_page_that_was_looked_at_before_the_fork() -> None:
    steps = (
        (500, "load", {"task": "app.0", "page": heap(0)}),
        (1_000, "fork", {"task": "app.0"}),
        (2_000, "inject", {"page": heap(0)}),
    )
    result = play(*steps, early_kill=0)
    left = {facts["task"]: facts["pte"] for _, event, facts in result.events if event == "unmapped"}
    assert (result.errors[0].mappers, left) == (2, {"app.0": "poison", "app.0.0": "poison"})


def test_a_child_that_inherits_the_poison_dies_of_its_own_touch() -> None:
    """Forked after the page was unmapped, its copy of the entry leads there too; either may be the first."""
    region = RegionSpec("heap", "anon", 8, touch=(Touch(1.0, 1e5, 0.0),))
    steps = (1_000, "inject", {"page": heap(0)}), (1_100, "fork", {"task": "app.0"})
    first = set()
    for seed in range(8):
        spec = world(*steps, tasks=(app(region),), early_kill=0)
        signals = run_replication(replace(spec, seed=seed), 0).signals
        assert sorted((row.task, row.cause) for row in signals) == [("app.0", "late"), ("app.0.0", "late")]
        assert signals[0].time_ns < signals[1].time_ns
        first.add(signals[0].task)
    assert first == {"app.0", "app.0.0"}


def test_touches_are_drawn_from_the_detection_on_however_long_the_handler_takes() -> None:
    """Law 4 for who maps a segment later: the same touch, whenever memory_failure() came to run."""
    region = RegionSpec("shm", "shm", 8, shared=True, touch=(Touch(1.0, 100.0, 0.0),))
    page = {"page": {"region": "app.0/shm", "index": 0}}
    steps = (1_000, "swap_out", page), (1_001, "mce", page), (300_000, "fork", {"task": "app.0"})
    deaths = []
    for delay_ns in (1_000, 100_000):
        times = replace(NO_TIME, workqueue=Delay(mean_ns=delay_ns))
        spec = world(*steps, tasks=(app(region),), early_kill=0, times=times, user_share=0.0)
        result = run_replication(replace(spec, horizon_ns=HORIZON_NS * 1_000), 0)
        assert result.errors[0].poisoned_ns == 1_001 + delay_ns
        deaths.append(sorted((row.task, row.time_ns) for row in result.signals))
    assert [task for task, _ in deaths[0]] == ["app.0", "app.0.0"]
    assert deaths[0] == deaths[1]


def test_who_maps_a_segment_without_contents_later_dies_of_it_too() -> None:
    """Poisoned while dirty in the swap cache: shmem_getpage() has nothing to give to any task."""
    region = RegionSpec("shm", "shm", 8, shared=True, touch=(Touch(1.0, 1e4, 0.0),))
    page = {"page": {"region": "app.0/shm", "index": 0}}
    steps = (1_000, "swap_out", page), (1_001, "inject", page), (1_100, "fork", {"task": "app.0"})
    result = play(*steps, tasks=(app(region),), early_kill=0)
    assert sorted((row.task, row.code, row.result) for row in result.signals) == [
        ("app.0", "BUS_ADRERR", "killed"),
        ("app.0.0", "BUS_ADRERR", "killed"),
    ]


REBOOT: tuple[int, str, dict[str, Any]] = (5_000, "reboot", {})
PERMANENT = (1_000, "inject", {"page": P0, "how": "line", "permanent": True})


def test_after_a_reboot_a_permanent_line_can_be_read_again() -> None:
    """The record keeps what the first boot made of it, but the error ends as the last one leaves it."""
    result = play(PERMANENT, (2_000, "mce", {"page": P0}), REBOOT, reboot_ns=1_000)
    row = result.errors[0]
    assert (row.message, row.outcome, row.contained_ns, row.end) == ("LRU", "Recovered", 2_000, "reachable")


def test_the_boot_in_which_a_line_is_found_is_the_one_on_record() -> None:
    found = (9_000, "mce", {"page": P0})
    row = play(PERMANENT, REBOOT, found, reboot_ns=1_000).errors[0]
    assert (row.found_ns, row.message, row.outcome) == (9_000, "free or high order kernel", "Ignored")
    row = play(PERMANENT, REBOOT, reboot_ns=1_000).errors[0]
    assert (row.found_ns, row.capacity_lost_bytes, row.end) == (None, 0, "latent")


def test_the_kernel_reads_its_own_memory() -> None:
    pools = (FILLER, KernelPoolSpec("slab", 8, load_per_s=1e7))
    bad = (1_000, "inject", {"page": {"kernel": "slab", "index": 0}, "how": "line", "permanent": True})
    result = play(bad, pools=pools)
    assert (result.errors[0].found, result.errors[0].end, result.row.panics) == ("kernel_load", "panic", 1)


@pytest.mark.parametrize(("permanent", "end"), [(False, "healed"), (True, "latent")])
def test_a_round_through_swap_heals_what_is_transient(permanent: bool, end: str) -> None:
    """Swapped in, its frame is written as a whole; swapped out, bad bytes go to the device."""
    cycle = SwapCycle(100_000, dirty_mapped=0.0, dirty_unmapped=0.0, clean_unmapped=0.5, clean_mapped=0.0)
    region = RegionSpec("heap", "anon", 8, swap=cycle)
    bad = (1_000, "inject", {"page": heap(0), "how": "line", "permanent": permanent})
    result = play(bad, tasks=(app(region),), device_read="silent")
    assert result.errors[0].end == end
    assert result.row.disk_corruptions == int(permanent)  # the transient one was out already


@pytest.mark.parametrize(
    ("sigbus", "touch", "needless"),
    [
        (SigbusSpec(), BUSY, "no"),
        (SigbusSpec(), (Touch(1.0, 0.0, 0.0),), "yes"),
        (SigbusSpec(), (Touch(1.0, 1e-3, 0.0),), "censored"),
        (SigbusSpec("remap", "remap"), (Touch(1.0, 0.0, 0.0),), ""),
    ],
)
def test_an_early_kill_is_needless_if_the_page_was_never_to_be_touched(
    sigbus: SigbusSpec, touch: tuple[Touch, ...], needless: str
) -> None:
    task = app(RegionSpec("heap", "anon", 8, touch=touch), sigbus=sigbus)
    signals = play((1_000, "inject", {"page": heap(0)}), tasks=(task,), early_kill=1).signals
    assert [(row.cause, row.needless) for row in signals] == [("early", needless)]


@pytest.mark.parametrize(("permanent", "ends"), [(False, {"healed"}), (True, {"reachable"})])
def test_an_allocation_clears_a_frame_and_heals_what_is_transient(permanent: bool, ends: set[str]) -> None:
    """A bad one goes to another owner: more than half of this memory is the kernel's."""
    pages = [{"page": {"free": n}} for n in range(4)]
    bad = [
        (1_000 + n, "inject", {**page, "how": "line", "permanent": permanent}) for n, page in enumerate(pages)
    ]
    frames = [row.pfn for row in play(*bad).errors]
    found = [(900_000 + n, "mce", {"page": {"pfn": pfn}}) for n, pfn in enumerate(frames)]
    result = play(*bad, *(found if permanent else ()), alloc_per_s=1e9)
    assert {row.end for row in result.errors} == ends
    assert ("reserved kernel" in {row.message for row in result.errors}) == permanent


@pytest.mark.parametrize(("share", "end"), [(1.0, "panic"), (0.0, "reachable")])
def test_memory_that_brought_the_machine_down_is_mended_or_not(share: float, end: str) -> None:
    load = (2_000, "load", {"task": "app.0", "page": heap(0)})
    result = play(PERMANENT, load, reboot_ns=1_000, repair_share=share)
    assert (result.row.panics, result.errors[0].end) == (1, end)


def test_the_frames_of_a_segment_are_free_when_its_last_user_is_gone() -> None:
    region = RegionSpec("shm", "shm", 8, shared=True)
    steps = PERMANENT, (2_000, "exit", {"task": "app.0"}), (3_000, "mce", {"page": P0})
    row = play(*steps, tasks=(app(region),)).errors[0]
    assert (row.kind, row.message, row.outcome) == ("free", "free or high order kernel", "Ignored")


def test_a_line_is_read_by_who_reads_it() -> None:
    """Three tasks map the file; only the second ever touches it."""
    quiet = RegionSpec("map", "file", 8, file="data", shared=True)
    busy = replace(quiet, touch=BUSY, lines_per_touch=64.0)
    tasks = (app(quiet), TaskSpec("busy", regions=(busy,)), TaskSpec("third", regions=(quiet,)))
    bad = (1_000, "inject", {"page": {"file": "data", "index": 0}, "how": "line", "permanent": True})
    result = play(bad, tasks=tasks, files=(FileSpec("data", 8),))
    readers = [facts["by"] for _, event, facts in result.events if event == "consumed"]
    assert readers == ["busy.0"]


@pytest.mark.parametrize(("permanent", "end"), [(False, "healed"), (True, "reachable")])
def test_a_frame_that_the_kernel_takes_brings_its_bad_line_along(permanent: bool, end: str) -> None:
    bad = (1_000, "inject", {"page": {"free": 0}, "how": "line", "permanent": permanent})
    take = (2_000, "alloc", {"kind": "slab", "order": 0, "name": "block"})
    found = (3_000, "mce", {"page": {"pfn": play(bad).errors[0].pfn}})
    row = play(bad, take, *([found] if permanent else [])).errors[0]
    assert (row.end, row.message) == (end, "kernel slab" if permanent else "")


def test_a_page_whose_owner_has_exited_is_free() -> None:
    steps = PERMANENT, (2_000, "exit", {"task": "app.0"}), (3_000, "mce", {"page": P0})
    row = play(*steps).errors[0]
    assert (row.kind, row.message, row.outcome) == ("free", "free or high order kernel", "Ignored")


@pytest.mark.parametrize(("lines", "found"), [(64.0, "task_load"), (0.0, "none")])
def test_the_first_touch_of_a_bad_frame_reads_as_much_of_it_as_any_touch(lines: float, found: str) -> None:
    """The frame is handed out at a task's first touch of memory that it has not touched before."""
    rare = (Touch(1.0, 1e5, 0.0),)  # not yet touched when it goes bad
    region = RegionSpec("heap", "anon", 8, touch=rare, lines_per_touch=lines, populate=False)
    row = play(PERMANENT, tasks=(app(region),)).errors[0]
    assert row.found == found


def test_a_permanent_second_line_survives_the_reboot_that_heals_the_first() -> None:
    line = {"page": heap(0), "how": "line"}
    steps: tuple[tuple[Any, ...], ...] = (
        (1_000, "inject", {**line, "line": 0, "permanent": False}),
        (2_000, "inject", {**line, "line": 5, "permanent": True}),
        (3_000, "inject", {**line, "line": 9, "permanent": False}),
        (4_000, "reboot", {}),
    )
    result = play(*steps, reboot_ns=1_000)
    assert [(row.line, row.end) for row in result.errors] == [
        (0, "rebooted"),
        (5, "latent"),
        (9, "duplicate"),
    ]
