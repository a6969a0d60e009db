"""What nobody looks at is not made, and who looks late finds what a machine has that made all at its boot."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from hwsim.kernel.mm_types import Region, Task, Vma
from hwsim.machine import Machine, MemoryLayout
from hwsim.record import Replication
from hwsim.spec import ErrorSpec, FsyncSpec, KernelPoolSpec, Place, RegionSpec, Spec, TaskSpec, Touch
from hwsim.userspace.user_task import UserTask
from tests.support.worlds import DATA, HEAP, app, world
from tests.whole.accelerated import accelerated_spec
from tests.whole.shipped import spec_of

MADE = (Region, Task, Vma, UserTask)
DAY_NS = 86_400_000_000_000
SERVER = TaskSpec(
    "db", 24, regions=(HEAP, RegionSpec("seg", "shm", 64, shared=True)), group_death=True, restart_ns=1_000,
    fsync=FsyncSpec("data", 100_000),
)  # fmt: skip


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many objects of these classes are made from now on."""
    found = Counter[str]()
    for kind in MADE:
        init: Any = kind.__init__

        def counted(self: Any, *args: Any, init: Any = init, kind: type = kind, **more: Any) -> None:
            found[kind.__name__] += 1
            init(self, *args, **more)

        monkeypatch.setattr(kind, "__init__", counted)
    return found


def server(*errors: ErrorSpec, **more: Any) -> Spec:
    pools = (KernelPoolSpec("slab", 64, load_per_s=1.0),)
    spec = world(tasks=(SERVER,), files=(DATA,), pools=pools, reboot_ns=1_000_000, **more)
    return replace(spec, horizon_ns=DAY_NS, errors=errors)


def test_a_machine_that_nobody_looks_into_makes_no_process_and_no_region(made: Counter[str]) -> None:
    spec = server()
    machine = Machine(spec, 0, MemoryLayout(spec))
    machine.run()
    assert machine.result().row.errors == 0
    assert machine.kernel.process_count == 24
    assert not made


def test_an_error_in_memory_of_the_kernel_makes_its_region_and_what_comes_up_after_the_panic_nothing(
    made: Counter[str],
) -> None:
    spec = server(ErrorSpec(where=Place("region", "kernel:slab"), count=1))
    machine = Machine(spec, 0, MemoryLayout(spec))
    machine.run()
    assert (machine.panics, machine.kernel.process_count) == (1, 24)
    assert made == Counter(Region=1)
    assert not machine.kernel.mem_map.regions.made


def test_an_error_in_a_segment_makes_its_processes_but_not_their_own_memory(made: Counter[str]) -> None:
    spec = server(ErrorSpec(where=Place("region", "db/seg"), count=1))
    machine = Machine(spec, 0, MemoryLayout(spec))
    machine.run()
    assert made == Counter(Region=1, Task=24, UserTask=24, Vma=24)


def test_who_asks_for_a_heap_finds_it_mapped_since_the_boot() -> None:
    spec = server()
    machine = Machine(spec, 0, MemoryLayout(spec))
    machine.engine.run(5_000)
    heap = machine.kernel.mem_map.by_name["db.3/heap"]
    (vma,) = heap.anon_vma
    assert (vma.task.name, vma.task.pid, vma.number) == ("db.3", 103, 3 * 64)
    assert (vma.since_ns, heap.since_ns) == (0, 0)
    assert [each.number for each in vma.task.vmas.values()] == [3 * 64, 3 * 64 + 1]
    file = machine.kernel.mem_map.by_name["file:data"].mapping
    assert file is not None
    assert file.host is not None
    assert [each.opened_ns for each in file.files] == [0] * 24
    early = Machine(spec, 0, MemoryLayout(spec)).kernel.mem_map.by_name["file:data"].mapping
    assert early is not None
    assert early.host is not None
    assert early.host.calls == file.host.calls


