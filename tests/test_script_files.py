"""Scripts with files and swap: who is told of a lost write, what is read after it."""

from __future__ import annotations

import pytest

from hwsim.spec import FileSpec, RegionSpec
from tests.worlds import BARE, FILE, INJECT, P0, app, heap, on_file, outcomes, play, touch

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


def test_truncate_and_punch() -> None:
    steps = [
        (1_000, "truncate", {"file": "data", "pages": 4}),
        (1_000, "punch", {"file": "data", "index": 1, "pages": 1}),
        on_file(2_000, "read", index=5),
        on_file(2_000, "read", index=1),
        on_file(2_000, "read", index=3),
        on_file(3_000, "write", index=5),
        on_file(4_000, "read", index=5),
    ]
    assert outcomes(play(*steps, **BARE)) == ["end of file", "zeroes", "ok", "ok", "ok"]


def test_a_frame_cut_from_a_file_is_free() -> None:
    result = play((1_000, "truncate", {"file": "data", "pages": 0}), INJECT, **BARE)
    assert (result.errors[0].kind, result.errors[0].message) == ("free", "free or high order kernel")


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
