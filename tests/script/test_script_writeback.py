"""A script's pages and the flusher: how long they are dirty, and what starts their age anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hwsim.kernel import page_flags as pg
from hwsim.machine import Machine, MemoryLayout
from hwsim.record import Replication
from hwsim.spec import Delay, FileSpec, FsyncSpec, ScriptStep, Spec, TaskSpec, Touch
from tests.support.worlds import FILLER, INJECT, NO_TIME, P0, happened, machine, outcomes, run, world

S = 1_000_000_000


def script(*steps: tuple[Any, ...], kernel: str = "2.6.32", seed: int = 1, **file: Any) -> Replication:
    """A cached file of 8 pages that nobody touches but the script; times in s."""
    made = tuple(
        ScriptStep(int(step[0] * S), step[1], step[2] if len(step) > 2 else {}, f"script[{number}]")
        for number, step in enumerate(steps)
    )
    files = (FileSpec("data", 8, **file),)
    tasks = (TaskSpec("app"),)
    return run(Spec("test", 300 * S, seed, 1, machine(kernel=kernel), (), files, tasks, (FILLER,), made))


def on(at: float, verb: str, index: int | None = None, **more: Any) -> tuple[float, str, dict[str, Any]]:
    page = {} if index is None else {"index": index}
    return at, verb, {"task": "app.0", "file": "data", **page, **more}


def inject(at: float, index: int = 0) -> tuple[float, str, dict[str, Any]]:
    return at, "inject", {"page": {"file": "data", "index": index}}


def is_lost(result: Replication) -> bool:
    """Whether the page was dirty when memory_failure() dropped it."""
    assert result.errors[0].row in (12, 13)
    assert bool(result.lost_writes) == (result.errors[0].row == 12)
    return bool(result.lost_writes)


def lost_of_20(*steps: tuple[Any, ...], **more: Any) -> int:
    """In how many of 20 machines, whose flusher has another phase each, the write is lost."""
    return sum(is_lost(script(*steps, seed=seed, **more)) for seed in range(20))


@pytest.mark.parametrize("kernel", ["v5", "2.6.32"])
def test_a_page_written_a_while_ago_is_dirty_for_thirty_seconds(kernel: str) -> None:
    def after(seconds: float) -> int:
        return lost_of_20(on(181, "write", 2), inject(181 + seconds, 2), kernel=kernel)

    assert (after(10), after(29.9), after(35)) == (20, 20, 0)
    assert 4 <= after(32.5) <= 16


def test_the_loss_is_told() -> None:
    result = script(on(181, "write", 2), inject(191, 2), on(192, "fsync"))
    assert outcomes(result)[-1] == "EIO"
    assert result.lost_writes[0].told == "writer"


def test_the_age_is_the_inode_s() -> None:
    """Another page was stored to 20 s before: both are written with it."""
    assert lost_of_20(on(100, "write", 5), on(120, "write", 2), inject(129.9, 2)) == 20
    assert lost_of_20(on(100, "write", 5), on(120, "write", 2), inject(135, 2)) == 0
    assert lost_of_20(on(100, "write", 5), on(136, "write", 2), inject(165.9, 2)) == 20  # anew


@pytest.mark.parametrize(
    "call",
    [
        (on(110, "fsync"),),
        ((110, "sync"),),
        (on(105, "close"), (110, "evict", {"file": "data"})),
    ],
)
def test_calls_start_the_age_anew(call: tuple[Any, ...]) -> None:
    steps = on(100, "write", 2), *call
    if call[-1][1] != "evict":
        assert lost_of_20(*steps, inject(111, 2)) == 0
    assert lost_of_20(*steps, on(120, "write", 3), inject(149.9, 3)) == 20
    assert lost_of_20(*steps, on(120, "write", 3), inject(155, 3)) == 0


def test_o_sync_writes_its_range_and_leaves_the_age_of_the_rest() -> None:
    steps = on(100, "write", 5), on(110, "write", 2, sync=True)
    assert lost_of_20(*steps, inject(111, 2)) == 0
    assert lost_of_20(*steps, inject(129.9, 5)) == 20
    assert lost_of_20(*steps, inject(135, 5)) == 0


@pytest.mark.parametrize("kernel", ["v5", "2.6.32"])
@pytest.mark.parametrize(
    "call",
    [on(110, "sync_file_range"), on(110, "fdatasync"), on(110, "write", 2, sync=True)],
)
def test_calls_that_do_not_write_the_inode_leave_its_age(call: tuple[Any, ...], kernel: str) -> None:
    """I_DIRTY_PAGES and dirtied_when stay (simple_fsync(), fs/libfs.c; generic_osync_inode(), 2.6.30)."""
    steps = on(100, "write", 2), call
    assert lost_of_20(*steps, inject(111, 2), kernel=kernel) == 0
    assert lost_of_20(*steps, on(120, "write", 2), inject(129.9, 2), kernel=kernel) == 20
    assert lost_of_20(*steps, on(120, "write", 2), inject(135, 2), kernel=kernel) == 0  # of the first store
    assert lost_of_20(*steps, on(136, "write", 2), inject(165.9, 2), kernel=kernel) == 20  # clean since then


@pytest.mark.parametrize("filesystem", ["ext2", "ext3", "ext4", "xfs", "nfs", "blockdev"])
def test_whether_fsync_writes_the_inode_is_the_file_system_s(filesystem: str) -> None:
    """sync_inode() in ext2, ext3 and ext4; XFS logs it, NFS and devices write pages alone."""
    lost = lost_of_20(
        on(100, "write", 2), on(110, "fsync"), on(120, "write", 2), inject(135, 2), filesystem=filesystem
    )
    assert lost == (20 if filesystem in ("ext2", "ext3", "ext4") else 0)


def test_a_store_during_writeback_leaves_the_time_of_first_dirtying() -> None:
    page = {"page": {"file": "data", "index": 2}}
    steps = (
        on(100, "write", 2),
        (110, "start_writeback", page),
        on(111, "write", 2),
        (112, "end_writeback", page),
    )
    assert lost_of_20(*steps, inject(129.9, 2)) == 20
    assert lost_of_20(*steps, inject(135, 2)) == 0


def test_a_store_in_the_window_of_a_wake_waits_for_the_next() -> None:
    """A page written again after the flusher has cleaned the file is not old at the next wake."""
    assert lost_of_20(on(100, "write", 2), on(136, "write", 2), on(137, "write", 3), inject(165.9, 3)) == 20


WRITTEN = {"page": {"file": "data", "index": 2}}


@pytest.mark.parametrize(
    "call", [on(103, "fsync"), on(103, "sync_file_range"), on(103, "write", 2, sync=True)]
)
def test_a_call_waits_for_a_write_out_that_is_under_way(call: tuple[Any, ...]) -> None:
    """It asks for errors when the wait is over, and is told of what was lost meanwhile."""
    steps = (
        on(100, "write", 2),
        on(100, "write", 3),
        (102, "start_writeback", WRITTEN),
        call,
        on(103.5, "write", 3),
        inject(104, 3),
        (106, "end_writeback", WRITTEN),
    )
    result = script(*steps)
    assert [row.told_ns for row in result.lost_writes] == [106 * S]
    answered = [facts.get("answered_ns") for _, event, facts in result.events if event == "script"]
    assert answered == [None, None, None, 106 * S, None, None, None]
    assert outcomes(script(*steps[:-1]))[2:] == [
        "ok"
    ]  # without an end there is no answer: of the last write()


def test_fsync_writes_a_page_when_its_write_out_of_older_data_is_over() -> None:
    """DMA of the newer data reads a line that went bad meanwhile; memory_failure() waits for the lock."""
    steps = on(100, "write", 2), (102, "start_writeback", WRITTEN), on(103, "write", 2), on(104, "fsync")
    bad = 105, "inject", {**WRITTEN, "how": "line"}
    end = 106, "end_writeback", WRITTEN
    assert script(*steps, bad, end).row.disk_corruptions == 1
    result = script(*steps, inject(105, 2), end)
    assert (result.errors[0].row, result.errors[0].contained_ns, outcomes(result)[-1]) == (13, 106 * S, 0)


@pytest.mark.parametrize(("restart_s", "row"), [(None, 12), (5, 13)])
def test_who_is_gone_calls_fsync_no_more(restart_s: int | None, row: int) -> None:
    """The supervisor's new process calls it again."""
    caller = TaskSpec(
        "caller", fsync=FsyncSpec("data", 2 * S), restart_ns=None if restart_s is None else restart_s * S
    )
    steps = (
        ScriptStep(50 * S, "exit", {"task": "caller.0"}, "script[0]"),
        ScriptStep(100 * S, *on(100, "write", 2)[1:], "script[1]"),
        ScriptStep(103 * S, "inject", WRITTEN, "script[2]"),
    )
    files, tasks = (FileSpec("data", 8),), (caller, TaskSpec("app"))
    result = run(Spec("test", 300 * S, 1, 1, machine(kernel="2.6.32"), (), files, tasks, (FILLER,), steps))
    assert result.errors[0].row == row


