"""Who is told of a lost write, what reads find, and what the tasks do meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from hwsim.machine import Machine, run_replication
from hwsim.memory.layout import MemoryLayout
from hwsim.record import LostWriteRow
from hwsim.spec import (
    Delay,
    ErrorSpec,
    FileSpec,
    FsyncSpec,
    MachineSpec,
    Place,
    RegionSpec,
    ScrubSpec,
    Spec,
    TaskSpec,
    Touch,
)
from hwsim.userspace.user_task import UserTask
from tests.support.worlds import (
    BARE,
    DATA,
    FILE,
    INJECT,
    NO_TIME,
    events_of,
    line,
    on_file,
    outcomes,
    play,
    world,
)
from tests.whole.accelerated import run
from tests.whole.shipped import NAMES

H, D = 3_600_000_000_000, 86_400_000_000_000
LOST = (on_file(500, "write", index=0), INJECT)


def lost(*steps: Any, **more: Any) -> LostWriteRow:
    (row,) = play(*steps, **more).lost_writes
    return row


# -- one case of each ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "told", "by", "swallowed"),
    [
        ([on_file(10_000, "fsync")], "writer", "fsync", ""),
        ([on_file(10_000, "sync_file_range")], "writer", "sync_file_range", ""),
        ([on_file(10_000, "write", index=5, sync=True)], "writer", "o_sync", ""),
        ([on_file(10_000, "fdatasync", task="app.1")], "bystander", "fdatasync", ""),
        (
            [on_file(10_000, "open", fd="new"), on_file(11_000, "fsync", fd="new")],
            "later_session",
            "fsync",
            "",
        ),
        ([on_file(10_000, "close"), on_file(11_000, "fsync")], "later_session", "fsync", ""),
        ([], "nobody", "", ""),
        ([(10_000, "sync"), on_file(11_000, "fsync")], "nobody", "", "sync"),
        ([on_file(8_000, "close"), (10_000, "evict", {"file": "data"})], "nobody", "", "inode"),
        ([on_file(10_000, "read", index=0)], "nobody", "", ""),
        ([on_file(10_000, "close")], "nobody", "", ""),
    ],
)
def test_who_is_told(steps: list[Any], told: str, by: str, swallowed: str) -> None:
    row = lost(*LOST, *steps, **BARE)
    assert (row.writer, row.told, row.told_by, row.swallowed) == ("app.0", told, by, swallowed)
    assert (row.told_ns is None) == (told == "nobody")
    assert (row.writer_told_ns is None) == (told != "writer")
    assert row.eio == 1


def test_close_on_nfs_tells_the_one_who_closes() -> None:
    nfs = {**BARE, "files": (FileSpec("data", 8, filesystem="nfs"),)}
    row = lost(*LOST, on_file(10_000, "close"), **nfs)
    assert (row.told, row.told_by, row.told_ns) == ("writer", "close", 10_000)


def test_of_two_descriptors_the_first_that_asks_is_told() -> None:
    both = [on_file(100, "open", fd="a"), on_file(100, "open", fd="b")]
    result = play(*both, *LOST, on_file(10_000, "fsync", fd="b"), on_file(11_000, "fsync", fd="a"), **BARE)
    assert outcomes(result)[-2:] == ["EIO", 0]
    assert result.lost_writes[0].told_tasks == 1


def test_a_child_shares_the_open_file_of_its_parent() -> None:
    fork = on_file(100, "open"), (200, "fork", {"task": "app.0"})
    row = lost(
        *fork, *LOST, on_file(10_000, "fsync", task="app.0.0"), **{**BARE, "tasks": (TaskSpec("app"),)}
    )
    assert (row.told, row.told_task) == ("bystander", "app.0.0")


def test_reads_of_the_lost_page_are_counted_until_it_is_written_again() -> None:
    reads = [on_file(at, "read", index=0) for at in (10_000, 12_000)]
    row = lost(*LOST, reads[0], on_file(11_000, "fsync"), reads[1], **BARE)
    assert (row.stale_before, row.first_stale_ns, row.reads_find) == (1, 10_000, "old data")
    row = lost(*LOST, on_file(9_500, "write", index=0), reads[0], **BARE)
    assert (row.stale_before, row.stale_after, row.end, row.end_ns) == (0, 0, "overwritten", 9_500)


def test_a_refused_page_of_a_block_device_keeps_its_error_and_is_written_out_bad() -> None:
    device: dict[str, Any] = {**BARE, "files": (FileSpec("data", 8, filesystem="blockdev"),)}
    steps = (
        on_file(500, "write", index=0),
        line(600, permanent=True),
        (700, "scrub", {"page": {"pfn": 0x1234}}),
    )
    result = play(*steps, on_file(10_000, "fsync"), **device)
    (row,), (error,) = result.lost_writes, result.errors
    assert (row.told, row.reads_find, error.outcome) == ("writer", "the page", "Failed")
    assert (error.disk_ns, error.contained_ns) == (10_000, None)


@pytest.mark.parametrize(("policy", "written"), [("silent", 2_000), ("UCNA", 2_000), ("fatal", None)])
def test_dma_of_a_bad_line_reaches_the_disk_unless_it_stops_the_machine(
    policy: str, written: int | None
) -> None:
    steps = on_file(500, "write", index=0), line(1_000), on_file(2_000, "fsync")
    (error,) = play(*steps, **BARE, device_read=policy).errors
    assert error.disk_ns == written
    assert (error.panic_ns is None) == (policy != "fatal")


def test_a_loss_that_sets_no_error_does_not_borrow_an_older_one() -> None:
    """A page of tmpfs that somebody has isolated is truncated without AS_EIO (row 14)."""
    tmpfs: dict[str, Any] = {**BARE, "files": (FileSpec("data", 8, filesystem="tmpfs"),)}
    page = {"file": "data", "index": 1}
    isolated = (9_500, "flags", {"page": page, "clear": ("lru",)}), (9_600, "inject", {"page": page})
    result = play(*LOST, *isolated, on_file(10_000, "fsync"), **tmpfs)
    assert [error.row for error in result.errors] == [12, 14]
    assert [(row.eio, row.told) for row in result.lost_writes] == [(1, "writer"), (0, "nobody")]


def test_only_who_has_a_poison_entry_is_kept_from_the_old_data() -> None:
    """Dirtied between page_mkclean() and try_to_unmap(), the page leaves an empty entry: it is read again."""
    region = RegionSpec("map", "file", 8, file="data", shared=True, touch=(Touch(1.0, 1e7, 0.0),))
    mapped: dict[str, Any] = {
        "tasks": (TaskSpec("app", regions=(region,)),),
        "files": (DATA,),
        "early_kill": 0,
    }
    slow = replace(NO_TIME, unmap=Delay("constant", mean_ns=1_000))
    flags = {"page": {"pfn": 0x1234}, "set": ("dirty",)}
    before, meanwhile = (play((at, "flags", flags), INJECT, **mapped, times=slow) for at in (500, 9_500))
    (never,), (again,) = before.lost_writes, meanwhile.lost_writes
    assert (never.stale_before, never.first_stale_ns) == (0, None)
    low, high = stats.poisson.ppf([1e-6, 1 - 1e-6], 1e7 * 990e-6)
    assert low <= again.stale_before <= high


def test_a_page_of_a_segment_is_lost_to_its_writer_and_reads_as_zeroes_elsewhere() -> None:
    """app.1 has not mapped the page: no entry, no signal, a new page."""
    segment = RegionSpec("seg", "shm", 8, shared=True)
    page = {"page": {"region": "app.0/seg", "index": 0}}
    stored = (500, "store", {"task": "app.0", **page})
    read = (10_000, "load", {"task": "app.1", "page": {"region": "app.1/seg", "index": 0}})
    touched = (11_000, "load", {"task": "app.0", **page})
    tasks: dict[str, Any] = {"tasks": (TaskSpec("app", count=2, regions=(segment,)),), "early_kill": 0}
    result = play(stored, INJECT, read, touched, (12_000, "exit", {"task": "app.1"}), **tasks)
    assert outcomes(result) == ["ok", "zeroes", "VM_FAULT_HWPOISON"]
    (row,) = result.lost_writes
    assert (row.file, row.writer, row.eio, row.reads_find) == ("app/seg", "app.0", 1, "zeroes")
    assert (row.told, row.told_by, row.told_ns, row.stale_before) == ("writer", "SIGBUS", 11_000, 1)
    assert (row.end, row.end_ns) == ("released", 12_000)


# -- by chance -------------------------------------------------------------------------------------

ASKS = FsyncSpec("data", 100_000)


def chance(fsync: FsyncSpec, *steps: Any, count: int = 3, **more: Any) -> Any:
    tasks = (TaskSpec("app", count=count, fsync=fsync),)
    return play(*LOST, *steps, tasks=tasks, files=(DATA,), **more)


def _members(fsync: FsyncSpec, count: int) -> list[UserTask]:
    spec = world(tasks=(TaskSpec("app", count=count, fsync=fsync),), files=(DATA,))
    machine = Machine(spec, 0, MemoryLayout(spec))
    assert machine.kernel.mem_map.by_name["file:data"].alive  # now its calls are drawn
    return machine.processes.groups[0].members


def test_the_first_tick_of_anybody_asks() -> None:
    row = chance(ASKS).lost_writes[0]
    ticks = {9_000 + (each.fsync_ns - 9_000) % 100_000: each.name for each in _members(ASKS, 3)}
    assert (row.told_ns, row.told_task) == min(ticks.items())
    assert row.told_by == "fsync"


def test_who_does_not_look_at_the_answer_takes_it_from_the_others() -> None:
    result = chance(replace(ASKS, checks=False))
    assert (result.lost_writes[0].told, result.lost_writes[0].swallowed) == ("nobody", "unchecked")
    assert result.reach["eio:unheard"] == 1


def test_a_periodic_sync_swallows() -> None:
    row = chance(replace(ASKS, every_ns=10**12), sync_every_ns=50_000).lost_writes[0]
    assert (row.told, row.swallowed) == ("nobody", "sync")


def test_a_periodic_sync_passes_a_file_without_pages() -> None:
    fsync = replace(ASKS, every_ns=10**12)
    files = (FileSpec("data", 1),)
    row = play(*LOST, tasks=(TaskSpec("app", fsync=fsync),), files=files, sync_every_ns=50_000).lost_writes[0]
    assert (row.told, row.swallowed) == ("nobody", "")


def test_an_inode_evicted_by_chance_drops_its_other_pages_too() -> None:
    files = (FileSpec("data", 8, evict_per_s=1e6),)
    bad = (700, "inject", {"page": {"file": "data", "index": 1}, "how": "line", "permanent": True})
    steps = (LOST[0], on_file(600, "close"), on_file(600, "write", index=1, task="app.1"), bad)
    close = on_file(800, "close", task="app.1")
    result = play(*steps, close, INJECT, **{**BARE, "files": files})
    evicted = [
        time for time, event, facts in result.events if event == "swallowed" and facts["by"] == "inode"
    ]
    assert evicted == [time for time, event, _ in result.events if event == "freed"]
    assert len(evicted) == 1
    (latent,) = (error for error in result.errors if error.pfn == 0x1235)
    assert latent.disk_ns == evicted[0]


def test_a_session_that_is_closed_asks_nobody() -> None:
    """The file is open for a tenth of each 400 us: it is told in the first session after the loss."""
    fsync = FsyncSpec("data", 10_000, reopen_ns=400_000, open_share=0.1)
    tasks, files = (TaskSpec("app", fsync=fsync),), (DATA,)
    late = on_file(199_999, "write", index=0), (200_000, "inject", {"page": {"pfn": 0x1234}})
    (row,) = play(*late, tasks=tasks, files=files).lost_writes
    start = _members(fsync, 1)[0].fsync_ns + 5_000
    assert row.told == "later_session"
    assert row.told_ns is not None
    assert (row.told_ns - start) % 400_000 < 40_000


def test_nobody_waits_when_nothing_is_lost() -> None:
    """No timer stands for an fsync that could meet nothing."""
    tasks = (TaskSpec("app", count=3, fsync=replace(ASKS, every_ns=1_000)),)
    assert events_of(world(*LOST, tasks=tasks, files=(DATA,))) < 40


def _busy(k: int, read_per_s: float = 0.0, sync_ns: int | None = None) -> Spec:
    """Every page of the file is dirty nearly always; k like processes write and ask."""
    file = FileSpec(
        "data", 4096, touch=(Touch(1.0, read_per_s, 1 / 60),), flush_every_ns=10_000 * D, lines_per_touch=0.01
    )
    task = TaskSpec("app", count=k, fsync=FsyncSpec("data", 7 * D))
    machine = MachineSpec(8192, scrub=ScrubSpec(H), times=NO_TIME, reboot_ns=None, sync_every_ns=sync_ns)
    errors = (ErrorSpec(8 / 86_400, Place("region", "file:data"), permanent=0.0),)
    return Spec("race", 60 * D, 11, 1, machine, errors, (file,), (task,))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_race_for_the_error_is_won_by_the_writer_once_in_k(k: int) -> None:
    """AS_EIO among k like callers: 1 / k (exact binomial, two-sided, 1e-4 for all three together)."""
    spec = _busy(k)
    rows = [row for index in range(6) for row in run_replication(spec, index).lost_writes]
    told = [row for row in rows if row.told_ns is not None]
    assert len(told) > 300
    won = sum(row.told == "writer" for row in told)
    if k == 1:
        assert won == len(told)
    else:
        assert stats.binomtest(won, len(told), 1 / k).pvalue > 1e-4 / 2


def test_stale_reads_come_at_the_rate_of_reading() -> None:
    """The sum of Poisson counts with a known mean (two-sided, 1e-4)."""
    spec = _busy(2, read_per_s=1 / 600)
    rows = [row for index in range(6) for row in run_replication(spec, index).lost_writes]
    expected = sum((row.end_ns - row.lost_ns) * 1e-9 / 600 for row in rows)
    seen = sum(row.stale_before + row.stale_after for row in rows)
    assert expected > 30
    low, high = stats.poisson.ppf([0.5e-4, 1 - 0.5e-4], expected)
    assert low <= seen <= high
    assert all((row.first_stale_ns is None) == (row.stale_before + row.stale_after == 0) for row in rows)


def test_a_later_sync_cannot_matter_before_it_comes() -> None:
    """The same errors are lost with and without a periodic sync; only who hears of them differs."""
    with_sync, without = (run_replication(_busy(3, sync_ns=sync), 0) for sync in (D // 2, None))
    assert sum(row.swallowed == "sync" for row in with_sync.lost_writes) > 10
    assert not any(row.swallowed for row in without.lost_writes)
    assert {row.error for row in with_sync.lost_writes} <= {row.error for row in without.lost_writes}


@pytest.mark.xdist_group("accelerated")
@pytest.mark.parametrize("name", NAMES)
def test_every_lost_write_ends_in_exactly_one_of_the_three(name: str) -> None:
    for each in run(name).replications:
        row = each.row
        assert row.lost_writes == row.told_writer + row.told_other + row.told_nobody == len(each.lost_writes)
        for one in each.lost_writes:
            assert (one.told == "nobody") == (one.told_ns is None)
            assert not (one.told_ns is not None and one.swallowed)
            assert one.end_ns >= one.lost_ns
            assert one.told_ns is None or one.told_ns >= one.lost_ns or one.told_by == "SIGBUS"


# -- between the find and the end ------------------------------------------------------------------


def _mapped(store_per_s: float, filesystem: str = "ext3") -> dict[str, Any]:
    touch = (Touch(1.0, 0.0, store_per_s),)
    region = RegionSpec("map", "file", 8, file="data", shared=True, touch=touch, full_line=0.0)
    files = (FileSpec("data", 8, filesystem=filesystem),)
    return {"tasks": (TaskSpec("app", regions=(region,)),), "files": files, "early_kill": 0}


WAITS = (
    (9_000, "flags", {"page": {"pfn": 0x1234}, "clear": ("dirty",)}),
    (9_000, "start_writeback", {"page": {"pfn": 0x1234}}),
    INJECT,
    (900_000, "end_writeback", {"page": {"pfn": 0x1234}}),
)


def test_a_store_during_the_writeback_wait_makes_the_page_dirty_again() -> None:
    """Rate 1e7 / s over 0.9 ms: no store at all has probability exp(-8800)."""
    clean, dirty = play(*WAITS, **_mapped(0.0)), play(*WAITS, **_mapped(1e7))
    assert (clean.errors[0].row, clean.errors[0].data_lost_bytes) == (13, 0)
    assert (dirty.errors[0].row, dirty.errors[0].data_lost_bytes) == (12, 4096)
    assert [error.touched for error in (clean.errors[0], dirty.errors[0])] == [0, 1]
    assert dirty.errors[0].unmapped_ns == 900_000


def test_readers_of_a_page_that_is_kept_are_told_by_eio() -> None:
    """Five reads of the page in ten microseconds by two tasks: one of them is the first to be told."""
    file = FileSpec("data", 8, touch=(Touch(1.0, 5e5, 0.0),))
    kept = {"tasks": BARE["tasks"], "files": (file,), "switches": (("pagecache_policy", "keep_poisoned"),)}
    row = lost(*LOST, **kept)
    assert (row.reads_find, row.told_by, row.stale_before, row.stale_after) == ("EIO", "read", 0, 0)
    assert row.told in ("writer", "bystander")
    assert row.told_ns is not None
    assert 0 < row.told_ns - row.lost_ns < 100_000
    silent = {**kept, "files": (replace(file, touch=(Touch(1.0, 0.0, 0.0),)),)}
    assert (lost(*LOST, **silent).told, lost(*LOST, **silent).told_by) == ("nobody", "")
    device = lost(*LOST, **(kept | {"files": (replace(file, filesystem="blockdev"),)}))
    assert (device.reads_find, device.told, device.told_by) == ("the page", "nobody", "")
    dropped = lost(*LOST, **(kept | {"switches": ()}))
    assert (dropped.reads_find, dropped.told, dropped.told_by) == ("old data", "nobody", "")
    assert dropped.stale_before > 0


@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "nfs"])
def test_where_page_mkwrite_takes_the_page_lock_a_store_waits(filesystem: str) -> None:
    (error,) = play(*WAITS, **_mapped(1e7, filesystem)).errors
    assert (error.row, error.data_lost_bytes, error.unmapped_ns) == (13, 0, 900_000)


def test_an_entry_still_writable_is_stored_to_while_the_handler_waits_for_the_lock() -> None:
    """Clean in PG_dirty, writable in the page table: page_mkwrite() is not asked again."""
    steps = (
        (1_000, "store", {"task": "app.0", "page": {"region": "app.0/map", "index": 0}, "until": "pte"}),
        (1_000, "lock_page", {"page": {"pfn": 0x1234}}),
        INJECT,
        (900_000, "unlock_page", {"page": {"pfn": 0x1234}}),
    )
    (error,) = play(*steps, **_mapped(1e7, "ext4")).errors
    assert (error.row, error.data_lost_bytes) == (12, 4096)


def test_the_window_of_a_late_kill_ends_with_the_death() -> None:
    touch = (Touch(1.0, 0.0, 0.0),)
    heap = RegionSpec("heap", "anon", 8, touch=touch)
    quiet = TaskSpec("app", regions=(heap, RegionSpec("more", "anon", 1000, touch=(Touch(1.0, 0.0, 10.0),))))
    load = (500_000, "load", {"task": "app.0", "page": {"region": "app.0/heap", "index": 0}})
    (signal,) = play(INJECT, load, tasks=(quiet,), early_kill=0).signals
    assert (signal.code, signal.result, signal.window_ns) == ("BUS_MCEERR_AR", "killed", 491_000)
    low, high = stats.poisson.ppf([1e-6, 1 - 1e-6], 1000 * 10 * 491e-6)
    assert low <= signal.stores <= high


def test_an_early_kill_leaves_no_window() -> None:
    (signal,) = play(INJECT, early_kill=1).signals
    assert (signal.code, signal.window_ns, signal.stores) == ("BUS_MCEERR_AO", 0, 0)


def test_a_clean_page_is_no_lost_write() -> None:
    assert play(INJECT, **BARE).lost_writes == []
    assert play(INJECT, **FILE, early_kill=0).row.lost_writes == 0
