"""One scripted scenario for every exit of memory_failure(), every row of its table, every early return."""

from __future__ import annotations

from typing import Any

import pytest

from hwsim.record import Replication
from hwsim.spec import FileSpec, KernelPoolSpec, RegionSpec, TaskSpec
from tests.support.worlds import (
    APP,
    DATA,
    FILLER,
    HEAP,
    MAPPED,
    MEMORY,
    P0,
    PFN,
    app,
    happened,
    log,
    outcomes,
    play,
    ptes,
)

INJECT = (9_000, "inject", {"page": P0})
NOBODY: tuple[TaskSpec, ...] = ()


def exit_of(result: Replication) -> tuple[str, int, str, str]:
    """(exit, row, message, outcome) of the last report."""
    last = [facts for _, event, facts in result.events if event == "result"][-1]
    row = result.errors[-1].row if last["exit"] == "table" else 0
    return str(last["exit"]), row, str(last["message"]), str(last["outcome"])


def of_page(result: Replication) -> list[tuple[int, str]]:
    """What memory_failure() and others did to the page, with the times."""
    wanted = ("memory_failure", "poisoned", "truncated", "result")
    return [(time, event) for time, event, facts in result.events if event in wanted and facts["pfn"] == PFN]


def pool(kind: str, order: int = 0) -> dict[str, Any]:
    return {
        "tasks": NOBODY,
        "pools": (KernelPoolSpec("reserved", PFN - PFN % 8), KernelPoolSpec(kind, 64, order)),
    }


# -- exits ------------------------------------------------------------------------------------------


def test_outside() -> None:
    result = play((9_000, "inject", {"page": {"pfn": MEMORY + 5}}))
    assert exit_of(result) == ("outside", 0, "memory outside kernel control", "Ignored")
    assert log(result) == [f"MCE {MEMORY + 5:#x}:  page recovery: memory outside kernel controlIgnored"]
    assert result.row.bad_pages == result.row.poisoned_pages == 0


def test_outside_by_the_scrubber() -> None:
    """Memory that the scrubber sees and the kernel has no struct pages for."""
    result = play((9_000, "mce", {"page": {"pfn": MEMORY + 5}}), hidden_pages=64)
    assert exit_of(result)[0] == "outside"
    assert result.errors[0].kind == "hidden"


def test_already() -> None:
    result = play((1_000, "inject", {"page": P0}), INJECT)
    assert exit_of(result) == ("already", 0, "already hardware poisoned", "Ignored")
    assert (len(result.errors), result.errors[0].row, result.errors[0].repeats) == (1, 12, 1)
    assert result.row.bad_pages == result.row.poisoned_pages == 1


def test_free_page() -> None:
    result = play((9_000, "inject", {"page": {"free": 3}}))
    assert exit_of(result) == ("free_or_high_order", 0, "free or high order kernel", "Ignored")
    assert (result.row.bad_pages, result.row.poisoned_pages) == (0, 1)


def test_page_of_high_order_memory_that_is_not_its_first() -> None:
    """The same message, but here the memory is in use and can be read later."""
    result = play((9_000, "inject", {"page": {"kernel": "high_order", "index": 1}}), **pool("high_order", 2))
    assert exit_of(result)[0] == "free_or_high_order"
    assert result.errors[0].end == "reachable"


def test_already_unmapped_lru() -> None:
    """The truncating task holds the page lock while memory_failure() waits for it."""
    result = play(
        (1_000, "lock_page", {"page": P0}),
        (2_000, "inject", {"page": P0}),
        (3_000, "truncate", {"file": "data", "pages": 0}),
        (4_000, "unlock_page", {"page": P0}),
        tasks=NOBODY,
        files=(DATA,),
    )
    assert exit_of(result) == ("already_unmapped", 0, "already unmapped LRU", "Ignored")
    assert of_page(result) == [
        (2_000, "memory_failure"),
        (2_000, "poisoned"),
        (3_000, "truncated"),
        (4_000, "result"),
    ]
    assert (result.row.bad_pages, result.row.poisoned_pages) == (0, 1)
    assert result.errors[0].end == "isolated"


def test_truncation_waits_for_memory_failure() -> None:
    """The other order: memory_failure() has the lock and waits for writeback, truncate() for the lock."""
    result = play(
        (1_000, "start_writeback", {"page": P0}),
        (2_000, "inject", {"page": P0}),
        (3_000, "truncate", {"file": "data", "pages": 0}),
        (4_000, "end_writeback", {"page": P0}),
        tasks=NOBODY,
        files=(DATA,),
    )
    assert exit_of(result) == ("table", 13, "clean LRU", "Recovered")
    assert of_page(result) == [(2_000, "memory_failure"), (2_000, "poisoned"), (4_000, "result")]


def test_waits_for_lock_and_writeback_without_bound() -> None:
    result = play(
        (1_000, "lock_page", {"page": P0}),
        (1_500, "start_writeback", {"page": P0}),
        (2_000, "inject", {"page": P0}),
        (300_000, "unlock_page", {"page": P0}),
        (700_000, "end_writeback", {"page": P0}),
        tasks=NOBODY,
        files=(DATA,),
    )
    assert happened(result)[-2:] == [(700_000, "end_writeback"), (700_000, "result")]


