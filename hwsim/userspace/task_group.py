"""Groups of like processes and their supervisor: who falls with whom, who starts the dead again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from hwsim.elementary import added
from hwsim.engine import SIGNAL_DELIVERY, Alarm
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_alloc import release_region
from hwsim.kernel.mm_types import Region, Signal, Task
from hwsim.kernel.signal import SIGKILL
from hwsim.memory.users import files_of
from hwsim.record import Cause, Code, Result
from hwsim.rng import Draws
from hwsim.spec import ScriptStep, TaskSpec
from hwsim.userspace import spawn
from hwsim.userspace.exit import do_exit
from hwsim.userspace.periodic_fsync import begin_calls, draw_phase
from hwsim.userspace.user_task import Supervisor, UserTask

_NOTHING_SHARED = nullcontext()


@dataclass(slots=True, eq=False)
class TaskGroup(Supervisor):
    """All members of one [[task]] table and their supervisor, in one boot.

    Life: made empty -> :meth:`boot` makes the places and starts a process in each -> :meth:`die` empties
    some, :meth:`start` fills them again -> :meth:`tear_down`.
    """

    _kernel: Kernel
    _draws: Draws
    spec: TaskSpec
    _pids: Iterator[int]
    _script: tuple[ScriptStep, ...]
    members: list[UserTask] = field(default_factory=list)
    empty: list[UserTask] = field(default_factory=list)  # those without a process
    shared: list[Region] = field(default_factory=list)
    common: dict[str, Region] = field(default_factory=dict)  # by region name: what all members map alike
    files: tuple[str, ...] = field(init=False)  # mapped, or written back
    stores_per_ns: float = field(init=False)
    restarts: int = 0  # deaths of errors that a start has answered: one of all that died together
    _planned: set[Alarm] = field(default_factory=set)  # restarts to come

    def __post_init__(self) -> None:
        self.files = files_of(self.spec)
        self.stores_per_ns = 1e-9 * added(
            region.pages * touch.share * touch.store_per_s
            for region in self.spec.regions
            for touch in region.touch
        )

    def boot(self, first_number: int, pids: Iterator[int]) -> None:
        """Every place of the table, numbered from ``first_number`` on, with a process in it."""
        number = first_number
        for parent_number in range(self.spec.count):
            parent = self._add(f"{self.spec.name}.{parent_number}", number, None)
            number += 1
            for child_number in range(self.spec.children):
                self._add(f"{parent.name}.{child_number}", number, parent)
                number += 1
        self._give_regions()
        if (fsync := self.spec.fsync) is not None:
            for member in self.members:
                draw_phase(member, fsync, self._draws)
        self.empty = list(self.members)
        self._kernel.process_count -= len(self.members)  # they have counted since the boot
        self.start(pids)

    def _add(self, name: str, number: int, parent: UserTask | None) -> UserTask:
        member = UserTask(self._kernel, self._draws, self, name, number, parent)
        self.members.append(member)
        if parent is not None:
            parent.children.append(member)
        return member

    def _give_regions(self) -> None:
        by_name = self._kernel.mem_map.by_name
        for region in self.spec.regions:
            common = by_name.get(f"{self.spec.name}/{region.name}")
            if common is not None:
                self.common[region.name] = common
                if common.layout.first_pfn >= 0:
                    self.shared.append(common)
                continue
            for member in self.members:
                own = by_name.get(f"{member.name}/{region.name}")
                if own is not None:
                    (member.private if member.parent is None else member.copies)[region.name] = own

    def tear_down(self) -> None:
        """The boot is over: the group lets go of its members, and they of all else."""
        for member in self.members:
            member.tear_down()
        self.members, self.empty, self.shared, self.common = [], [], [], {}
        for alarm in self._planned:
            alarm.callbacks.clear()

    def fork(self, parent: UserTask, name: str, number: int) -> UserTask:
        """A new place with a child of ``parent`` in it that no supervisor brings back."""
        child = self._add(name, number, parent)
        child.once = True
        with self._sharers_change():
            spawn.fork(child, next(self._pids))
        return child

    def start(self, pids: Iterator[int] | None = None) -> None:
        """Start every member that is not running: parents first, then their children."""
        waiting, self.empty, pids = self.empty, [], pids or self._pids
        with self._sharers_change():
            for member in sorted(waiting, key=lambda each: (each.parent is not None, each.number)):
                if member.alive:
                    continue
                if member.parent is None:
                    first = member is self.members[0]
                    spawn.execve(member, next(pids), self._script, first=first)
                elif member.parent.alive:
                    spawn.fork(member, next(pids))
                else:
                    self.empty.append(member)
            if (fsync := self.spec.fsync) is not None:
                for member in waiting:
                    begin_calls(member, fsync)
        # Once a family is complete it is known who copies what from whom.
        for root in dict.fromkeys(member.parent or member for member in waiting):
            for each in (root, *root.children) if root.children else ():
                for region in (*each.private.values(), *each.copies.values()):
                    self._kernel.watcher.sharers_changed(region)

    def _sharers_change(self) -> AbstractContextManager[None]:
        """Around anything that changes who uses the group's shared memory or files.

        Pages with a bad line are brought up to now before, and their races are drawn anew after: once,
        however many tasks come or go at this instant.
        """
        return self._redraw() if self.shared or self.files else _NOTHING_SHARED

    @contextmanager
    def _redraw(self) -> Iterator[None]:
        by_name, watcher = self._kernel.mem_map.by_name, self._kernel.watcher
        regions = list(self.shared)
        regions += [by_name[f"file:{name}"] for name in self.files]
        for region in regions:
            watcher.settle(region)
        yield
        for region in regions:
            watcher.sharers_changed(region)

    def die(
        self, member: UserTask, signal: Signal | None, *, left: bool = False, by_step: bool = False
    ) -> None:
        """It goes with whom the group rules take down; plan the restart."""
        waiting = len(self.empty)
        with self._sharers_change():
            self._bury(member, signal, by_step=by_step)
            # Workers go with their master; a process that a script forked is nobody's worker.
            workers = [child for child in member.children if not child.once]
            for other in self.members if self.spec.group_death else workers:
                if other.alive and other.task is not None:
                    if signal is not None:
                        self._group_death(other.task, signal)
                    self._kernel.event("killed", task=other.name, pid=other.task.pid, cause=Cause.GROUP_DEATH)
                    self._bury(other, signal, by_step=by_step)
        self._release_shared()
        if self.spec.restart_ns is not None:
            counts = (signal is not None or left) and len(self.empty) > waiting
            due_ns, tie = self._kernel.engine.now_ns + self.spec.restart_ns, SIGNAL_DELIVERY | member.number
            planned = self._kernel.engine.at(due_ns, tie, lambda alarm: self._restart(alarm, counts=counts))
            self._planned.add(planned)

    def _bury(self, member: UserTask, signal: Signal | None, *, by_step: bool) -> None:
        if not member.once:
            self.empty.append(member)
        do_exit(member, killed=signal is not None, by_step=by_step)

    def _group_death(self, task: Task, signal: Signal) -> None:
        """The task is taken down by one that ``signal`` has killed."""
        death = Signal(task, SIGKILL, Code.NONE, Cause.GROUP_DEATH, signal.failure, None, True, None)
        death.sent_ns = death.done_ns = self._kernel.engine.now_ns
        death.result = Result.KILLED
        for watcher in self._kernel.handler_watchers:
            watcher.signalled(death)

    def _restart(self, alarm: Alarm, *, counts: bool) -> None:
        """The supervisor starts all that are dead by now."""
        self._planned.discard(alarm)
        if self._kernel.halted:
            return
        self.restarts += counts
        dead = [each for each in self.empty if each.parent is None]
        self.start()
        for each in dead:  # of the children fork() tells
            self._kernel.event("start", task=each.name, pid=each.task.pid if each.task else 0)

    def _release_shared(self) -> None:
        if any(member.alive for member in self.members):
            return
        for region in self.shared:
            release_region(self._kernel, region)
