"""Processes: who they are, what they map, how they start and fork.

A :class:`UserTask` is the place of a process ("postgres.3", or "web.0.2" for a forked child); the Task
in it changes with every restart.  Each member is one SimPy process that sleeps until a signal comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from math import log1p
from typing import TYPE_CHECKING, Any

from hwsim.engine import SIGNAL_DELIVERY, Bell
from hwsim.kernel.fault import copy_page_range
from hwsim.kernel.mm_types import OpenFile, Region, Signal, Task, UserSpace
from hwsim.kernel.mmap import do_mmap, dup_vma
from hwsim.kernel.signals import SIGKILL, unblock
from hwsim.rng import Slot
from hwsim.spec import RegionSpec
from hwsim.userspace.open_files import file_to_map, inherit_files, open_own_files
from hwsim.userspace.sigbus import UNCAUGHT, take_kill, take_signal

if TYPE_CHECKING:
    from hwsim.machine import Machine
    from hwsim.userspace.task_group import TaskGroup

_FOR_EVER_NS = 1 << 62  # 146 years: no run is longer, and SQLite can hold it
_EXIT = -3_000_000  # and below, one for each place: names of draws


class UserTask(UserSpace):
    """One place for a process in a group.

    Life: :meth:`start` (or :meth:`fork` from its parent) makes a Task -> signals come through
    :meth:`deliver` -> :meth:`TaskGroup.die` empties the place -> the supervisor starts it again.
    """

    __slots__ = (
        "_bell",
        "_exit_ns",
        "_inbox",
        "_revived",
        "_ringing",
        "_started",
        "access",
        "children",
        "copies",
        "file",
        "fsync_call",
        "fsync_ns",
        "group",
        "kernel",
        "lifetime_ns",
        "machine",
        "name",
        "number",
        "once",
        "parent",
        "private",
        "returning",
        "stores_per_ns",
        "struck",
        "task",
    )

    def __init__(
        self, machine: Machine, group: TaskGroup, name: str, number: int, parent: UserTask | None
    ) -> None:
        self.machine = machine
        self.kernel = machine.kernel  # of this boot: a member does not outlive it
        self.group = group
        self.name = name
        self.number = number
        self.parent = parent
        self.children: list[UserTask] = []
        self.private: dict[str, Region] = {}  # region name -> frames of its own (anon, hugetlb)
        self.copies: dict[str, Region] = {}  # of a child: region name -> copy-on-write frames
        self.task: Task | None = None
        self._inbox: deque[Signal] = deque()
        self.access: Signal | None = None  # of the access that a handler is about to return to
        self._ringing = False
        self._started = False
        self._bell: Any = None
        self.file: OpenFile | None = None  # of its fsync table: one session after another
        self.fsync_ns = 0  # phase of its periodic fsync
        self.fsync_call: tuple[int, int] | None = None  # as the inode knows of it: who is gone calls nothing
        self._exit_ns: int | None = None  # when it ends by itself, once that is drawn
        self.lifetime_ns = group.spec.lifetime_ns
        self.stores_per_ns = group.stores_per_ns
        self.once = False  # forked by a script: no supervisor brings it back
        self.struck = False  # an error, or its own end, has ended a process here in this boot
        self._revived: list[Region] = []
        self.returning: list[Any] = []  # accesses that wait for the handlers to be through

    def start(self) -> None:
        """A new process: exec, map everything, populate."""
        machine, spec = self.machine, self.group.spec
        now = machine.engine.now_ns
        self.task = task = self._new_task()
        first = self is self.group.members[0]
        open_own_files(self)
        for region_spec in spec.regions:
            self._map(task, region_spec, now, first)
        machine.kernel.process_count += 1
        self._tell_of_new_owner()

    def fork(self) -> None:
        """A new child of the parent's process: its mappings are copied, poison entries with them."""
        machine = self.machine
        now = machine.engine.now_ns
        parent = self.parent
        assert parent is not None and parent.task is not None
        self.task = task = self._new_task(parent.task)
        for copies in self.copies.values():
            copies.vmas = []
        for key, origin in parent.task.vmas.items():
            vma = dup_vma(task, key, origin, now)
            own = self.copies.get(origin.name)
            if own is not None:
                own.vmas.append(vma)
                self._take(own, now)
            copy_page_range(machine.kernel, origin, vma)
        inherit_files(self, parent)
        machine.kernel.process_count += 1
        self._tell_of_new_owner()
        machine.kernel.event("fork", task=self.name, pid=task.pid, parent=parent.task.pid)

    def _new_task(self, parent: Task | None = None) -> Task:
        machine = self.machine
        task = Task(
            self.name,
            self.group.spec.name,
            machine.next_pid(),
            self.number,
            machine.engine.now_ns,
            self,
            parent,
        )
        sigbus = self.group.spec.sigbus
        task.ignored = sigbus.on_ao == "ignored"
        task.blocked = sigbus.on_ao == "blocked"
        task.caught = sigbus.on_ao not in UNCAUGHT
        if parent is None:
            task.mce_kill = self.group.spec.mce_kill
        self._exit_ns = None
        return task

    def _map(self, task: Task, spec: RegionSpec, now: int, first: bool) -> None:
        kernel = self.machine.kernel
        populated = spec.populate
        if spec.kind in ("anon", "hugetlb") and not spec.shared:
            region = self.private[spec.name]
            self._take(region, now)
            if spec.kind == "anon":
                do_mmap(
                    task,
                    spec.name,
                    region,
                    spec.pages,
                    since_ns=now,
                    anon_vma=region.anon_vma,
                    mlocked=spec.mlock,
                    populated=populated,
                )
            else:
                vma = do_mmap(
                    task,
                    spec.name,
                    region,
                    spec.pages,
                    since_ns=now,
                    populated=populated,
                    mapping=region.mapping,
                )
                region.vmas = [vma]
        elif spec.kind == "file":
            region = kernel.mem_map.by_name[f"{self.group.spec.name}/{spec.name}"]
            file = kernel.mem_map.by_name[f"file:{spec.file}"]
            do_mmap(
                task,
                spec.name,
                region,
                spec.pages,
                since_ns=now,
                shared=True,
                mapping=file.mapping,
                mlocked=spec.mlock,
                populated=populated,
                file=file_to_map(task, spec.file, file.mapping, now),
            )
        else:  # shm and shared hugetlb: one segment of the group
            region = kernel.mem_map.by_name[f"{self.group.spec.name}/{spec.name}"]
            self._take(region, now)
            vma = do_mmap(
                task,
                spec.name,
                region,
                spec.pages,
                since_ns=now,
                shared=True,
                mapping=region.mapping,
                mlocked=spec.mlock,
                populated=populated and first,
            )
            region.vmas.append(vma)

    def _take(self, region: Region, now: int) -> None:
        if not region.alive:
            region.revive(now)
            self._revived.append(region)

    def _tell_of_new_owner(self) -> None:
        """Once all is mapped: frames with a story have a new owner."""
        revived, self._revived = self._revived, []
        for region in revived:
            self.machine.kernel.watcher.revived(region)

    @property
    def alive(self) -> bool:
        return self.task is not None and self.task.alive

    def next_exit_ns(self) -> int:
        life, now = self.lifetime_ns, self.machine.engine.now_ns
        if life is None:
            return _FOR_EVER_NS
        if self._exit_ns is None or self._exit_ns <= now:
            u = self.machine.draws.extra(_EXIT - self.number, Slot.LIFETIME, now)
            self._exit_ns = now + int(-log1p(-u) * life) + 1
        return self._exit_ns

    def exit(self) -> None:
        self._exit_ns = None
        self.kernel.event("exit", task=self.name)
        self.group.die(self, None)

    def dies_with(self, other: Task) -> bool:
        return self.group.spec.group_death and user_task(other).group is self.group

    def deliver(self, signal: Signal, *, default: bool) -> None:
        """A signal is on its way: the process notices it when it next returns to user space."""
        machine, engine = self.machine, self.machine.engine
        if signal.task.blocked and not default:
            self._hold_back(signal)
            return
        u = signal.failure.extra(Slot.DELIVERY, self.number)
        delay_ns = machine.spec.machine.times.signal_delivery.draw(u)
        if signal.signal == SIGKILL or default:
            due = engine.now_ns + delay_ns
            engine.at(due, SIGNAL_DELIVERY | self.number, lambda _event: take_kill(machine, self, signal))
            return
        self._inbox.append(signal)
        if self._ringing:
            return
        if not self._started:
            self._started = True
            self._bell = Bell(engine)
            engine.process(self._life())
        self._ringing = True
        self._bell.ring(delay_ns, SIGNAL_DELIVERY | self.number)

    def _hold_back(self, signal: Signal) -> None:
        """SIGBUS is blocked: by the task, which unblocks it one day, or by a handler, whose end does."""
        task, delay_ns = signal.task, self.group.spec.sigbus.unblock_ns
        if delay_ns is None or task.handler_ends_ns:
            return

        def later(_event: Any) -> None:
            if task.alive and not self.kernel.halted and task.pending is signal:
                unblock(task)

        engine = self.machine.engine
        engine.at(engine.now_ns + delay_ns, SIGNAL_DELIVERY | self.number, later)

    def tear_down(self) -> None:
        """The boot is over: see boot.tear_down()."""
        task, self.task, self.parent = self.task, None, None
        self.children, self.private, self.copies, self.access = [], {}, {}, None
        self._inbox.clear()
        self.returning.clear()
        if self._bell is not None and self._bell.callbacks:
            self._bell.callbacks.clear()
        if task is not None:
            task.pending = None
            for vma in task.vmas.values():
                vma.ptes.clear()
            task.vmas.clear()

    def _life(self) -> Generator[Any, Any, None]:
        engine = self.machine.engine
        while True:
            yield self._bell
            self._bell = Bell(engine)
            while self._inbox:
                yield from take_signal(self.machine, self, self._inbox.popleft())
            self._ringing = False


def user_task(task: Task) -> UserTask:
    """What runs in the task."""
    assert isinstance(task.user, UserTask)
    return task.user
