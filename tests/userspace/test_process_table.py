"""The processes of a machine on a kernel alone: nobody watches, and no line is bad."""

from __future__ import annotations

from typing import NamedTuple

from hwsim.engine import Engine
from hwsim.kernel.mm_types import Page, Region, Vma
from hwsim.kernel.ports import PageWatcher
from hwsim.kernel.printk import Printk
from hwsim.machine.boot import boot_kernel
from hwsim.memory.layout import MemoryLayout
from hwsim.rng import Draws
from hwsim.spec import TaskSpec
from hwsim.userspace.process_table import ProcessTable
from tests.support.worlds import HEAP, app, world

RESTART_NS = 100


class Nobody(PageWatcher):
    """Looks after no page."""

    def watches(self, pfn: int) -> bool:
        return False

    def settle(self, region: Region) -> None: ...
    def sharers_changed(self, region: Region) -> None: ...
    def entries_copied(self, child: Vma) -> None: ...
    def entries_dropped(self, pages: list[Page]) -> None: ...
    def released(self, region: Region) -> None: ...
    def revived(self, region: Region) -> None: ...


class Booting(NamedTuple):
    engine: Engine
    processes: ProcessTable

    def boot(self, group: TaskSpec) -> None:
        spec, draws = world(tasks=(group,)), Draws(1, 0)
        kernel = boot_kernel(self.engine, draws, spec.machine, MemoryLayout(spec), Printk(False), {})
        kernel.watcher = Nobody()
        self.processes.boot(kernel)

    def pids(self) -> dict[str, int]:
        members = self.processes.members()
        return {each.name: each.task.pid for each in members if each.task is not None and each.alive}


def booted(group: TaskSpec) -> Booting:
    users = MemoryLayout(world(tasks=(group,))).users
    booting = Booting(Engine(), ProcessTable(Draws(1, 0), (group,), users, ()))
    booting.boot(group)
    return booting


def test_parents_come_before_their_children() -> None:
    found = booted(app(HEAP, count=2, children=1)).pids()
    assert found == {"app.0": 100, "app.0.0": 102, "app.1": 101, "app.1.0": 103}


def test_a_supervisor_starts_the_dead_with_their_workers() -> None:
    here = booted(app(HEAP, count=2, children=1, restart_ns=RESTART_NS))
    member = here.processes.groups[0].members[0]
    member.group.die(member, None)
    assert here.pids() == {"app.1": 101, "app.1.0": 103}
    here.engine.run(RESTART_NS + 1)
    assert here.pids() == {"app.0": 104, "app.0.0": 105, "app.1": 101, "app.1.0": 103}


def test_a_child_of_a_fork_comes_after_all_others_and_stays_dead() -> None:
    here = booted(app(HEAP, count=2, children=1, restart_ns=RESTART_NS))
    child = here.processes.fork(here.processes.groups[0].members[0])
    assert (child.name, child.number, here.pids()["app.0.1"]) == ("app.0.1", 4, 104)
    child.group.die(child, None)
    here.engine.run(RESTART_NS + 1)
    assert "app.0.1" not in here.pids()


def test_the_next_boot_starts_all_with_new_pids_and_forgets_what_was_planned() -> None:
    group = app(HEAP, restart_ns=RESTART_NS)
    here = booted(group)
    member = here.processes.groups[0].members[0]
    member.group.die(member, None, left=True)
    here.processes.tear_down()
    here.boot(group)
    assert here.pids() == {"app.0": 101}
    here.engine.run(RESTART_NS + 1)
    assert here.pids() == {"app.0": 101}
    assert here.processes.restarts == 0


def test_what_was_started_again_in_an_earlier_boot_still_counts() -> None:
    group = app(HEAP, restart_ns=RESTART_NS)
    here = booted(group)
    member = here.processes.groups[0].members[0]
    member.group.die(member, None, left=True)
    here.engine.run(RESTART_NS + 1)
    here.processes.tear_down()
    here.boot(group)
    assert here.processes.restarts == 1
