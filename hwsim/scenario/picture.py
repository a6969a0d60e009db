"""A small picture of who maps what, to tell whether a script step can happen at its time."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field

from hwsim import units
from hwsim.scenario.parts import Parts, region_pages
from hwsim.scenario.schema import Task


@dataclass
class Mapped:
    """A region: its pages (None: not known) and the ranges (first, count, step) taken out of it."""

    pages: int | None
    file: str | None = None
    holes: list[tuple[int, int, int]] = field(default_factory=list)

    def hole(self, first: int, count: int = 1) -> int | None:
        """The step that unmapped any of these pages, or None."""
        for start, length, step in self.holes:
            if first < start + length and start < first + count:
                return step
        return None

    def all_gone(self) -> bool:
        return self.pages is not None and sum(length for _, length, _ in self.holes) >= self.pages


@dataclass
class TaskPicture:
    """A living task."""

    regions: dict[str, Mapped]
    restart_ns: int | None
    forked: int = 0  # children so far: the next one gets this number


class Picture:
    """The tasks of a scenario as the script leaves them.  Tasks are made when first asked for,
    because a group can have thousands."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tasks: dict[str, TaskPicture] = {}
        self._gone: dict[str, tuple[int, int | None]] = {}  # name -> exit, return
        self._by_script: Counter[str] = Counter()
        self.blocks: dict[str, int] = {}

    def _template(self, name: str) -> TaskPicture | None:
        """The task as it is at the start, if the scenario starts one of this name."""
        group, *numbers = name.split(".")
        task: Task | None = self._parts.tasks().get(group)
        if task is None or not 1 <= len(numbers) <= 2:
            return None
        if not all(number == str(int(number)) for number in numbers if number.isdecimal()):
            return None
        if not all(number.isdecimal() for number in numbers) or int(numbers[0]) >= task.count:
            return None
        if len(numbers) == 2 and int(numbers[1]) >= task.children:
            return None
        files = self._parts.files()
        regions = {r.label: Mapped(region_pages(r, files), r.file) for r in task.region}
        return TaskPicture(regions, task.restart, task.children if len(numbers) == 1 else 0)

    def task(self, name: str, at_ns: int) -> TaskPicture | str | None:
        """The task, or words on why it does not live now, or None if there never was one."""
        if name in self._gone:
            left_ns, back_ns = self._gone[name]
            if back_ns is None or at_ns < back_ns:
                return f"has exited at {units.format_duration(left_ns)}"
            del self._gone[name]
            self._tasks.pop(name, None)
        if name not in self._tasks:
            template = self._template(name)
            if template is None:
                return None
            self._tasks[name] = template
        return self._tasks[name]

    def fork(self, name: str, at_ns: int) -> None:
        parent = self.task(name, at_ns)
        if isinstance(parent, TaskPicture):
            child = TaskPicture(deepcopy(parent.regions), None)
            self._tasks[f"{name}.{parent.forked}"] = child
            self._gone.pop(f"{name}.{parent.forked}", None)
            parent.forked += 1

    def exit(self, name: str, at_ns: int) -> None:
        task = self.task(name, at_ns)
        if isinstance(task, TaskPicture):
            back = task.restart_ns
            self._gone[name] = (at_ns, None if back is None else at_ns + back)

    def reboot(self, at_ns: int) -> None:
        """Everything starts anew; tasks that were forked by the script do not come back."""
        del at_ns
        self._tasks.clear()
        self._gone.clear()
        self.blocks.clear()

    def is_unreadable(self, name: str) -> bool:
        """The task's own table has mistakes, so nothing can be said about it."""
        group = name.split(".", maxsplit=1)[0]
        return group in self._parts.raw_names("task") and group not in self._parts.tasks()

    def family(self, name: str) -> str:
        return name.split(".", maxsplit=1)[0]

    def examples(self, name: str) -> list[str]:
        """Names of tasks to show, those of the same group first."""
        group = name.split(".", maxsplit=1)[0]
        names: list[str] = []
        for task in sorted(self._parts.tasks().values(), key=lambda task: task.name != group):
            names += [f"{task.name}.{number}" for number in range(min(task.count, 3))]
            names += [f"{task.name}.0.{number}" for number in range(min(task.children, 3))]
        return list(dict.fromkeys([*names, *self._tasks]))

    def kernel_blocks(self) -> dict[str, int]:
        """Pools and allocated blocks with their pages."""
        return {kind: pool.size for kind, pool in self._parts.pools().items()} | self.blocks