def test_a_write_out_of_long_ago_holds_nobody_up() -> None:
    """In most machines the page, written at about 70 s, is under writeback when its error comes."""
    touch, found = (Touch(1.0, 0.0, 1 / 15),), []
    times = replace(NO_TIME, writeback=Delay(mean_ns=20 * S))
    steps = (
        ScriptStep(75 * S, "inject", {**WRITTEN, "how": "line", "permanent": True}, "script[0]"),
        ScriptStep(98 * S, "scrub", WRITTEN, "script[1]"),
    )
    files = (FileSpec("data", 8, touch=touch, lines_per_touch=1),)
    for seed in range(12):
        result = run(Spec("test", 99 * S, seed, 1, machine(times=times), (), files, (), (FILLER,), steps))
        found.append(result.errors[0].outcome)
    assert found == ["Recovered"] * 12


@pytest.mark.parametrize("kernel", ["v5", "2.6.32"])
def test_an_age_of_nothing_is_old_at_the_next_wake(kernel: str) -> None:
    """proc_dointvec_userhz_jiffies() takes vm.dirty_expire_centisecs = 0 (kernel/sysctl.c)."""
    zero = (90, "sysctl", {"name": "vm.dirty_expire_centisecs", "value": 0})
    assert outcomes(script(zero, kernel=kernel)) == [0]
    assert lost_of_20(zero, on(100, "write", 2), inject(105, 2), kernel=kernel) == 0
    assert 4 <= lost_of_20(zero, on(100, "write", 2), inject(102.5, 2), kernel=kernel) <= 16
    assert lost_of_20(zero, on(100, "write", 2), inject(105, 2), flush_every_ns=0, kernel=kernel) == 20


