"""Which processes have to be there when a region is looked at: they come up together, and only then."""

from __future__ import annotations

from hwsim.kernel.frames import Layouts
from hwsim.spec import TaskSpec


class Users:
    """Who uses which region of a machine, by the numbers of regions and of [[task]] tables.

    Tables that map, or write back, the same file are one: all their processes stand in its lists, in the
    order of their start.  ``places`` are the processes of each table, ``first_places`` the first numbers.
    """

    __slots__ = ("_of_region", "first_places", "places")

    def __init__(self, tasks: tuple[TaskSpec, ...], layouts: Layouts) -> None:
        self.places = [task.count * (1 + task.children) for task in tasks]
        self.first_places = [sum(self.places[:number]) for number in range(len(tasks))]
        tables = [[number] for number in range(len(tasks))]  # by table: those that are one with it
        by_file: dict[str, list[int]] = {}
        for number, task in enumerate(tasks):
            for name in files_of(task):
                by_file.setdefault(name, []).append(number)
        for users in by_file.values():
            joined = sorted({each for user in users for each in tables[user]})
            for each in joined:
                tables[each] = joined
        found = {task.name: tables[number] for number, task in enumerate(tasks)}
        found |= {f"file:{name}": tables[users[0]] for name, users in by_file.items()}
        self._of_region = [found.get(_owner(layout.name), []) for layout in layouts]

    def of(self, region: int) -> list[int]:
        """The tables that come up with a region, in file order; a script's own has none."""
        return self._of_region[region] if region < len(self._of_region) else []


def _owner(region: str) -> str:
    """``postgres.3/heap`` is of ``postgres``; a file is its own."""
    task, slash, _ = region.partition("/")
    return task.split(".")[0] if slash else region


def files_of(task: TaskSpec) -> tuple[str, ...]:
    """The files that its processes map or write back, each once."""
    mapped = [region.file for region in task.regions if region.file is not None]
    return tuple(dict.fromkeys(mapped if task.fsync is None else [*mapped, task.fsync.file]))
