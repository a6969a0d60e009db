"""Scripts that cut files: what becomes of poison entries, lost writes, swapped pages; what it costs."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from hwsim.kernel.mm_types import Page
from hwsim.machine import run_replication
from hwsim.spec import FileSpec, RegionSpec, TaskSpec, Touch
from tests.support.worlds import P0, happened, heap, line, on_file, outcomes, play, signals, world

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
    machine: dict[str, Any] = {
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
    assert len(play(*POISONED, **machine).signals) == 1
    assert play(*POISONED, step, **machine).signals == []


def test_a_latent_line_in_a_file_that_is_cut_is_in_free_memory() -> None:
    result = play(line(1_000), _cut(2_000, 0), (3_000, "scrub", {"page": P0}), **_mapped())
    assert ("truncated" in {event for _, event in happened(result)}, result.errors[0].kind) == (True, "free")


# -- madvise(MADV_REMOVE): the call that makes such a hole ----------------------------------------------

SHM = RegionSpec("shm", "shm", 8, shared=True)
OF_SHM = {"task": "app.0", "page": heap(2, region="shm")}


def _remove(at: int, region: str = "shm") -> tuple[int, str, dict[str, Any]]:
    return at, "madvise", {"task": "app.0", "region": region, "first": 2, "pages": 2, "advice": "remove"}


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_segment_loses_its_poison_with_the_page(kernel: str) -> None:
    world: dict[str, Any] = {"tasks": (TaskSpec("app", regions=(SHM,)),), "early_kill": 0, "kernel": kernel}
    poison = (1_000, "inject", {"page": heap(2, region="shm")})
    load = (5_000, "load", OF_SHM)
    assert outcomes(play(poison, load, **world)) == ["VM_FAULT_HWPOISON"]
    removed = play(poison, _remove(3_000), load, **world)
    assert (outcomes(removed), removed.lost_writes[0].end) == (["zeroes"], "truncated")


def test_a_removed_page_is_free_until_somebody_touches_it() -> None:
    world: dict[str, Any] = {"tasks": (TaskSpec("app", regions=(SHM,)),), "early_kill": 0}
    steps = ((1_000, "inject", {"page": {"pfn": 0x1234 + each}}) for each in (1, 2, 3, 4))
    rows = play(_remove(500), *steps, **world).errors
    assert [row.kind for row in rows] == ["shm", "free", "free", "shm"]


@pytest.mark.parametrize(
    ("what", "before", "region", "answer"),
    [
        ("private memory", (), "heap", "EINVAL"),
        ("locked in memory", ((1_000, "mlock", {"task": "app.0", "region": "shm"}),), "shm", "EINVAL"),
        (
            "read-only",
            (
                (
                    1_000,
                    "mprotect",
                    {"task": "app.0", "region": "shm", "first": 0, "pages": 8, "write": False},
                ),
            ),
            "shm",
            "EACCES",
        ),
        ("a file on a disk", (), "map", "ENOSYS"),
    ],
)
def test_where_madv_remove_is_refused(what: str, before: Any, region: str, answer: str) -> None:
    regions = (RegionSpec("heap", "anon", 8), SHM, RegionSpec("map", "file", 8, file="data", shared=True))
    world: dict[str, Any] = {"tasks": (TaskSpec("app", regions=regions),), "files": (FileSpec("data", 8),)}
    assert outcomes(play(*before, _remove(2_000, region), **world)) == [answer], what


# -- what it costs --------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The page frame numbers of all struct page objects that are made."""
    pfns: list[int] = []
    init = Page.__init__

    def count(page: Page, pfn: int, *args: Any) -> None:
        pfns.append(pfn)
        init(page, pfn, *args)

    monkeypatch.setattr(Page, "__init__", count)
    return pfns


