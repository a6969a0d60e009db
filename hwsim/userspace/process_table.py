"""All processes of a machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import count

from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import Region
from hwsim.memory.users import Users
from hwsim.rng import Draws
from hwsim.spec import ScriptStep, TaskSpec
from hwsim.userspace.task_group import TaskGroup
from hwsim.userspace.user_task import UserTask

_FIRST_PID = 100


class ProcessTable:
    """The groups of this boot, and what outlives it.

    Life: made at power-on -> :meth:`boot` with every kernel that comes up: of its processes there are only
    numbers -> whoever first looks at a region finds those there that use it, as they started at the boot, and
    whoever asks for :attr:`groups` all -> :meth:`tear_down` when the kernel has ended.  Process ids count
    up from 100 and are not used twice, in no boot.
    """

    __slots__ = (
        "_boot_ns",
        "_draws",
        "_first_pid",
        "_groups",
        "_kernel",
        "_pids",
        "_restarts",
        "_script",
        "_specs",
        "_users",
    )

    def __init__(
        self, draws: Draws, specs: tuple[TaskSpec, ...], users: Users, script: tuple[ScriptStep, ...]
    ) -> None:
        self._draws = draws
        self._specs = specs
        self._users = users
        self._script = script  # says which files a process has open from its start
        self._pids = count(_FIRST_PID)
        self._restarts = 0  # in boots that are over
        self._groups: dict[int, TaskGroup] = {}  # those that somebody has looked for, by table
        self._kernel: Kernel
        self._boot_ns = self._first_pid = 0

    @property
    def restarts(self) -> int:
        """Deaths of errors that a supervisor has answered with a start, in all boots."""
        return self._restarts + sum(group.restarts for group in self._groups.values())

    @property
    def groups(self) -> list[TaskGroup]:
        """All groups, in file order."""
        tables = range(len(self._specs))
        self._kernel.engine.catch_up()
        self._start(tables)
        return [self._groups[table] for table in tables]

    def members(self) -> Iterator[UserTask]:
        """Every place for a process, those without one too, in file order."""
        return (member for group in self.groups for member in group.members)

    def boot(self, kernel: Kernel) -> None:
        """All groups with every member running; members, and the ids of their processes, go in file order."""
        processes = sum(self._users.places)
        self._kernel, self._boot_ns, self._first_pid = kernel, kernel.engine.now_ns, next(self._pids)
        self._pids = count(self._first_pid + processes)
        kernel.process_count = processes
        kernel.mem_map.regions.first_looks.append(self._looked_at)
        if kernel.trace is not None:
            self._start(range(len(self._specs)))  # the event log tells of their forks first

    def _looked_at(self, region: Region) -> None:
        tables = self._users.of(region.number)
        awake = [self._groups[table] for table in tables if table in self._groups]
        self._start(tables)
        for group in awake:
            group.looked_at(region)

    def _start(self, tables: Iterable[int]) -> None:
        """These groups, as the boot has started them."""
        asleep = [table for table in tables if table not in self._groups]
        for table in asleep:  # all of them first: their starts look at regions of each other
            group = TaskGroup(self._kernel, self._draws, self._specs[table], self._pids, self._script)
            self._groups[table] = group
        for table in asleep:
            first, group = self._users.first_places[table], self._groups[table]
            pids = count(self._first_pid + first)
            self._kernel.engine.as_of(self._boot_ns, partial(group.boot, first, pids))

    def fork(self, parent: UserTask) -> UserTask:
        """The process forks on its own account; the child has the next free number."""
        names = {member.name for member in self.members()}
        number = len(parent.children)
        while f"{parent.name}.{number}" in names:
            number += 1
        group = next(each for each in self.groups if each is parent.group)
        last = max(member.number for member in self.members())
        return group.fork(parent, f"{parent.name}.{number}", last + 1)

    def tear_down(self) -> None:
        """The kernel has ended, and its tasks with it."""
        self._restarts = self.restarts
        for group in self._groups.values():
            group.tear_down()
        self._groups = {}
