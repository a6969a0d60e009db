"""The valid parts of a scenario, so that one bad table does not hide mistakes elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hwsim import units
from hwsim.memory.kinds import FREE, POOLS, REGIONS, kind_of_file
from hwsim.scenario.problems import Path
from hwsim.scenario.schema import (
    Errors,
    File,
    Pool,
    Region,
    ScenarioModel,
    Step,
    Task,
)
from hwsim.scenario.schema_dram import Dram
from hwsim.scenario.schema_machine import Machine

_ONE_TASK = re.compile(r"([^./]+)\.(0|[1-9][0-9]*)(?:\.(0|[1-9][0-9]*))?/([^./]+)")
PINNED = {"blockdev", "ramfs", "tmpfs"}  # file systems whose inodes never leave memory


@dataclass
class Parts:
    """Tables that could be read; None stands for one that could not."""

    machine: Machine | None
    horizon_ns: int | None
    errors: list[Errors | None]
    file: list[File | None]
    task: list[Task | None]
    kernel: list[Pool | None]
    script: list[Step | None]
    dram: Dram | None = None
    raw: dict[str, Any] = field(default_factory=dict)
    exact: bool = True  # False: some tables were read without their bad keys

    @classmethod
    def of_model(cls, model: ScenarioModel, raw: dict[str, Any]) -> Parts:
        return cls(
            model.machine,
            model.horizon_ns,
            list(model.errors),
            list(model.files),
            list(model.tasks),
            list(model.pools),
            list(model.script),
            model.dram,
            raw,
        )

    @property
    def complete(self) -> bool:
        """No table with memory is missing, so sums over memory mean something."""
        return self.exact and self.machine is not None and None not in (*self.file, *self.task, *self.kernel)

    def raw_names(self, table: str, key: str = "name") -> list[str]:
        """Names in the file, those of unreadable tables included."""
        items = self.raw.get(table)
        found = [item.get(key) for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        return [name for name in found if isinstance(name, str)]

    def all_named(self, table: str) -> bool:
        """Whether :meth:`raw_names` are all: every table of this sort has a name, if not a good one."""
        items = self.raw.get(table, [])
        return isinstance(items, list) and len(self.raw_names(table)) == len(items)

    def files(self) -> dict[str, File]:
        return {item.name: item for item in self.file if item is not None}

    def tasks(self) -> dict[str, Task]:
        return {item.name: item for item in self.task if item is not None}

    def pools(self) -> dict[str, Pool]:
        return {item.kind: item for item in self.kernel if item is not None}

    def regions(self) -> Iterator[tuple[Path, Task, Region]]:
        """Every region of every readable task, with its place in the file."""
        for number, task in enumerate(self.task):
            for index, region in enumerate(task.regions if task is not None else ()):
                if task is not None:
                    yield ("task", number, "region", index), task, region


def cached_pages(file: File) -> int:
    """Pages of the file that are in memory."""
    return int(file.size * file.cached + 0.5)


def is_shared(region: Region) -> bool:
    """Whether all tasks of the group see the same frames."""
    return REGIONS[region.kind].shared if region.shared is None else region.shared


def pool_order(pool: Pool) -> int:
    """Order of the pool's allocations."""
    return POOLS[pool.kind].order if pool.order is None else pool.order


def region_pages(region: Region, files: dict[str, File]) -> int | None:
    """Pages of the region; None if its file is not known."""
    if region.size is not None:
        return region.size
    file = files.get(region.file or "")
    return cached_pages(file) if file is not None else None


def region_frames(task: Task, region: Region) -> int:
    """Frames set aside for a region in the whole machine; a mapping's frames belong to its file.

    Forked children have room for a copy of every page.
    """
    if REGIONS[region.kind].of_file or region.size is None:
        return 0
    if is_shared(region):
        return region.size
    return region.size * task.count * (1 + (task.children if REGIONS[region.kind].copied_at_fork else 0))


def one_tasks_region(parts: Parts, name: str) -> int | None:
    """Pages of ``postgres.3/heap`` or ``web.0.2/heap``: a private region of a single task."""
    match = _ONE_TASK.fullmatch(name)
    task = parts.tasks().get(match[1]) if match else None
    if match is None or task is None or int(match[2]) >= task.count:
        return None
    if match[3] is not None and int(match[3]) >= task.children:
        return None
    own = [region for region in _private(task) if region.label == match[4]]
    found = [r.size for r in own if match[3] is None or REGIONS[r.kind].copied_at_fork]
    return found[0] if found else None


def footprint(parts: Parts) -> list[tuple[str, str, int]]:
    """(name as ``where.region`` spells it, kind of page, frames) of everything that has frames."""
    rows = [
        (f"file:{item.name}", kind_of_file(item.filesystem), cached_pages(item))
        for item in parts.file
        if item is not None
    ]
    for _, task, region in parts.regions():
        if not REGIONS[region.kind].of_file:
            rows.append((f"{task.name}/{region.label}", region.kind, region_frames(task, region)))
    rows.extend((f"kernel:{pool.kind}", pool.kind, pool.size) for pool in parts.kernel if pool is not None)
    return rows


def free_pages(parts: Parts) -> int:
    """Pages left for the free lists; negative if memory is too small."""
    memory = parts.machine.memory_pages if parts.machine is not None else 0
    return memory - _laid_out(parts)


def place_pages(parts: Parts, index: int) -> int | None:
    """Pages of the place where a stream of errors falls; None if the place is not valid."""
    stream, machine = parts.errors[index], parts.machine
    if stream is None or machine is None:
        return None
    where = stream.where
    if where.pfns is not None:
        return len(set(where.pfns))
    wanted = where.region if where.region is not None else where.kind
    if wanted is None:
        return machine.fitted_pages
    if wanted == FREE:
        return max(free_pages(parts), 0)
    alone = one_tasks_region(parts, wanted)
    if where.region is not None and alone is not None:
        return alone
    rows = footprint(parts)
    sizes = [n for name, kind, n in rows if wanted == (name if where.region is not None else kind)]
    return sum(sizes) if sizes else None


def _laid_out(parts: Parts) -> int:
    """Frames before free memory: pools, tasks, files; large allocations are aligned to their size."""
    end = 0
    for pool in parts.kernel:
        if pool is not None:
            end = _aligned(end, pool_order(pool)) + pool.size
    for task in parts.task:
        if task is None:
            continue
        private = _private(task)
        if any(REGIONS[region.kind].huge for region in private):
            for _ in range(task.count):
                for region in private:
                    end = _aligned(end, _region_order(region))
                    end += region_frames(task, region) // task.count
        else:
            end += sum(region_frames(task, region) for region in private)
        for region in task.regions:
            if not REGIONS[region.kind].of_file and is_shared(region):
                end = _aligned(end, _region_order(region))
                end += region_frames(task, region)
    return end + sum(cached_pages(item) for item in parts.file if item is not None)


def _private(task: Task) -> list[Region]:
    """Regions of which each task has its own frames."""
    return [each for each in task.regions if not REGIONS[each.kind].shared and not is_shared(each)]


def _region_order(region: Region) -> int:
    return region.huge_order if REGIONS[region.kind].huge else 0


def _aligned(pages: int, order: int) -> int:
    return pages + -pages % (1 << order)


def show_pages(pages: int) -> str:
    """A number of pages for people."""
    return units.human_bytes(pages * units.PAGE_BYTES, 4)
