"""Scripts that cut files: what becomes of poison entries, lost writes, swapped pages; what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from hwsim.kernel.struct_page import Page
from hwsim.spec import FileSpec, RegionSpec, TaskSpec, Touch
from tests.worlds import P0, heap, line, on_file, outcomes, play, signals, story

KERNELS = ["v5", "2.6.32"]


def _mapped(filesystem: str = "ext4", **more: Any) -> dict[str, Any]:
    region = RegionSpec("map", "file", 8, file="data", shared=True, populate=False)
    task = TaskSpec("app", regions=(region,), **more)
    return {"tasks": (task,), "files": (FileSpec("data", 8, filesystem=filesystem),), "early_kill": 0}


def _at(at: int, verb: str, index: int = 0, **more: Any) -> tuple[int, str, dict[str, Any]]:
    return at, verb, {"task": "app.0", "page": heap(index, region="map"), **more}


def _cut(at: int, pages: int) -> tuple[int, str, dict[str, Any]]:
    return at, "truncate", {"file": "data", "pages": pages}


def _punch(at: int, index: int = 0, pages: int = 1) -> tuple[int, str, dict[str, Any]]:
    return at, "punch", {"file": "data", "index": index, "pages": pages}


# A page dirty through a mapping is poisoned: its entry is a poison entry.
POISONED = (_at(1_000, "store"), (2_000, "inject", {"page": {"file": "data", "index": 0}}))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("filesystem", ["ext4", "tmpfs"])
def test_truncate_drops_poison_entries(kernel: str, filesystem: str) -> None:
    """unmap_mapping_range() with even_cows; after growing again there is a page of zeroes."""
    steps = (*POISONED, _cut(3_000, 0), _cut(4_000, 8), _at(5_000, "load"))
    result = play(*steps, kernel=kernel, **_mapped(filesystem))
    assert outcomes(result)[1:] == ["zeroes"]
    assert signals(result) == []


@pytest.mark.parametrize("kernel", KERNELS)
def test_poison_before_the_new_end_stays(kernel: str) -> None:
    result = play(*POISONED, _cut(3_000, 1), _at(5_000, "load"), kernel=kernel, **_mapped())
    assert outcomes(result)[1:] == ["VM_FAULT_HWPOISON"]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_hole_in_tmpfs_drops_poison_entries(kernel: str) -> None:
    """vmtruncate_range() of MADV_REMOVE unmaps as truncate() does."""
    result = play(*POISONED, _punch(3_000), _at(5_000, "load"), kernel=kernel, **_mapped("tmpfs"))
    assert outcomes(result)[1:] == ["zeroes"]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("filesystem", ["ext2", "ext3", "ext4", "xfs", "nfs", "ramfs", "blockdev"])
def test_only_tmpfs_can_make_a_hole(kernel: str, filesystem: str) -> None:
    result = play(_punch(1_000), on_file(2_000, "read", index=0), kernel=kernel, **_mapped(filesystem))
    assert outcomes(result) == ["ENOSYS", "ok"]


def test_a_block_device_is_not_truncated() -> None:
    result = play(_cut(1_000, 0), on_file(2_000, "read", index=0), **_mapped("blockdev"))
    assert outcomes(result) == ["EINVAL", "ok"]


def test_a_lost_write_that_is_cut_off_is_no_loss_any_more() -> None:
    steps = (*POISONED, _cut(3_000, 0), _cut(4_000, 8), on_file(5_000, "read", index=0))
    result = play(*steps, **_mapped())
    assert outcomes(result)[1:] == ["zeroes"]
    (lost,) = result.lost_writes
    assert (lost.end, lost.end_ns, lost.stale_before, lost.stale_after) == ("truncated", 3_000, 0, 0)


def test_what_was_written_to_a_hole_is_on_the_disk() -> None:
    steps = (
        _cut(1_000, 0),
        _cut(2_000, 8),
        _at(3_000, "store"),
        on_file(4_000, "fsync"),
        (5_000, "munmap", {"task": "app.0", "region": "map", "first": 0, "pages": 8}),
        on_file(5_000, "close"),
        (6_000, "evict", {"file": "data"}),
        on_file(7_000, "read", index=0),
        on_file(7_000, "read", index=1),
    )
    assert outcomes(play(*steps, **_mapped()))[-2:] == ["reread_disk", "zeroes"]


@pytest.mark.parametrize("filesystem", ["ext4", "tmpfs"])
def test_a_task_is_unmapped_before_truncate_waits_for_the_lock(filesystem: str) -> None:
    """vmtruncate() unmaps first, without the page lock: memory_failure() finds no mapping."""
    steps = (
        _at(1_000, "store"),
        (1_500, "lock_page", {"page": {"file": "data", "index": 0}}),
        (2_000, "inject", {"page": {"file": "data", "index": 0}}),
        _cut(3_000, 0),
        (4_000, "unlock_page", {"page": {"file": "data", "index": 0}}),
    )
    result = play(*steps, **{**_mapped(filesystem), "early_kill": 1})
    assert signals(result) == []


def test_a_page_of_tmpfs_without_contents_in_the_swap_cache_is_cut_off_too() -> None:
    """shmem_truncate_range() gives the slot back: the swap cache is not asked any more."""
    page = {"page": {"file": "data", "index": 0}}
    lost = (_at(1_000, "store"), (1_500, "swap_out", page), (2_000, "inject", page))
    assert outcomes(play(*lost, _at(5_000, "load"), **_mapped("tmpfs")))[-1] == "BUS_ADRERR"
    cut = play(*lost, _cut(3_000, 0), _cut(4_000, 8), _at(5_000, "load"), **_mapped("tmpfs"))
    assert outcomes(cut)[-1] == "zeroes"


@pytest.mark.parametrize("drop", ["truncate", "punch", "dontneed", "munmap"])
def test_who_has_no_entry_any_more_is_not_killed_by_a_later_touch(drop: str) -> None:
    """By chance too: 1e6 touches a second wait for the entry that is dropped at once."""
    region = RegionSpec("map", "file", 8, (Touch(1.0, 1e6, 0.0),), file="data", shared=True, populate=False)
    world: dict[str, Any] = {
        "tasks": (TaskSpec("app", regions=(region,)),),
        "files": (FileSpec("data", 8, filesystem="tmpfs"),),
        "early_kill": 0,
    }
    range_ = {"task": "app.0", "region": "map", "first": 0, "pages": 8}
    step = {
        "truncate": _cut(2_000, 0),
        "punch": _punch(2_000, pages=8),
        "dontneed": (2_000, "madvise", {**range_, "advice": "dontneed"}),
        "munmap": (2_000, "munmap", range_),
    }[drop]
    assert len(play(*POISONED, **world).signals) == 1
    assert play(*POISONED, step, **world).signals == []


def test_a_latent_line_in_a_file_that_is_cut_is_in_free_memory() -> None:
    result = play(line(1_000), _cut(2_000, 0), (3_000, "scrub", {"page": P0}), **_mapped())
    assert ("truncated" in {event for _, event in story(result)}, result.errors[0].kind) == (True, "free")


# -- what it costs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["truncate", "punch", "evict"])
def test_what_is_cut_costs_what_the_pages_of_interest_cost(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """struct page objects made for a file of 16 MiB and for one of 16 GiB."""
    made: list[int] = []
    init = Page.__init__

    def count(page: Page, pfn: int, *args: Any) -> None:
        made.append(pfn)
        init(page, pfn, *args)

    monkeypatch.setattr(Page, "__init__", count)
    counts = []
    for pages in (1 << 12, 1 << 22):
        made.clear()
        file = FileSpec("data", pages, filesystem="ext4" if verb == "evict" else "tmpfs")
        step: dict[str, tuple[int, str, dict[str, Any]]] = {
            "truncate": _cut(2_000, 1),
            "punch": _punch(2_000, 1, pages - 1),
            "evict": (2_000, "evict", {"file": "data"}),
        }
        poison = (1_000, "inject", {"page": {"file": "data", "index": 7}})
        result = play(
            *(poison, step[verb], (4_000, "sync")),
            tasks=(TaskSpec("app"),),
            files=(file,),
            pools=(),
            memory_pages=pages + 4096,
        )
        assert result.errors[0].kind == "file"
        counts.append(len(made))
    assert counts[0] == counts[1] <= 4
