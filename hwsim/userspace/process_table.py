"""All processes of a machine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from hwsim.kernel.kernel import Kernel
from hwsim.rng import Draws
from hwsim.spec import ScriptStep, TaskSpec
from hwsim.userspace.task_group import TaskGroup
from hwsim.userspace.user_task import UserTask

_FIRST_PID = 100


class ProcessTable:
    """The groups of this boot, and what outlives it.

    Life: made at power-on -> :meth:`boot` with every kernel that comes up -> :meth:`tear_down` when that has
    ended.  Process ids count up from 100 and are not used twice, in no boot.
    """

    __slots__ = ("_draws", "_pids", "_restarts", "_script", "_specs", "groups")

    def __init__(self, draws: Draws, specs: tuple[TaskSpec, ...], script: tuple[ScriptStep, ...]) -> None:
        self._draws = draws
        self._specs = specs
        self._script = script  # says which files a process has open from its start
        self._pids = count(_FIRST_PID)
        self._restarts = 0  # in boots that are over
        self.groups: list[TaskGroup] = []

    @property
    def restarts(self) -> int:
        """Deaths of errors that a supervisor has answered with a start, in all boots."""
        return self._restarts + sum(group.restarts for group in self.groups)

    def members(self) -> Iterator[UserTask]:
        """Every place for a process, those without one too, in file order."""
        return (member for group in self.groups for member in group.members)

    def boot(self, kernel: Kernel) -> None:
        """All groups with every member running; members are numbered in file order."""
        number = 0
        for spec in self._specs:
            group = TaskGroup(kernel, self._draws, spec, self._pids, self._script)
            self.groups.append(group)
            group.boot(number)
            number += len(group.members)

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
        for group in self.groups:
            group.tear_down()
        self.groups = []
