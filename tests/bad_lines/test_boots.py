"""What outlives a reboot: facts of the boots before, one kernel, and nothing of an error that is over.

Objects are counted, with the cyclic collector off as in a run: what is there is held by somebody.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from hwsim.kernel.kernel import Kernel
from hwsim.machine import Machine, MemoryLayout
from hwsim.show.shares import sort_out
from hwsim.spec import ErrorSpec, FileSpec, Place, RegionSpec, ScrubSpec, Spec, TaskSpec, Touch
from hwsim.study.columns import TABLES
from tests.support.worlds import play, world

Steps = tuple[tuple[Any, ...], ...]

HOUR_NS = 3_600_000_000_000
OFTEN: dict[str, Any] = {"touch": (Touch(1.0, 1 / 7200, 1 / 7200),), "lines_per_touch": 64.0}


def test_each_death_has_the_kind_and_owner_of_its_own_boot() -> None:
    """A page of a file is lost; after the reboot its permanently bad frame is a heap's, and kills."""
    page = {"file": "data", "index": 0}
    steps: Steps = (
        (1_000, "write", {"task": "idle.0", "file": "data", "index": 0}),
        (2_000, "inject", {"page": page, "how": "line", "line": 7, "permanent": True}),
        (3_000, "scrub", {"page": page}),
        (4_000, "reboot", {}),
        (90_000, "scrub", {"page": {"pfn": 8000}}),
    )
    tasks = (TaskSpec("app", regions=(RegionSpec("heap", "anon", 8000),)), TaskSpec("idle"))
    result = play(*steps, tasks=tasks, files=(FileSpec("data", 8),), pools=(), early_kill=1, reboot_ns=1_000)
    (error,), (signal,), (lost,) = result.errors, result.signals, result.lost_writes
    assert (error.kind, error.region, error.boot, error.killed) == ("file", "file:data", 0, 1)
    assert (signal.result, signal.kind, signal.region, signal.boot) == ("killed", "anon", "app.0/heap", 1)
    assert (lost.kind, lost.boot, lost.told, lost.swallowed) == ("file", 0, "nobody", "reboot")


def test_a_panic_has_the_kind_and_owner_of_its_own_boot() -> None:
    """Found as a page of a file, consumed as a heap's after the reboot."""
    page = {"file": "data", "index": 0}
    steps: Steps = (
        (2_000, "inject", {"page": page, "how": "line", "line": 7, "permanent": True}),
        (3_000, "scrub", {"page": page}),
        (4_000, "reboot", {}),
    )
    heap = RegionSpec("heap", "anon", 8000, touch=(Touch(1.0, 1e7, 0.0),), lines_per_touch=64.0)
    result = play(
        *steps,
        tasks=(TaskSpec("app", regions=(heap,)),),
        files=(FileSpec("data", 8),),
        pools=(),
        reboot_ns=1_000,
        repair_share=1.0,
    )
    (error,) = result.errors
    assert (error.kind, error.boot, error.end, error.panics) == ("file", 0, "panic", 1)
    assert (error.panic_kind, error.panic_region, error.panic_boot) == ("anon", "app.0/heap", 1)
    pd = pytest.importorskip("pandas")
    dtypes = {column.name: column.dtype for column in TABLES["errors"][1:]}
    found = sort_out(pd.DataFrame([error]).astype(dtypes))
    assert found["fate"].tolist() == ["Recovered"]  # of the file's page; the panic is not its


def test_the_kind_is_that_of_the_first_find() -> None:
    """A find that is only logged names the page; who gets the frame after it does not."""
    steps = (
        (1_000, "alloc", {"kind": "high_order", "order": 0, "name": "dma"}),
        (2_000, "inject", {"page": {"kernel": "dma", "index": 0}, "how": "line", "permanent": True}),
        (3_000, "scrub", {"page": {"kernel": "dma", "index": 0}}),
        (4_000, "free", {"name": "dma"}),
        (5_000, "alloc", {"kind": "slab", "order": 0, "name": "other"}),
    )
    result = play(*steps, scrub=ScrubSpec(None, "UCNA"))
    assert [(row.found, row.kind, row.region) for row in result.errors] == [
        ("scrub", "high_order", "kernel:dma")
    ]


# -- memory follows open errors ------------------------------------------------------------------------


