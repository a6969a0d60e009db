"""The layout of a machine: which run of frames belongs to whom.

Made once from a spec and shared by all replications; it is a cache and cannot change a result.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import numpy as np

from hwsim.kernel.frames import Layout, Layouts
from hwsim.many_draws import Floats, Positions
from hwsim.memory.cells import Cells
from hwsim.memory.course import Case, Course
from hwsim.memory.kinds import FREE, REGIONS, kind_of_file
from hwsim.memory.line_reads import LineReads
from hwsim.memory.users import Users
from hwsim.spec import FileSpec, KernelPoolSpec, Place, RegionSpec, Spec, TaskSpec, Touch


class MemoryLayout:
    """Regions in physical order: reserved and kernel memory, task memory, files, then free memory.

    ``layouts`` is the table the regions of every replication are made from, ``users`` say which processes
    have to be there when one of them is looked at; :meth:`place` turns a uniform into a frame of a
    :class:`~hwsim.spec.Place`; ``line_reads`` is how often a line is read, built on demand.  ``cells`` and
    ``courses`` are kept here for who finds them: what the place of a page says of it, and what becomes of an
    error whose machine is not played.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._made: list[Layout] = []
        self._next = 0
        for pool in spec.pools:
            self._pool(pool)
        for task in spec.tasks:
            self._task(task)
        for file in spec.files:
            self._file(file)
        free = spec.machine.memory_pages - self._next
        if free < 0:
            raise ValueError(f"regions need {-free} pages more than the machine has")
        self._add(Layout(FREE, FREE, self._next, free, is_free=True))
        self.layouts = Layouts(self._made)
        self.users = Users(spec.tasks, self.layouts)
        self.cells: Cells | None = None
        self.courses: dict[Case, Course | None] = {}
        self._line_reads: LineReads | None = None
        self._places: dict[Place, tuple[list[int], list[int]]] = {}

    @property
    def line_reads(self) -> LineReads:
        """How often each line is read while everybody lives."""
        if self._line_reads is None:
            self._line_reads = LineReads(self.spec, self.layouts)
        return self._line_reads

    def _add(self, layout: Layout) -> int:
        self._made.append(layout)
        if layout.first_pfn >= 0:
            self._next = layout.first_pfn + layout.pages
        return len(self._made) - 1

    def _pool(self, pool: KernelPoolSpec) -> None:
        self._align(pool.order)
        self._add(
            Layout(
                f"kernel:{pool.kind}",
                pool.kind,
                self._next,
                pool.pages,
                touch=(Touch(1.0, pool.load_per_s, pool.store_per_s),),
                order=pool.order,
                full_line=pool.full_line,
                lifetime_ns=pool.lifetime_ns,
            )
        )

    def _align(self, order: int) -> None:
        self._next += -self._next % (1 << order)

    def _task(self, task: TaskSpec) -> None:
        for number in range(task.count):
            for region in task.regions:
                if _has_own_frames(region):
                    origin = self._region(f"{task.name}.{number}/{region.name}", region)
                    if REGIONS[region.kind].copied_at_fork:
                        for child in range(task.children):
                            name = f"{task.name}.{number}.{child}/{region.name}"
                            self._region(name, region, cow_of=origin)
        for region in task.regions:
            if not _has_own_frames(region):
                self._region(f"{task.name}/{region.name}", region)

    def _region(self, name: str, region: RegionSpec, cow_of: int = -1) -> int:
        use = REGIONS[region.kind]
        order = region.huge_order if use.huge else 0
        self._align(order)
        return self._add(
            Layout(
                name,
                region.kind,
                -1 if use.of_file else self._next,
                region.pages,
                touch=region.touch,
                order=order,
                lines_per_touch=region.lines_per_touch,
                full_line=region.full_line,
                mlock=region.mlock,
                swap=region.swap,
                pagevec=region.pagevec,
                filesystem=use.filesystem,
                is_hugetlb=use.huge,
                huge_free=region.huge_free,
                unmap_fail=region.unmap_fail,
                populate=region.populate,
                cow_of=cow_of,
            )
        )

    def _file(self, file: FileSpec) -> None:
        self._add(
            Layout(
                f"file:{file.name}",
                kind_of_file(file.filesystem),
                self._next,
                file.pages,
                touch=file.touch,
                lines_per_touch=file.lines_per_touch,
                pagevec=file.pagevec,
                buffers=file.buffers,
                buffers_busy=file.buffers_busy,
                filesystem=file.filesystem,
                is_file=True,
                turnover_per_s=file.turnover_per_s,
                truncate_per_s=file.truncate_per_s,
                evict_per_s=file.evict_per_s,
                flush_every_ns=file.flush_every_ns,
            )
        )

    def place(self, where: Place, u: float) -> int:
        """The frame that the uniform ``u`` picks in ``where``."""
        machine = self.spec.machine
        if where.kind == "uniform":
            return int(u * (machine.memory_pages + machine.hidden_pages))
        if where.kind == "pfns":
            return where.pfns[int(u * len(where.pfns))]
        firsts, ends = self._runs(where)
        nth = int(u * ends[-1])
        at = bisect_right(ends, nth)
        return firsts[at] + nth - (ends[at - 1] if at else 0)

    def place_each(self, where: Place, u: Floats) -> Positions:
        """int64: the frames that the uniforms ``u`` pick in ``where``."""
        machine = self.spec.machine
        if where.kind == "uniform":
            return (u * (machine.memory_pages + machine.hidden_pages)).astype(np.int64)
        if where.kind == "pfns":
            return np.array(where.pfns, np.int64)[(u * len(where.pfns)).astype(np.int64)]
        firsts, ends = (np.array(each, np.int64) for each in self._runs(where))
        nth = (u * ends[-1]).astype(np.int64)
        at = np.searchsorted(ends, nth, side="right")
        frames: Positions = firsts[at] + nth - np.where(at > 0, ends[at - 1], 0)
        return frames

    def _runs(self, where: Place) -> tuple[list[int], list[int]]:
        """Where each run of frames of ``where`` begins, and how many frames it has with those before it."""
        found = self._places.get(where)
        if found is None:
            chosen = [layout for layout in self.layouts if layout.first_pfn >= 0 and _matches(layout, where)]
            if not chosen:
                raise ValueError(f"no memory is {where.kind} {where.name!r}")
            found = [each.first_pfn for each in chosen], list(accumulate(each.pages for each in chosen))
            self._places[where] = found
        return found


def _has_own_frames(region: RegionSpec) -> bool:
    """Whether each task of the group has frames of its own for it; else all see the same."""
    return not region.shared and not REGIONS[region.kind].shared


def family_name(name: str) -> str:
    """``postgres.3/heap`` and ``web.0.2/heap`` belong to ``postgres/heap`` and ``web/heap``."""
    task, _, region = name.partition("/")
    return f"{task.split('.')[0]}/{region}" if region else name


def _matches(layout: Layout, where: Place) -> bool:
    if where.kind == "kind":
        return layout.kind == where.name
    return where.name in (layout.name, family_name(layout.name))