@pytest.mark.parametrize("verb", ["truncate", "punch", "evict"])
def test_cutting_costs_what_the_pages_of_interest_cost(verb: str, made: list[int]) -> None:
    """struct page objects made for a file of 16 MiB and for one of 16 GiB."""
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
        steps = (poison, step[verb], (4_000, "sync"))
        more: dict[str, Any] = {"tasks": (TaskSpec("app"),), "files": (file,), "pools": ()}
        assert play(*steps, memory_pages=pages + 4096, **more).errors[0].kind == "file"
        counts.append(len(made))
    assert counts[0] == counts[1] <= 4


def test_mapping_and_unmapping_cost_as_little(made: list[int]) -> None:
    counts = []
    for pages in (1 << 12, 1 << 22):
        made.clear()
        steps = (
            (1_000, "mmap", {"task": "app.0", "name": "new", "kind": "anon", "pages": pages}),
            (2_000, "store", {"task": "app.0", "page": heap(7, region="new")}),
            (3_000, "munmap", {"task": "app.0", "region": "new", "first": 0, "pages": pages}),
            (4_000, "inject", {"page": {"pfn": 7}}),
        )
        more: dict[str, Any] = {"tasks": (TaskSpec("app"),), "pools": ()}
        assert play(*steps, memory_pages=2 * pages, **more).errors[0].kind == "free"
        counts.append(len(made))
    assert counts[0] == counts[1] <= 6


@pytest.mark.parametrize("locked", [True, False])
def test_what_is_locked_in_memory_is_needed(locked: bool) -> None:
    """madvise_dontneed(): -EINVAL for VM_LOCKED; the poison entry stays."""
    lock = ((2_500, "mlock", {"task": "app.0", "region": "map"}),) if locked else ()
    drop = {"task": "app.0", "region": "map", "first": 0, "pages": 8, "advice": "dontneed"}
    result = play(*POISONED, *lock, (3_000, "madvise", drop), _at(4_000, "load"), **_mapped())
    assert outcomes(result)[1:] == (["EINVAL", "VM_FAULT_HWPOISON"] if locked else ["stale"])


# -- by chance ------------------------------------------------------------------------------------------


def _rotated(truncate_per_s: float, load_per_s: float) -> dict[str, Any]:
    region = RegionSpec("map", "file", 8, (Touch(1.0, load_per_s),), file="data", shared=True, populate=False)
    file = FileSpec("data", 8, touch=(Touch(1.0),), truncate_per_s=truncate_per_s)
    return {"tasks": (TaskSpec("app", regions=(region,)),), "files": (file,), "early_kill": 0}


def test_a_rotated_log_forgets_the_poison_before_the_touch_or_after_it() -> None:
    """Touch and truncation are exponential, 2e4 and 1e4 a second: the touch is first in 2/3 of the machines.

    600 machines; false alarm 1e-6 on each side.
    """
    spec = world(*POISONED, **_rotated(1e4, 2e4))
    killed = sum(len(run_replication(spec, index).signals) for index in range(600))
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], 600, 2 / 3)
    assert low <= killed <= high


def test_a_lost_write_ends_when_the_file_is_cut_by_chance() -> None:
    (lost,) = play(*POISONED, **_rotated(1e7, 0.0)).lost_writes
    assert (lost.end, lost.lost_ns) == ("truncated", 2_000)
    assert 2_000 < lost.end_ns < 5_000


def test_who_is_cut_off_while_the_handler_waits_is_not_told() -> None:
    """By chance as by script: the first unmap_mapping_range() does not wait for the page lock."""
    steps = (
        _at(1_000, "store"),
        (1_000, "lock_page", {"page": {"file": "data", "index": 0}}),
        (1_001, "inject", {"page": {"file": "data", "index": 0}}),
        (900_000, "unlock_page", {"page": {"file": "data", "index": 0}}),
    )
    told = [play(*steps, **{**_rotated(rate, 0.0), "early_kill": 1}).signals for rate in (0.0, 1e6)]
    assert [len(each) for each in told] == [1, 0]