def storm(errors: int, permanent: float = 0.0) -> Spec:
    """A machine that panics every few errors: tasks read their heap, and die of what the scrubber finds."""
    heap = RegionSpec("heap", "anon", 1000, **OFTEN)
    shared = RegionSpec("shared", "shm", 1000, **OFTEN)
    tasks = (
        TaskSpec("app", count=4, restart_ns=10_000_000_000, regions=(heap,)),
        TaskSpec(
            "web", children=2, group_death=True, restart_ns=HOUR_NS, lifetime_ns=HOUR_NS, regions=(shared,)
        ),
    )
    spec = world(tasks=tasks, pools=(), early_kill=1, reboot_ns=60_000_000_000, repair_share=0.5)
    spec = replace(spec, machine=replace(spec.machine, scrub=ScrubSpec(HOUR_NS)), horizon_ns=100 * HOUR_NS)
    sources = tuple(
        ErrorSpec(errors / 2 / 360_000, Place("region", name), permanent)
        for name in ("app/heap", "web/shared")
    )
    return replace(spec, errors=sources)


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def alive(*names: str) -> Counter[str]:
    """Objects of these classes that somebody holds."""
    kinds = Counter(type(each).__name__ for each in gc.get_objects())
    return Counter({name: kinds[name] for name in names})


def test_nothing_of_an_earlier_boot_is_kept() -> None:
    """Kernel, tasks, mappings, pages and reports go with their boot, without the collector."""
    classes = ["Kernel", "Cpu", "UserTask", "Task", "Vma", "Region", "Page", "Pte", "MemoryFailure", "Signal"]
    classes += ["Process", "Worker", "MachineCheckInterrupt"]  # asleep, and nobody wakes them any more
    with no_collector():
        before = alive(*classes)
        built = Machine(storm(400, permanent=0.3), 0, MemoryLayout(storm(400)))
        built.run()
        assert len([*built.processes.members(), *built.kernel.mem_map.regions]) > 7  # this boot makes all
        found = alive(*classes)
        found.subtract(before)
        members, regions = 7, len(built.layout.layouts)
        still_open = len(built.bad_lines.open)
    assert built.panics > 20
    assert built.bad_lines.error_count > 300
    assert found["Kernel"] == 1
    assert found["Cpu"] <= 4
    assert found["Worker"] == found["Cpu"]
    assert found["MachineCheckInterrupt"] == 1
    assert found["Process"] <= 8 + members
    assert found["UserTask"] == members
    assert (
        found["Task"] <= members + found["Signal"] + found["Pte"]
    )  # the dead of this boot: by their signals
    assert found["Region"] == regions
    assert found["Vma"] <= 2 * found["Task"]
    assert found["Signal"] <= 20  # of 200
    assert found["Page"] <= still_open + 40
    assert found["MemoryFailure"] <= still_open + 40
    assert built.engine.pending <= 2 * built.bad_lines.error_count  # a reboot leaves no callbacks behind


def test_an_error_that_is_over_keeps_only_facts() -> None:
    """In memory that nobody uses a new owner's clearing heals what was transient; nothing else is left."""
    spec = world(pools=(), reboot_ns=None, alloc_per_s=1.0)
    spec = replace(
        spec, horizon_ns=1000 * HOUR_NS, errors=(ErrorSpec(400 / 3_600_000, Place("region", "free"), 0.0),)
    )
    built = Machine(spec, 0, MemoryLayout(spec))
    built.run()
    over = [each for each in built.bad_lines.all.values() if each.finished]
    assert len(over) > 200
    assert len(built.bad_lines.open) == len(built.bad_lines.all.values()) - len(over)
    assert all(not each.u and each.page is None and not each.times for each in over)
    assert len(built.bad_lines.by_pfn) <= len(built.bad_lines.open)
    assert len(built.kernel.mem_map.overlay) <= len(built.bad_lines.open) + 1


@pytest.mark.parametrize("errors", [100, 200, 400])
def test_a_reboot_costs_what_the_open_errors_cost(errors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transient errors do not come back: a reboot looks at none of them again, however many there were."""
    looks = [0]
    look = Kernel.pfn_to_page

    def counted(self: Kernel, pfn: int, report: Any) -> Any:
        looks[0] += 1
        return look(self, pfn, report)

    monkeypatch.setattr(Kernel, "pfn_to_page", counted)
    built = Machine(storm(errors), 0, MemoryLayout(storm(errors)))
    built.run()
    assert built.panics > errors // 20
    assert looks[0] <= 4 * built.bad_lines.error_count
