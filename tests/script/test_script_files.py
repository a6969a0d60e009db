"""Scripts with files and swap: who is told of a lost write, what is read after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hwsim.script.step import ScriptError
from hwsim.spec import Delay, FileSpec, RegionSpec, TaskSpec
from tests.support.worlds import BARE, FILE, INJECT, NO_TIME, P0, app, heap, on_file, outcomes, play, touch

# -- files: who is told ------------------------------------------------------------------------------

LOST = (on_file(500, "write", index=0), INJECT)


def test_the_first_who_asks_is_told_and_it_is_gone() -> None:
    result = play(*LOST, on_file(10_000, "fsync"), on_file(11_000, "fsync"), **BARE)
    assert outcomes(result)[1:] == ["EIO", 0]
    assert result.errors[0].data_lost_bytes == 4096


@pytest.mark.parametrize("verb", ["fsync", "fdatasync"])
def test_a_bystander_is_told_instead_of_the_writer(verb: str) -> None:
    result = play(*LOST, on_file(10_000, verb, task="app.1"), on_file(11_000, verb), **BARE)
    assert outcomes(result)[1:] == ["EIO", 0]


def test_sync_swallows_the_error() -> None:
    result = play(*LOST, (10_000, "sync"), on_file(11_000, "fsync"), **BARE)
    assert outcomes(result)[1:] == [0, 0]
    assert result.reach["eio:swallowed_by_sync"] == 1


def test_close_tells_only_on_nfs() -> None:
    local = play(*LOST, on_file(10_000, "close"), on_file(11_000, "fsync"), **BARE)
    assert outcomes(local)[1:] == [0, "EIO"]
    nfs = {**BARE, "files": (FileSpec("data", 8, filesystem="nfs"),)}
    remote = play(*LOST, on_file(10_000, "close"), on_file(11_000, "open"), on_file(12_000, "fsync"), **nfs)
    assert outcomes(remote)[1:] == ["EIO", 0, 0]


def test_msync_is_told_by_who_maps_the_file() -> None:
    result = play(*LOST, on_file(10_000, "msync"), **FILE, early_kill=0)
    assert outcomes(result)[1:] == ["EIO"]


def test_a_read_after_the_loss_gives_old_data_and_no_error() -> None:
    result = play(*LOST, on_file(10_000, "read", index=0), on_file(11_000, "read", index=0), **BARE)
    assert outcomes(result)[1:] == ["stale", "ok"]


def test_a_clean_page_is_read_again() -> None:
    assert outcomes(play(INJECT, on_file(10_000, "read", index=0), **BARE)) == ["reread_disk"]


def test_fsync_cleans_and_a_clean_page_loses_nothing() -> None:
    result = play(on_file(500, "write", index=0), on_file(1_000, "fsync"), INJECT, **BARE)
    assert (result.errors[0].row, result.errors[0].data_lost_bytes) == (13, 0)


def test_a_page_of_tmpfs_comes_back_as_zeroes() -> None:
    tmp = {**BARE, "files": (FileSpec("data", 8, filesystem="tmpfs"),)}
    assert outcomes(play(INJECT, on_file(10_000, "read", index=0), **tmp)) == ["zeroes"]


def test_truncate() -> None:
    steps = [
        (1_000, "truncate", {"file": "data", "pages": 4}),
        on_file(2_000, "read", index=5),
        on_file(2_000, "read", index=3),
        on_file(3_000, "write", index=5),
        on_file(4_000, "read", index=5),
    ]
    assert outcomes(play(*steps, **BARE)) == ["end of file", "ok", "ok", "ok"]


def test_a_frame_cut_from_a_file_is_free() -> None:
    result = play((1_000, "truncate", {"file": "data", "pages": 0}), INJECT, **BARE)
    assert (result.errors[0].kind, result.errors[0].message) == ("free", "free or high order kernel")


# -- what a page says besides, and what waits for it ---------------------------------------------------

DEVICE: dict[str, Any] = {**BARE, "files": (FileSpec("data", 8, filesystem="blockdev"),)}


def test_a_refused_page_gives_eio_whenever_it_is_written_back() -> None:
    """PG_error stays: AS_EIO is asked for once, the page each time that fsync() has written it."""
    again = [on_file(at, verb, **more) for at, verb, more in (
        (10_000, "fsync", {}), (11_000, "fsync", {}),
        (12_000, "write", {"index": 0}), (13_000, "fsync", {}),
        (14_000, "write", {"index": 0}), (15_000, "write", {"index": 1, "sync": True}), (16_000, "fsync", {}),
    )]  # fmt: skip
    assert outcomes(play(*LOST, *again, **DEVICE))[1:] == ["EIO", 0, "ok", "EIO", "ok", 0, "EIO"]


def test_what_a_sync_has_swallowed_the_page_tells_later() -> None:
    dirty = (11_000, "flags", {"page": P0, "set": ("dirty",)})
    steps = (*LOST, (10_000, "sync"), dirty, on_file(12_000, "fsync"), on_file(13_000, "fsync"))
    result = play(*steps, **DEVICE)
    assert outcomes(result)[1:] == [0, "set", "EIO", 0]
    (row,) = result.lost_writes
    assert (row.told, row.told_ns, row.swallowed) == ("writer", 12_000, "")


def test_an_o_sync_write_writes_its_own_page_only() -> None:
    steps = (on_file(500, "write", index=0), on_file(1_000, "write", index=5, sync=True), INJECT)
    assert play(*steps, **BARE).errors[0].data_lost_bytes == 4096
    assert play(*steps[:1], on_file(1_000, "sync_file_range"), INJECT, **BARE).errors[0].data_lost_bytes == 0


def test_sync_passes_a_file_without_pages() -> None:
    """nrpages is 0 after the only page was dropped: the error waits for the next fsync()."""
    one: dict[str, Any] = {**BARE, "files": (FileSpec("data", 1),)}
    asks = ((10_000, "sync"), on_file(11_000, "fsync"))
    assert outcomes(play(*LOST, *asks, **one))[1:] == [0, "EIO"]
    read = on_file(9_500, "read", index=0)
    assert outcomes(play(*LOST, read, *asks, **one))[1:] == ["stale", 0, 0]


SLOW = {"times": replace(NO_TIME, page_handler=Delay("constant", mean_ns=5_000))}  # 9000 to 14000


def test_a_write_waits_for_memory_failure_and_goes_to_a_new_page() -> None:
    result = play(on_file(500, "write", index=0), INJECT, on_file(10_000, "write", index=0), **BARE, **SLOW)
    (row,) = result.lost_writes
    assert (row.lost_ns, row.end, row.end_ns) == (14_000, "overwritten", 14_000)
    result = play(*LOST, on_file(10_000, "write", index=0), on_file(20_000, "read", index=0), **BARE, **SLOW)
    assert outcomes(result)[1:] == ["ok", "ok"]


@pytest.mark.parametrize("verb", ["fsync", "fdatasync", "sync_file_range"])
def test_who_writes_back_waits_for_memory_failure_and_is_told(verb: str) -> None:
    result = play(*LOST, on_file(10_000, verb), **BARE, **SLOW)
    assert outcomes(result)[1:] == ["EIO"]
    assert (result.lost_writes[0].told_by, result.lost_writes[0].told_ns) == (verb, 14_000)


def test_sync_waits_for_memory_failure_and_swallows() -> None:
    (row,) = play(*LOST, (10_000, "sync"), **BARE, **SLOW).lost_writes
    assert (row.eio, row.swallowed) == (1, "sync")


def test_who_dies_in_the_wait_gets_no_answer() -> None:
    result = play(*LOST, on_file(10_000, "fsync"), (11_000, "exit", {"task": "app.0"}), **BARE, **SLOW)
    assert [facts.get("skipped") for _, event, facts in result.events if event == "script"][2:] == [
        'task "app.0" died while it waited',
        None,
    ]


# -- open files --------------------------------------------------------------------------------------

ERRSEQ = {"switches": (("eio_mode", "errseq"),)}
STICKY = {"switches": (("eio_mode", "sticky_until_last_close"),)}


def test_errseq_counts_from_the_start_of_a_task_that_opened_nothing() -> None:
    """app.0 has started anew before the loss and asks after somebody else was told."""
    world: dict[str, Any] = {**BARE, "tasks": (TaskSpec("app", count=2, restart_ns=1_000),), **ERRSEQ}
    again = (1_000, "exit", {"task": "app.0"})
    lose = (on_file(500, "write", "app.1", index=0), again, INJECT)
    asks = (on_file(10_000, "fsync", "app.1"), on_file(11_000, "fsync"), on_file(12_000, "fsync"))
    assert outcomes(play(*lose, *asks, **world))[1:] == ["EIO", "EIO", 0]
    late = (lose[0], INJECT, asks[0], (10_200, "exit", {"task": "app.0"}), on_file(12_000, "fsync"))
    assert outcomes(play(*late, **world))[1:] == ["EIO", 0]  # it starts again after all have been told


def test_errseq_asks_once_for_a_file_that_a_fork_shares() -> None:
    fork = (100, "fork", {"task": "app.0"})
    asks = (on_file(10_000, "fsync", "app.0.0"), on_file(11_000, "fsync"), on_file(12_000, "fsync", "app.1"))
    assert outcomes(play(fork, *LOST, *asks, **BARE, **ERRSEQ))[2:] == ["EIO", 0, "EIO"]


@pytest.mark.parametrize("filesystem", ["tmpfs", "ramfs"])
def test_memory_file_systems_have_no_fsync_where_there_is_errseq(filesystem: str) -> None:
    """2.6.30 asks the mapping all the same: do_fsync() ends in filemap_fdatawait()."""
    memory: dict[str, Any] = {**BARE, "files": (FileSpec("data", 8, filesystem=filesystem),)}
    assert outcomes(play(*LOST, on_file(10_000, "fsync"), **memory))[1:] == ["EIO"]
    assert outcomes(play(*LOST, on_file(10_000, "fsync"), **memory, **ERRSEQ))[1:] == [0]


def test_msync_asks_through_the_file_that_was_mapped() -> None:
    asks = (on_file(10_000, "fsync", fd="log"), on_file(11_000, "msync"), on_file(12_000, "msync"))
    assert outcomes(play(*LOST, *asks, **FILE, **ERRSEQ, early_kill=0))[1:] == ["EIO", "EIO", 0]
    same = (on_file(10_000, "fsync"), on_file(11_000, "msync"))  # of the descriptor that was mapped
    assert outcomes(play(*LOST, *same, **FILE, **ERRSEQ, early_kill=0))[1:] == ["EIO", 0]


def test_the_last_close_counts_files_open_from_the_start() -> None:
    both = (on_file(10_000, "close"), on_file(12_000, "fsync", "app.1"), on_file(13_000, "close", "app.1"))
    result = play(*LOST, *both, on_file(14_000, "fsync"), **BARE, **STICKY)
    assert outcomes(result)[1:] == [0, "EIO", 0, 0]


def test_the_last_close_counts_mappings() -> None:
    unmap = (11_000, "munmap", {"task": "app.0", "region": "map", "first": 0, "pages": 8})
    steps = (*LOST, on_file(10_000, "close"), on_file(10_500, "fsync"), on_file(10_600, "close"))
    assert outcomes(play(*steps, **FILE, **STICKY, early_kill=0))[1:] == [0, "EIO", 0]
    gone = play(*steps, unmap, on_file(12_000, "fsync"), **FILE, **STICKY, early_kill=0)
    assert outcomes(gone)[-1] == 0
    assert [(time, facts["by"]) for time, event, facts in gone.events if event == "forgotten"] == [
        (11_000, "last close")
    ]


def test_the_last_close_of_a_device_takes_its_pages_and_its_error() -> None:
    open_again = (
        on_file(11_000, "fsync"),
        on_file(12_000, "read", index=0),
        on_file(12_000, "read", index=1),
    )
    steps = (*LOST, on_file(9_500, "write", index=1), on_file(10_000, "close"), *open_again)
    result = play(*steps, **DEVICE)
    assert outcomes(result)[2:] == [0, 0, "reread_disk", "reread_disk"]
    (row,) = result.lost_writes
    assert (row.told, row.swallowed, row.end) == ("nobody", "close", "horizon")
    shared = play(on_file(100, "fsync", "app.1"), *steps, **DEVICE)
    assert outcomes(shared)[3:5] == [0, "EIO"]


def test_the_exit_of_the_last_user_closes_a_device() -> None:
    (row,) = play(*LOST, (10_000, "exit", {"task": "app.0"}), **DEVICE).lost_writes
    assert row.swallowed == "close"


# -- the inode leaves memory ---------------------------------------------------------------------------

CLOSED = (on_file(10_000, "close"), (11_000, "evict", {"file": "data"}))


def test_an_inode_is_written_back_and_takes_its_pages_and_its_error_along() -> None:
    steps = (
        on_file(500, "write", index=0),
        INJECT,
        on_file(9_500, "write", index=1),
        line_at(0x1235),
        *CLOSED,
    )
    result = play(*steps, on_file(12_000, "read", index=0), on_file(13_000, "fsync"), **BARE)
    assert outcomes(result)[2:] == [0, "an error is lost", "stale", 0]
    assert [(row.kind, row.disk_ns) for row in result.errors] == [("file", None), ("file", 11_000)]
    (row,) = result.lost_writes
    assert (row.told, row.swallowed, row.stale_before) == ("nobody", "inode", 1)


def line_at(pfn: int) -> tuple[int, str, dict[str, Any]]:
    return 9_600, "inject", {"page": {"pfn": pfn}, "how": "line", "permanent": True}


def test_a_page_kept_as_a_marker_goes_with_the_inode() -> None:
    """Nobody is told of it later: reads find what the disk has."""
    after = (on_file(12_000, "fsync"), on_file(13_000, "read", index=0))
    read = on_file(9_500, "read", index=0)
    result = play(*LOST, read, *CLOSED, *after, **BARE, switches=(("eio_mode", "keep_page"),))
    assert outcomes(result)[1:] == ["EIO", 0, "an error is lost", 0, "stale"]
    (row,) = result.lost_writes
    assert (row.told, row.swallowed, row.reads_find) == ("nobody", "inode", "EIO")
    assert (row.stale_before, row.first_stale_ns) == (1, 13_000)


def test_an_inode_waits_for_memory_failure() -> None:
    result = play(LOST[0], on_file(600, "close"), INJECT, *CLOSED[1:], **BARE, **SLOW)
    assert outcomes(result)[2:] == ["an error is lost"]
    assert [time for time, event, _ in result.events if event == "lost_write"] == [14_000]
    assert result.lost_writes[0].swallowed == "inode"


@pytest.mark.parametrize("filesystem", ["tmpfs", "ramfs", "blockdev"])
def test_inodes_that_stay_in_memory(filesystem: str) -> None:
    pinned = {**BARE, "files": (FileSpec("data", 8, filesystem=filesystem),)}
    with pytest.raises(ScriptError, match=f"an inode of {filesystem} stays in memory"):
        play((1_000, "evict", {"file": "data"}), **pinned)


# -- swap --------------------------------------------------------------------------------------------


def test_swap_out_and_a_touch_brings_it_back() -> None:
    out = (1_000, "swap_out", {"page": P0})
    assert outcomes(play(out, touch(2_000, "load"), touch(3_000, "load"))) == ["swapped out", "ok", "ok"]
    stored = play(out, touch(2_000, "store"), INJECT)
    assert (stored.errors[0].row, stored.errors[0].kind) == (12, "anon")  # a store gives the swap slot back


def test_swap_in_after_the_clean_page_was_dropped() -> None:
    result = play(
        (1_000, "swap_out", {"page": P0}),
        (2_000, "start_writeback", {"page": P0}),
        (3_000, "end_writeback", {"page": P0}),
        INJECT,
        (10_000, "swap_in", {"page": heap()}),
        touch(11_000, "load"),
    )
    assert outcomes(result) == ["swapped out", "read from swap", "ok"]
    assert (result.errors[0].data_lost_bytes, result.row.kills) == (0, 0)


def test_a_segment_reads_its_clean_page_from_swap_again() -> None:
    tasks = (app(RegionSpec("seg", "shm", 8, shared=True), count=2),)
    page = heap(region="seg")
    dropped = (
        (1_000, "swap_out", {"page": P0}),
        (2_000, "start_writeback", {"page": P0}),
        (3_000, "end_writeback", {"page": P0}),
        INJECT,
    )
    loads = [(20_000 + i, "load", {"task": f"app.{i}", "page": page}) for i in (0, 1)]
    result = play(*dropped, *loads, (30_000, "inject", {"page": page}), tasks=tasks)
    assert outcomes(result) == ["swapped out", "reread_swap", "ok"]
    assert (result.errors[0].data_lost_bytes, result.errors[0].message) == (0, "swapcache")
    # The slot was given back: what is in memory now is nowhere else.
    assert (result.errors[1].row, result.errors[1].data_lost_bytes) == (12, 4096)
    ahead = play(*dropped, (15_000, "swap_in", {"page": page}), *loads, tasks=tasks)
    assert outcomes(ahead) == ["swapped out", "read from swap", "ok", "ok"]