def test_a_file_that_is_never_flushed() -> None:
    assert lost_of_20(on(10, "write", 2), inject(290, 2), flush_every_ns=0) == 20


@pytest.mark.parametrize("kernel", ["v5", "2.6.32"])
def test_sysctls_written_meanwhile(kernel: str) -> None:
    def write(at: float, name: str, value: int) -> tuple[float, str, dict[str, Any]]:
        return at, "sysctl", {"name": f"vm.dirty_{name}_centisecs", "value": value}

    stored = on(100, "write", 2)
    assert lost_of_20(stored, write(110, "expire", 1_200), inject(111, 2), kernel=kernel) == 20
    assert lost_of_20(stored, write(110, "expire", 1_200), inject(117, 2), kernel=kernel) == 0
    assert lost_of_20(stored, write(110, "expire", 6_000), inject(159, 2), kernel=kernel) == 20
    assert lost_of_20(stored, write(110, "expire", 6_000), inject(165, 2), kernel=kernel) == 0
    assert lost_of_20(stored, write(110, "writeback", 0), inject(290, 2), kernel=kernel) == 20
    # A wake each minute: pdflush counts it from the write, the thread from its next wake.
    slow = stored, write(110, "writeback", 6_000)
    assert lost_of_20(*slow, inject(169.9, 2), kernel=kernel) == 20
    assert lost_of_20(*slow, inject(175.1, 2), kernel=kernel) == 0
    assert lost_of_20(*slow, inject(170.1, 2), kernel=kernel) == (
        0 if kernel == "v5" else pytest.approx(20, abs=1)
    )


def test_a_bad_line_meets_the_flusher_s_dma() -> None:
    """The device reads the page when the inode is written, and not when the page was clean by then."""
    bad = 110, "inject", {"page": {"file": "data", "index": 2}, "how": "line", "line": 7}
    runs = [script(on(100, "write", 2), bad, seed=seed) for seed in range(20)]
    times = [result.errors[0].disk_ns for result in runs]
    assert [[time for time, event, _ in result.events if event == "written_back"] for result in runs] == [
        [time] for time in times
    ]
    assert all(time is not None and 130 * S <= time < 135 * S for time in times)
    assert len(set(times)) == 20
    page = {"page": {"file": "data", "index": 2}}
    cleaned = (105, "start_writeback", page), (106, "end_writeback", page)
    assert script(on(100, "write", 2), *cleaned, bad).errors[0].disk_ns is None
    early = script(on(100, "write", 2), bad, on(120, "fsync"))
    assert early.errors[0].disk_ns == 120 * S


def test_a_poisoned_page_that_stays_in_the_cache_dirties_its_file_as_before() -> None:
    """v5 drops no page of a block device: the test counts its own reference.  write() goes on storing."""
    file = FileSpec("data", 1, "blockdev", touch=(Touch(1.0, 0.0, 1.0),))
    spec = replace(world(INJECT, tasks=(), files=(file,)), horizon_ns=200 * S)
    played = Machine(spec, 0, MemoryLayout(spec))
    played.run()
    mapping = played.kernel.mem_map.by_name["file:data"].mapping
    assert mapping is not None
    assert mapping.pages[0].flags & pg.HWPOISON
    assert mapping.host is not None
    assert 160 * S < mapping.host.clean_at(200 * S) < 200 * S  # every 31 to 36 s


def test_a_store_beside_the_bad_line_brings_the_write_out_that_meets_it() -> None:
    """By write(), once in a second: dirty for 30 s, and out with the next wake of the flusher."""
    file = FileSpec("data", 8, touch=(Touch(1.0, 0.0, 1.0),), lines_per_touch=0.01)
    bad = (9_000, "inject", {"page": P0, "how": "line", "line": 7})
    result = run(replace(world(bad, tasks=(), files=(file,)), horizon_ns=200_000_000_000))
    assert happened(result)[-4:] == [
        (499_322_721, "dirtied"),
        (30_233_377_668, "written_back"),
        (30_233_377_668, "found"),
        (30_233_377_668, "disk"),
    ]
