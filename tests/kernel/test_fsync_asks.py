"""Which calls look for an error of a file at all: by its length, and by whether it has pages in the cache."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hwsim.kernel.page_ranges import PageRanges
from hwsim.machine import run_replication
from hwsim.record import Replication
from hwsim.spec import FileSpec, FsyncSpec, RegionSpec, Spec, TaskSpec, Touch
from tests.support.worlds import P0, on_file, outcomes, play, world

LOST = (on_file(500, "write", index=0), (9_000, "inject", {"page": P0}))
ONE: dict[str, Any] = {"tasks": (TaskSpec("app", count=2),), "files": (FileSpec("data", 1),)}
TWO: dict[str, Any] = {**ONE, "files": (FileSpec("data", 2),)}
CALLS = ["fsync", "fdatasync", "msync"]
S = 1_000_000_000


def _mapped(pages: int) -> dict[str, Any]:
    region = RegionSpec("map", "file", pages, file="data", shared=True, populate=False)
    return {**ONE, "files": (FileSpec("data", pages),), "tasks": (TaskSpec("app", regions=(region,)),)}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("kernel", "first"), [("v5", "EIO"), ("2.6.32", 0)])
def test_the_dropped_page_was_the_only_one(call: str, kernel: str, first: str | int) -> None:
    """2.6.30 asks if the file is not empty, 2.6.32 if it has pages: a read brings one back."""
    asks = on_file(10_000, call), on_file(11_000, "read", index=0), on_file(12_000, call)
    assert outcomes(play(*LOST, *asks, kernel=kernel, **_mapped(1)))[1:] == [
        first,
        "stale",
        0 if first else "EIO",
    ]


@pytest.mark.parametrize("call", CALLS)
def test_another_cached_page_is_enough(call: str) -> None:
    assert outcomes(play(*LOST, on_file(10_000, call), kernel="2.6.32", **_mapped(2)))[1:] == ["EIO"]


@pytest.mark.parametrize("kernel", ["v5", "2.6.32"])
def test_sync_file_range_always_asks(kernel: str) -> None:
    assert outcomes(play(*LOST, on_file(10_000, "sync_file_range"), kernel=kernel, **ONE))[1:] == ["EIO"]
    empty = (10_000, "truncate", {"file": "data", "pages": 0}), on_file(11_000, "sync_file_range")
    assert outcomes(play(*LOST, *empty, kernel=kernel, **TWO))[1:] == ["EIO"]


@pytest.mark.parametrize("kernel", ["v5", "2.6.32"])
def test_an_empty_file_is_not_asked(kernel: str) -> None:
    """filemap_fdatawait() of 2.6.30 returns at once if i_size is 0; a write makes it ask."""
    steps = (
        (10_000, "truncate", {"file": "data", "pages": 0}),
        on_file(11_000, "fsync"),
        on_file(12_000, "write", index=0),
        on_file(13_000, "fsync"),
    )
    assert outcomes(play(*LOST, *steps, kernel=kernel, **TWO))[1:] == [0, "ok", "EIO"]


def test_a_file_that_has_grown_without_pages() -> None:
    """Cut and grown again it has a length and no page: 2.6.30 asks, 2.6.32 does not."""
    steps = (
        (10_000, "truncate", {"file": "data", "pages": 0}),
        (10_000, "truncate", {"file": "data", "pages": 2}),
        on_file(11_000, "fsync"),
    )
    asked = [outcomes(play(*LOST, *steps, kernel=kernel, **TWO))[-1] for kernel in ("v5", "2.6.32")]
    assert asked == ["EIO", 0]


def test_an_o_sync_write_finds_its_own_page() -> None:
    asks = (on_file(10_000, "write", index=0, sync=True),)
    assert outcomes(play(*LOST, *asks, kernel="2.6.32", **ONE))[1:] == ["EIO"]


def test_with_errseq_every_fsync_asks() -> None:
    more: dict[str, Any] = {**ONE, "switches": (("eio_mode", "errseq"),)}
    assert outcomes(play(*LOST, on_file(10_000, "fsync"), kernel="2.6.32", **more))[1:] == ["EIO"]


# -- by chance ------------------------------------------------------------------------------------------


def _chance(kernel: str, touch: tuple[Touch, ...], pages: int = 1, call: str = "fsync", **more: Any) -> Spec:
    """A task asks once a second; its page is lost after 10 us; the run lasts 1,000 s."""
    file = FileSpec("data", pages, touch=touch, flush_every_ns=10**18)
    task = TaskSpec("app", fsync=FsyncSpec("data", S, call))
    spec = world(*LOST, tasks=(task,), files=(file,), kernel=kernel, **more)
    return replace(spec, horizon_ns=1_000 * S)


def _told(spec: Spec, index: int = 0) -> tuple[int | None, int | None]:
    (row,) = run_replication(spec, index).lost_writes
    return row.told_ns, row.first_stale_ns


def test_nobody_reads_the_only_page_again() -> None:
    never = (Touch(1.0),)
    assert _told(_chance("v5", never))[0] is not None
    assert _told(_chance("2.6.32", never)) == (None, None)
    assert _told(_chance("2.6.32", never, pages=2))[0] is not None
    assert _told(_chance("2.6.32", never, call="sync_file_range"))[0] is not None


@pytest.mark.parametrize("index", range(8))
def test_the_first_fsync_after_the_first_read_is_told(index: int) -> None:
    """Reads come every 20 s: the page is in the cache again, and the next tick finds it there."""
    told, read = _told(_chance("2.6.32", (Touch(1.0, 0.05, 0.0),)), index)
    at_once, same_read = _told(_chance("v5", (Touch(1.0, 0.05, 0.0),)), index)
    assert told is not None
    assert read is not None
    assert at_once is not None
    assert same_read == read
    assert at_once <= S + 10_000 < read < told <= read + S
    assert (told - at_once) % S == 0


def test_waiting_for_a_page_costs_no_events() -> None:
    """1,000 calls that cannot be told are not played."""

    def events(kernel: str, touch: tuple[Touch, ...]) -> int:
        result: Replication = run_replication(_chance(kernel, touch), 0, trace=True)
        return len(result.events)

    assert events("2.6.32", (Touch(1.0),)) < 12
    assert events("2.6.32", (Touch(1.0, 0.05, 0.0),)) < 14


@pytest.mark.parametrize("kernel", ["v5", "2.6.32"])
def test_sync_swallows_only_once_a_page_is_back(kernel: str) -> None:
    """Nobody asks; sync() each second passes the file until somebody has read the page in."""
    for touch, swallowed in (((Touch(1.0),), ""), ((Touch(1.0, 0.05, 0.0),), "sync")):
        file = FileSpec("data", 1, touch=touch, flush_every_ns=10**18)
        spec = world(*LOST, tasks=ONE["tasks"], files=(file,), kernel=kernel, sync_every_ns=S)
        (row,) = run_replication(replace(spec, horizon_ns=1_000 * S), 0).lost_writes
        assert row.swallowed == swallowed


# -- sets of pages --------------------------------------------------------------------------------------


def test_page_ranges() -> None:
    ranges = PageRanges()
    for pages in (range(4, 6), range(0), range(10, 20), range(6, 8)):
        ranges.add(pages)
    assert [ranges.within(range(each, each + 4)) for each in (0, 4, 6, 8, 18)] == [0, 4, 2, 2, 2]
    ranges.discard(range(5, 11))
    assert [page for page in range(25) if page in ranges] == [4, *range(11, 20)]
    ranges.add(range(1 << 40))
    assert ranges.within(range(1 << 30)) == 1 << 30