# -- rows -------------------------------------------------------------------------------------------

RAM = FileSpec("ram", 8, filesystem="ramfs")
SHM = TaskSpec("app", regions=(RegionSpec("shm", "shm", 8, shared=True),))
LOCKED = TaskSpec("app", regions=(RegionSpec("heap", "anon", 8, mlock=True),))
LOCKED_FILE = TaskSpec("app", regions=(RegionSpec("map", "file", 8, file="data", mlock=True),))
HUGE = TaskSpec("app", regions=(RegionSpec("huge", "hugetlb", 512),))
HUGE_WORLD: dict[str, Any] = {"tasks": (HUGE,), "pools": (KernelPoolSpec("reserved", PFN & ~511),)}
FILE_WORLD: dict[str, Any] = {"tasks": (MAPPED,), "files": (DATA,)}
WRITE = (1_000, "write", {"task": "app.0", "file": "data", "index": 0})
PAGEVEC = (2_000, "pagevec", {"page": P0})
OUT = (1_000, "swap_out", {"page": P0})
WRITTEN = ((2_000, "start_writeback", {"page": P0}), (3_000, "end_writeback", {"page": P0}))
AT = {"page": P0}


def at(**page: Any) -> tuple[int, str, dict[str, Any]]:
    return (9_000, "inject", {"page": page})


ROWS: list[tuple[str, int, str, tuple[Any, ...], dict[str, Any]]] = [
    ("reserved", 1, "Ignored", (at(pfn=5),), {}),
    (
        "buddy by a race",
        2,
        "Delayed",
        ((1_000, "pin", AT), (2_000, "flags", {**AT, "set": ("buddy",)}), INJECT),
        {},
    ),
    ("slab", 3, "Delayed", (at(kernel="slab", index=3),), pool("slab")),
    ("slab, head of several pages", 3, "Delayed", (at(kernel="slab_multi", index=8),), pool("slab_multi", 3)),
    ("huge page, head", 4, "Failed", (at(region="app.0/huge", index=0),), HUGE_WORLD),
    ("huge page, tail", 5, "Failed", (at(region="app.0/huge", index=7),), HUGE_WORLD),
    ("slab, tail of several pages", 5, "Failed", (at(kernel="slab_multi", index=9),), pool("slab_multi", 3)),
    ("swap cache, dirty", 6, "Delayed", (OUT, INJECT), {}),
    ("swap cache, clean", 7, "Recovered", (OUT, *WRITTEN, INJECT), {}),
    ("mlocked anon", 8, "Recovered", (INJECT,), {"tasks": (LOCKED,)}),
    ("mlocked clean file", 9, "Recovered", (INJECT,), {"tasks": (LOCKED_FILE,), "files": (DATA,)}),
    (
        "mlocked anon drained late",
        10,
        "Recovered",
        ((2_000, "pagevec", {"page": P0, "cpu": 0}), INJECT),
        {"tasks": (LOCKED,)},
    ),
    (
        "mlocked clean file drained late",
        11,
        "Recovered",
        ((2_000, "pagevec", {"page": P0, "cpu": 0}), INJECT),
        {"tasks": (LOCKED_FILE,), "files": (DATA,)},
    ),
    ("anon", 12, "Recovered", (INJECT,), {}),
    ("dirty file", 12, "Recovered", (WRITE, INJECT), FILE_WORLD),
    ("shared segment", 12, "Recovered", (INJECT,), {"tasks": (SHM,)}),
    ("clean file", 13, "Recovered", (INJECT,), FILE_WORLD),
    ("anon in another CPU's pagevec", 14, "Recovered", (PAGEVEC, INJECT), {}),
    ("file page in another CPU's pagevec", 15, "Failed", (PAGEVEC, INJECT), FILE_WORLD),
    ("shared segment in another CPU's pagevec", 14, "Recovered", (PAGEVEC, INJECT), {"tasks": (SHM,)}),
    ("page table", 15, "Failed", (at(kernel="page_table", index=0),), pool("page_table")),
    ("kernel stack", 15, "Failed", (at(kernel="kernel_stack", index=0),), pool("kernel_stack", 1)),
    (
        "allocated by a step",
        15,
        "Failed",
        ((1_000, "alloc", {"kind": "high_order", "order": 2, "name": "dma"}), at(kernel="dma", index=0)),
        {},
    ),
]


@pytest.mark.parametrize(("what", "row", "outcome", "steps", "more"), ROWS, ids=[each[0] for each in ROWS])
def test_row(what: str, row: int, outcome: str, steps: tuple[Any, ...], more: dict[str, Any]) -> None:
    result = play(*steps, **more)
    name, number, _, came_out = exit_of(result)
    assert (name, number, came_out) == ("table", row, outcome)
    assert (result.row.bad_pages, result.row.poisoned_pages) == (1, 1)
    assert result.meminfo == "BadPages:              4 kB"


def test_every_row_has_a_scenario() -> None:
    assert {row for _, row, *_ in ROWS} == set(range(1, 16))


