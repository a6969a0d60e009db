"""Groups of like processes and their supervisor: who falls with whom, who starts the dead again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from operator import attrgetter

from hwsim.elementary import added
from hwsim.engine import SIGNAL_DELIVERY, Alarm
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_alloc import release_region
from hwsim.kernel.mm_types import FIRST_PAGE, AddressSpace, Region, Signal, Task
from hwsim.kernel.signal import SIGKILL
from hwsim.memory.users import files_of
from hwsim.record import Cause, Code, Result
from hwsim.rng import Draws
from hwsim.spec import ScriptStep, TaskSpec
from hwsim.userspace import spawn
from hwsim.userspace.exit import do_exit, leave_files
from hwsim.userspace.open_files import open_asked
from hwsim.userspace.periodic_fsync import begin_calls, draw_phase
from hwsim.userspace.user_task import Supervisor, UserTask

_NOTHING_SHARED = nullcontext()


@dataclass(slots=True, eq=False)
class TaskGroup(Supervisor):
    """All members of one [[task]] table and their supervisor, in one boot.

    Life: made empty -> :meth:`boot` makes the places and starts a process in each -> :meth:`die` empties
    some, :meth:`start` fills them again -> :meth:`tear_down`.  Memory of one process, and a file that is only
    written back, wait until somebody looks at them (:meth:`looked_at`), or the process starts again.
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
    asked: AddressSpace | None = None  # the file of its fsync table, once anybody has looked at it
    starts: list[int] = field(init=False)
    stores_per_ns: float = field(init=False)
    restarts: int = 0  # deaths of errors that a start has answered: one of all that died together
    _planned: set[Alarm] = field(default_factory=set)  # restarts to come
    _files: tuple[str, ...] = field(init=False)  # regions: of what is mapped, or written back
    _seen: dict[str, Region] = field(default_factory=dict)  # of these, those that somebody has looked at
    _boot_ns: int = 0

    def __post_init__(self) -> None:
        self._files = tuple(f"file:{name}" for name in files_of(self.spec))
        self.starts = list(accumulate((each.pages + 16 for each in self.spec.regions), initial=FIRST_PAGE))
        self.stores_per_ns = 1e-9 * added(
            region.pages * touch.share * touch.store_per_s
            for region in self.spec.regions
            for touch in region.touch
        )

    def boot(self, first_number: int, pids: Iterator[int]) -> None:
        """Every place of the table, numbered from ``first_number`` on, with a process in it."""
        number, self._boot_ns = first_number, self._kernel.engine.now_ns
        for parent_number in range(self.spec.count):
            parent = self._add(f"{self.spec.name}.{parent_number}", number, None)
            number += 1
            for child_number in range(self.spec.children):
                self._add(f"{parent.name}.{child_number}", number, parent)
                number += 1
        self._find_regions()
        self.empty = list(self.members)
        self._kernel.process_count -= len(self.members)  # they have counted since the boot
        self.start(pids)

    def _add(self, name: str, number: int, parent: UserTask | None) -> UserTask:
        member = UserTask(self._kernel, self._draws, self, name, number, parent)
        self.members.append(member)
        if parent is not None:
            parent.children.append(member)
        return member

    def _find_regions(self) -> None:
        """What all map is there at once; what a fork copies, a script may name or a trace tells of, too."""
        mem_map = self._kernel.mem_map
        for spec in self.spec.regions:
            common = mem_map.by_name.get(f"{self.spec.name}/{spec.name}")
            if common is not None:
                self.common[spec.name] = common
                if common.layout.first_pfn >= 0:
                    self.shared.append(common)
                else:
                    self._look_at(f"file:{spec.file}")
        for region in list(mem_map.regions.made.values()):  # somebody was there before the group
            self.looked_at(region)
        if self.spec.children or self._script or self._kernel.trace is not None:
            self._look_at_all(self.members)

    def _look_at_all(self, members: list[UserTask]) -> None:
        own = [spec.name for spec in self.spec.regions if spec.name not in self.common]
        for member in members:
            for name in own:
                if name not in member.private:
                    self._look_at(f"{member.name}/{name}")
        for name in self._files:
            if name not in self._seen:
                self._look_at(name)

    def _look_at(self, name: str) -> None:
        self._kernel.mem_map.by_name.get(name)  # by which all its users are told

    def looked_at(self, region: Region) -> None:
        """Somebody looks at a region: what the group has done to it since the boot is done now."""
        if not self.members:  # not booted yet
            return
        if region.name in self._files:
            self._see_file(region)
            return
        place, _, name = region.name.partition("/")
        group, *numbers = place.split(".")
        if group == self.spec.name and numbers:
            parent = int(numbers[0]) * (1 + self.spec.children)
            child = 1 + int(numbers[1]) if len(numbers) > 1 else 0
            spawn.see_own(self.members[parent + child], region, name)

    def _see_file(self, region: Region) -> None:
        self._seen[region.name] = region
        if self.spec.fsync is None or region.name != f"file:{self.spec.fsync.file}":
            return
        engine, self.asked = self._kernel.engine, region.mapping
        engine.as_of(self._boot_ns, self._join_file)
        for member in sorted(self.members, key=attrgetter("left_ns")):
            if member.task is not None and not member.alive:
                engine.as_of(member.left_ns, partial(leave_files, member))

    def _join_file(self) -> None:
        assert self.spec.fsync is not None
        for member in self.members:
            draw_phase(member, self.spec.fsync, self._draws)
        for member in self.members:
            if member.task is not None:
                open_asked(member)

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
        waiting, self.empty = self.empty, []
        if pids is None:
            pids = self._pids
            self._look_at_all(waiting)
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
            if self.asked is not None and (fsync := self.spec.fsync) is not None:
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
        return self._redraw() if self.shared or self._files else _NOTHING_SHARED

    @contextmanager
    def _redraw(self) -> Iterator[None]:
        regions, watcher = self._used_by_all(), self._kernel.watcher
        for region in regions:
            watcher.settle(region)
        yield
        for region in regions:
            watcher.sharers_changed(region)

    def _used_by_all(self) -> list[Region]:
        return [*self.shared, *(self._seen[name] for name in self._files if name in self._seen)]

    def _start_is_seen(self) -> bool:
        """Whether something is under way in memory that the dead will have again."""
        regions = self._used_by_all()
        for root in dict.fromkeys([member.parent or member for member in self.empty]):
            for each in (root, *root.children):
                regions += [*each.private.values(), *each.copies.values()]
        return any(region.watched for region in regions)

    def die(
        self, member: UserTask, signal: Signal | None, *, left: bool = False, by_step: bool = False
    ) -> None:
        """It goes with whom the group rules take down; plan the restart."""
        waiting, traced = len(self.empty), self._kernel.trace is not None
        with self._sharers_change():
            self._bury(member, signal, by_step=by_step)
            # Workers go with their master; a process that a script forked is nobody's worker.
            workers = [child for child in member.children if not child.once]
            for other in self.members if self.spec.group_death else workers:
                if other.alive and other.task is not None:
                    if signal is not None:
                        self._group_death(other.task, signal)
                    if traced:
                        facts = {"task": other.name, "pid": other.task.pid, "cause": Cause.GROUP_DEATH}
                        self._kernel.event("killed", **facts)
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
        if self._kernel.trace is not None or self._start_is_seen():
            self._start_the_dead()
        else:
            self._kernel.engine.put_off(self._start_the_dead)

    def _start_the_dead(self) -> None:
        dead = [each for each in self.empty if each.parent is None]
        self.start()
        for each in dead:  # of the children fork() tells
            self._kernel.event("start", task=each.name, pid=each.task.pid if each.task else 0)

    def _release_shared(self) -> None:
        if any(member.alive for member in self.members):
            return
        for region in self.shared:
            release_region(self._kernel, region)