def test_who_asks_for_the_heap_of_the_dead_finds_it_free() -> None:
    spec = server()
    machine = Machine(spec, 0, MemoryLayout(spec))
    members = machine.processes.groups[0].members
    machine.engine.run(5_000)
    members[0].exit()
    file = machine.kernel.mem_map.by_name["file:data"].mapping
    heap = machine.kernel.mem_map.by_name["db.3/heap"]
    assert (heap.alive, heap.epoch, heap.anon_vma) == (False, 1, [])
    assert file is not None
    assert file.host is not None
    assert (file.files, file.host.calls) == ([], [])


def test_a_start_that_nobody_sees_is_done_for_who_looks_afterwards() -> None:
    spec = server()
    machine = Machine(spec, 0, MemoryLayout(spec))
    group = machine.processes.groups[0]
    machine.engine.run(5_000)
    group.members[0].exit()
    machine.run()
    assert not any(member.alive for member in group.members)  # it is owed
    (first, *_) = machine.processes.members()
    assert first.task is not None
    assert (first.alive, first.task.pid, first.task.started_ns) == (True, 124, 6_000)
    assert machine.kernel.mem_map.by_name["db.3/heap"].epoch == 2


def test_pids_and_numbers_go_in_file_order_whoever_is_looked_at_first() -> None:
    spec = world(tasks=[replace(app(count=2, children=1), name=name) for name in ("a", "b")])
    spec = replace(spec, script=())
    machine = Machine(spec, 0, MemoryLayout(spec))
    looked = machine.kernel.mem_map.by_name["b.1/heap"].anon_vma
    assert [(vma.task.name, vma.task.pid) for vma in looked] == [("b.1", 105), ("b.1.0", 107)]
    found = [
        (each.name, each.number, each.task.pid if each.task else 0) for each in machine.processes.members()
    ]
    assert found[:4] == [("a.0", 0, 100), ("a.0.0", 1, 102), ("a.1", 2, 101), ("a.1.0", 3, 103)]
    assert found[4:] == [("b.0", 4, 104), ("b.0.0", 5, 106), ("b.1", 6, 105), ("b.1.0", 7, 107)]


def test_who_writes_back_the_same_file_comes_up_together_in_file_order() -> None:
    mapped = RegionSpec("map", "file", 8, file="data", shared=True, touch=(Touch(1.0),))
    tasks = [TaskSpec("a", fsync=FsyncSpec("data", 1_000)), TaskSpec("b", regions=(mapped,)), TaskSpec("c")]
    spec = world(tasks=tasks, files=(DATA,))
    machine = Machine(spec, 0, MemoryLayout(spec))
    file = machine.kernel.mem_map.by_name["file:data"].mapping
    assert file is not None
    assert [vma.task.pid for vma in file.vmas] == [101]
    assert len(file.files) == 2
    assert {region.name for region in machine.kernel.mem_map.regions.made.values()} == {"file:data", "b/map"}
    assert [each.task.pid for each in machine.processes.members() if each.task] == [100, 101, 102]


@pytest.mark.parametrize("early_kill", [0, 1])
@pytest.mark.parametrize("name", ["database-server", "web-server", "kvm-host", "fsync-race", "desktop"])
def test_a_traced_machine_which_makes_all_at_its_boots_tells_the_same(name: str, early_kill: int) -> None:
    for spec in (spec_of(name), accelerated_spec(name)):
        spec = replace(spec, machine=replace(spec.machine, early_kill=early_kill))
        plan = MemoryLayout(spec)
        for index in range(20 if spec.errors[0].count else 1):
            late, early = played(spec, index, plan, trace=False), played(spec, index, plan, trace=True)
            assert late == early._replace(log=[], events=[])


def played(spec: Spec, index: int, plan: MemoryLayout, *, trace: bool) -> Replication:
    machine = Machine(spec, index, plan, trace)
    machine.run()
    return machine.result()