def test_sysfs_names_of_rows_without_the_flags() -> None:
    """Without the config switches the same pages fall to the rows below."""
    assert play(INJECT, tasks=(LOCKED,), unevictable_lru=False).errors[0].row == 10
    both_off = play(INJECT, tasks=(LOCKED,), unevictable_lru=False, mlocked_page_bit=False)
    assert both_off.errors[0].row == 12
    assert play(at(region="app.0/huge", index=7), **HUGE_WORLD, pageflags_extended=False).errors[0].row == 4


# -- hwpoison_user_mappings(): early returns and what each entry becomes ------------------------------


@pytest.mark.parametrize(
    ("reach", "steps", "more"),
    [
        ("mappings:not_mappable", (at(region="app.0/huge", index=3),), HUGE_WORLD),
        ("mappings:not_mapped", (INJECT,), {"tasks": NOBODY, "files": (DATA,)}),
        ("mappings:not_mapped", (OUT, INJECT), {}),
        ("mappings:clean", (INJECT,), FILE_WORLD),
        (
            "mappings:mkclean_dirty",
            ((1_000, "store", {"task": "app.0", "page": P0, "until": "pte"}), INJECT),
            FILE_WORLD,
        ),
    ],
)
def test_user_mappings(reach: str, steps: tuple[Any, ...], more: dict[str, Any]) -> None:
    assert reach in play(*steps, **more).reach


def test_only_this_cpus_pagevec_is_drained() -> None:
    mine = play((2_000, "pagevec", {"page": P0, "cpu": 0}), INJECT)
    other = play((2_000, "pagevec", {"page": P0, "cpu": 1}), INJECT)
    assert (mine.errors[0].row, other.errors[0].row) == (12, 14)
    assert log(other)[-1] == "MCE 0x1234: anonymous page still referenced by 1 users"


LOAD = (20_000, "load", {"task": "app.0", "page": {"region": "app.0/heap", "index": 0}})
LOAD_FILE = (20_000, "load", {"task": "app.0", "page": {"file": "data", "index": 0}})
LOAD_SHM = (20_000, "load", {"task": "app.0", "page": {"region": "app.0/shm", "index": 0}})
OLD_LOAD = (4_000, "load", {"task": "app.0", "page": P0})
SHM_OUT = (1_000, "swap_out", {"page": {"region": "app.0/shm", "index": 0}})
PTES: list[tuple[str, tuple[Any, ...], dict[str, Any], dict[str, str], str]] = [
    ("anon", (INJECT, LOAD), {}, {"app.0": "poison"}, "VM_FAULT_HWPOISON"),
    ("shared segment", (INJECT, LOAD_SHM), {"tasks": (SHM,)}, {"app.0": "poison"}, "VM_FAULT_HWPOISON"),
    ("dirty file", (WRITE, INJECT, LOAD_FILE), FILE_WORLD, {"app.0": "poison"}, "VM_FAULT_HWPOISON"),
    ("clean file", (INJECT, LOAD_FILE), FILE_WORLD, {"app.0": "none"}, "reread_disk"),
    (
        "swap cache, dirty, mapped",
        (OUT, (2_000, *OLD_LOAD[1:]), INJECT, LOAD),
        {},
        {"app.0": "swap"},
        "VM_FAULT_HWPOISON",
    ),
    ("swap cache, dirty, unmapped", (OUT, INJECT, LOAD), {}, {}, "VM_FAULT_HWPOISON"),
    (
        "swap cache, clean, mapped",
        (OUT, *WRITTEN, OLD_LOAD, INJECT, LOAD),
        {},
        {"app.0": "swap"},
        "reread_swap",
    ),
    ("swap cache, clean, unmapped", (OUT, *WRITTEN, INJECT, LOAD), {}, {}, "reread_swap"),
    (
        "shared segment in swap cache, clean",
        (SHM_OUT, *WRITTEN, INJECT, LOAD_SHM),
        {"tasks": (SHM,)},
        {},
        "reread_swap",
    ),
    ("shared segment in swap cache, dirty", (SHM_OUT, INJECT, LOAD_SHM), {"tasks": (SHM,)}, {}, "BUS_ADRERR"),
]


@pytest.mark.parametrize(("what", "steps", "more", "left", "later"), PTES, ids=[each[0] for each in PTES])
def test_entry_and_what_a_later_access_meets(
    what: str, steps: tuple[Any, ...], more: dict[str, Any], left: dict[str, str], later: str
) -> None:
    result = play(*steps, **more, early_kill=0)
    assert ptes(result) == left
    assert outcomes(result)[-1] == later
    late = [row for row in result.signals if row.code == "BUS_MCEERR_AR"]
    assert len(late) == (later == "VM_FAULT_HWPOISON")
    if late:
        assert (late[0].cause, late[0].result, late[0].time_ns) == ("late", "killed", 20_000)
        start = "MCE: Killing app:100 due to hardware memory corruption fault at "
        assert log(result)[-1] == f"{start}400000"
    assert result.row.kills_early == 0


def test_worlds_are_what_they_say() -> None:
    assert (APP.regions, FILLER.pages, app().regions) == ((HEAP,), PFN, (HEAP,))
