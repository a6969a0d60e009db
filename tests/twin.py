"""The slow twin: one machine that steps through every access, for comparison with the fast one.

It shares no code with the model: it reads the same :class:`hwsim.spec.Spec` and has its own random
numbers, its own event heap and its own memory.  It starts empty and warms up: a page is present
because somebody touched it, dirty because somebody stored to it after the last flush, copied because
somebody stored to it after the fork.  Nothing here is ever drawn from a stationary distribution.

What it knows: anonymous memory with forked children, shm, cached files with mappings, flusher and
fsync, read() and write(), patrol scrub with SRAO, device reads that are only logged (UCNA), panic at
consumption (the run ends), memory_failure() of HWPOISON v5 in one instant, SIGBUS by default kills.
Scenarios with anything else, or with delays, are refused.

Where frames come from: each page of a region has its own frame, and each child one more for its copy;
a copy or a first touch takes a free one of these.  A poisoned frame is replaced by one outside the
machine, where no error falls.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Any

from hwsim.spec import Delay, ErrorSpec, FileSpec, RegionSpec, Spec, TaskSpec, Touch

LINES = 64


@dataclass
class TwinError:
    """What became of one error; the names are those of the model's records."""

    onset_ns: int
    pfn: int
    line: int
    permanent: bool
    kind: str
    found: str = "none"
    found_ns: int | None = None
    contained_ns: int | None = None
    row: int = 0
    outcome: str = ""
    mappers: int = 0
    end: str = ""
    late_ns: list[int] = field(default_factory=list)


@dataclass
class TwinRun:
    """One replication: its errors in order of onset, kills by cause, and how many accesses it stepped."""

    end_ns: int
    errors: list[TwinError]
    kills: dict[str, int]
    panics: int
    accesses: int


class Frame:
    """One page frame.  ``bad`` maps a bad line to its error; ``maps`` are the VMAs that map it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.used = False
        self.dirty = False
        self.poisoned = False
        self.bad: dict[int, TwinError] = {}
        self.story: TwinError | None = None  # the first error here that is not healed
        self.maps: list[Mapping] = []
        self.drop: Callable[[], None] | None = None  # takes it out of the page cache


class Mapping:
    """A VMA with its page table: per page None, a frame, or the error whose poison entry stands there."""

    def __init__(self, process: Process, spec: RegionSpec, backing: Backing) -> None:
        self.process = process
        self.spec = spec
        self.backing = backing
        self.table: list[Frame | TwinError | None] = [None] * spec.pages
        backing.mappings.append(self)


class Backing:
    """What stands behind mappings: the anonymous memory of a fork family, an shm segment or a file.

    ``frames[i]`` are the frames meant for page i; ``cache[i]`` is the page cache (shm and files).
    """

    def __init__(self, kind: str, frames: list[list[Frame]]) -> None:
        self.kind = kind
        self.frames = frames
        self.cache: dict[int, Frame] = {}
        self.mappings: list[Mapping] = []

    def allocate(self, page: int) -> Frame:
        """A free frame, cleared (or copied to, or read into): that overwrites every line."""
        for frame in self.frames[page]:
            if not frame.used and not frame.poisoned:
                break
        else:
            frame = Frame(self.kind)
        frame.used, frame.dirty = True, False
        overwrite(frame, list(frame.bad))
        return frame

    def fault(self, page: int) -> Frame:
        """The frame a page fault maps: a new one for anonymous memory, else the cached one."""
        if self.kind == "anon":
            return self.allocate(page)
        frame = self.cache.get(page)
        if frame is None:
            frame = self.cache[page] = self.allocate(page)
            frame.drop = lambda: self.cache.pop(page, None)
        return frame


class Process:
    """One place for a process; ``life`` counts its lives, so that old accesses are recognised."""

    def __init__(self, group: Group, parent: Process | None, private: dict[str, Backing]) -> None:
        self.group = group
        self.parent = parent
        self.private = private
        self.alive = False
        self.life = 0
        self.mappings: dict[str, Mapping] = {}


@dataclass
class Group:
    """The processes of one task table and the memory they share."""

    spec: TaskSpec
    shared: dict[str, Backing]
    members: list[Process] = field(default_factory=list)


def overwrite(frame: Frame, lines: list[int]) -> None:
    """Whole lines are written without being read: what is transient is healed."""
    for line in lines:
        error = frame.bad.get(line)
        if error is not None and not error.permanent:
            error.end = "healed"
            del frame.bad[line]
            frame.story = None


class Twin:
    """The machine.  :meth:`run` steps it from power-on to the horizon or to the panic."""

    def __init__(self, spec: Spec, index: int) -> None:
        _refuse_what_it_does_not_know(spec)
        self.spec = spec
        self.rng = random.Random(f"{spec.seed}/{index}")
        self.now = 0
        self.heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.tick = count()
        self.frames: list[Frame] = []
        self.errors: list[TwinError] = []
        self.kills = {"early": 0, "late": 0, "group_death": 0}
        self.panics = 0
        self.accesses = 0
        self.groups: list[Group] = []
        self.files: dict[str, Backing] = {}
        self._lay_out()
        self.scrub_phase_ns = int(self.rng.random() * (spec.machine.scrub.period_ns or 0))
        for file in spec.files:
            self._open(file)
        for group in self.groups:
            self._start(group)
        for source in spec.errors:
            self._next_error(source)

    # -- set-up -------------------------------------------------------------------------------------

    def _take(self, kind: str, pages: int) -> list[Frame]:
        new = [Frame(kind) for _ in range(pages)]
        self.frames += new
        return new

    def _lay_out(self) -> None:
        """Frames in the order of the spec: private memory and its copies, segments, files, free."""
        for task in self.spec.tasks:
            group = Group(task, {})
            for _ in range(task.count):
                private: dict[str, Backing] = {}
                for region in task.regions:
                    if region.kind == "anon":
                        runs = [self._take("anon", region.pages) for _ in range(1 + task.children)]
                        private[region.name] = Backing("anon", [list(each) for each in zip(*runs, strict=True)])
                parent = Process(group, None, private)
                group.members += [parent, *(Process(group, parent, private) for _ in range(task.children))]
            for region in task.regions:
                if region.kind == "shm":
                    frames = self._take("shm", region.pages)
                    group.shared[region.name] = Backing("shm", [[each] for each in frames])
            self.groups.append(group)
        for file in self.spec.files:
            self.files[file.name] = Backing("file", [[each] for each in self._take("file", file.pages)])
        self._take("free", self.spec.machine.memory_pages - len(self.frames))

    def _open(self, file: FileSpec) -> None:
        backing = self.files[file.name]
        for page in range(file.pages):
            backing.fault(page)
        self._ticks(backing, file.flush_every_ns, lambda: True)
        for group in self.groups:
            fsync = group.spec.fsync
            if fsync is not None and fsync.file == file.name:
                for process in group.members:
                    self._ticks(backing, fsync.every_ns, lambda process=process: process.alive)
        self._stream(file.touch, file.pages, lambda page, store: self._system_call(file, page, store), lambda: True)

    # -- the event loop -----------------------------------------------------------------------------

    def at(self, time_ns: int, action: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self.heap, (time_ns, next(self.tick), action, args))

    def run(self) -> TwinRun:
        while self.heap and self.heap[0][0] < self.spec.horizon_ns and not self.panics:
            self.now, _, action, args = heapq.heappop(self.heap)
            action(*args)
        for error in self.errors:
            if not error.end:
                error.end = "isolated" if error.contained_ns is not None else "reachable" if error.found_ns else "latent"
        end = self.now if self.panics else self.spec.horizon_ns
        return TwinRun(end, self.errors, self.kills, self.panics, self.accesses)

    def _stream(
        self,
        touch: tuple[Touch, ...],
        pages: int,
        access: Callable[[int, bool], None],
        goes_on: Callable[[], bool],
    ) -> None:
        """Poisson accesses to every page of every band, one after the other."""
        bounds = [0, *(round(share * pages) for share in accumulate(band.share for band in touch))]
        for band, first, last in zip(touch, bounds, bounds[1:], strict=False):
            rate = band.load_per_s + band.store_per_s
            if rate > 0.0 and last > first:
                self._next_access(rate, band.store_per_s / rate, first, last, access, goes_on)

    def _next_access(
        self,
        rate: float,
        stores: float,
        first: int,
        last: int,
        access: Callable[[int, bool], None],
        goes_on: Callable[[], bool],
    ) -> None:
        def step() -> None:
            if goes_on():
                self.accesses += 1
                access(self.rng.randrange(first, last), self.rng.random() < stores)
                self.at(self.now + self._wait_ns(rate * (last - first)), step)

        self.at(self.now + self._wait_ns(rate * (last - first)), step)

    def _wait_ns(self, rate_per_s: float) -> int:
        return int(self.rng.expovariate(rate_per_s) * 1e9) + 1

    # -- processes ----------------------------------------------------------------------------------

    def _start(self, group: Group) -> None:
        for process in group.members:
            if not process.alive and process.parent is None:
                self._live(process, group.spec)
                for region in group.spec.regions:
                    self._exec(process, region)
        for process in group.members:
            if not process.alive and process.parent is not None and process.parent.alive:
                self._live(process, group.spec)
                for mapping in process.parent.mappings.values():
                    self._fork(process, mapping)

    def _live(self, process: Process, spec: TaskSpec) -> None:
        process.alive, process.life, process.mappings = True, process.life + 1, {}

    def _map(self, process: Process, region: RegionSpec, backing: Backing) -> Mapping:
        mapping = process.mappings[region.name] = Mapping(process, region, backing)
        life = process.life
        self._stream(
            region.touch,
            region.pages,
            lambda page, store: self._touch(mapping, page, store),
            lambda: process.alive and process.life == life,
        )
        return mapping

    def _exec(self, process: Process, region: RegionSpec) -> None:
        group = process.group
        if region.kind == "anon":
            backing = process.private[region.name]
        else:
            backing = group.shared[region.name] if region.kind == "shm" else self.files[str(region.file)]
        mapping = self._map(process, region, backing)
        if region.populate and (region.kind == "anon" or process is group.members[0]):
            for page in range(region.pages):
                self._present(mapping, page).dirty = True

    def _fork(self, child: Process, origin: Mapping) -> None:
        mapping = self._map(child, origin.spec, origin.backing)
        if origin.backing.kind == "anon":  # entries of shared mappings are left to page faults
            mapping.table = list(origin.table)
        for entry in mapping.table:
            if isinstance(entry, Frame):
                entry.maps.append(mapping)

    def _kill(self, process: Process, cause: str) -> None:
        if not process.alive:
            return
        group = process.group
        self._bury(process, cause)
        for other in group.members:
            if other.alive and (group.spec.group_death or other.parent is process):
                self._bury(other, "group_death")
        if not any(member.alive for member in group.members):
            for segment in group.shared.values():
                for frame in segment.cache.values():
                    frame.used = False
                segment.cache.clear()
        if group.spec.restart_ns is not None:
            self.at(self.now + group.spec.restart_ns, self._start, group)

    def _bury(self, process: Process, cause: str) -> None:
        self.kills[cause] += 1
        process.alive = False
        for mapping in process.mappings.values():
            mapping.backing.mappings.remove(mapping)
            for entry in mapping.table:
                if isinstance(entry, Frame):
                    entry.maps.remove(mapping)
                    if mapping.backing.kind == "anon" and not entry.maps:
                        entry.used = False

    # -- accesses -----------------------------------------------------------------------------------

    def _present(self, mapping: Mapping, page: int) -> Frame:
        entry = mapping.table[page]
        if isinstance(entry, Frame):
            return entry
        frame = mapping.table[page] = mapping.backing.fault(page)
        frame.maps.append(mapping)
        return frame

    def _touch(self, mapping: Mapping, page: int, store: bool) -> None:
        """A task loads from or stores to a page."""
        entry = mapping.table[page]
        if isinstance(entry, TwinError):  # the entry that replaced a poisoned page: SIGBUS BUS_MCEERR_AR
            entry.late_ns.append(self.now)
            self._kill(mapping.process, "late")
            return
        frame = self._present(mapping, page)
        if store and mapping.backing.kind == "anon" and len(frame.maps) > 1:
            frame = self._copy_on_write(mapping, page, frame)
        if store:
            frame.dirty = True
        spec = mapping.spec
        unread = store and self.rng.random() < spec.full_line
        self._lines(frame, self._some_lines(frame, spec.lines_per_touch), unread, "task_load")

    def _copy_on_write(self, mapping: Mapping, page: int, frame: Frame) -> Frame:
        """The first store since the fork: the kernel reads every line of the old page for the task."""
        self._lines(frame, list(frame.bad), False, "task_load")
        frame.maps.remove(mapping)
        new = mapping.backing.allocate(page)
        mapping.table[page] = new
        new.maps.append(mapping)
        return new

    def _system_call(self, file: FileSpec, page: int, store: bool) -> None:
        """read() reads lines in the kernel; write() overwrites them whole."""
        frame = self.files[file.name].fault(page)
        if store:
            frame.dirty = True
        self._lines(frame, self._some_lines(frame, file.lines_per_touch), store, "kernel_load")

    def _some_lines(self, frame: Frame, lines: float) -> list[int]:
        return self.rng.sample(range(LINES), int(lines)) if frame.bad else []

    def _lines(self, frame: Frame, lines: list[int], unread: bool, how: str) -> None:
        if unread:
            overwrite(frame, lines)
            return
        for line in lines:
            error = frame.bad.get(line)
            if error is not None and not self.panics:
                self._found(frame, error, how)
                error.end = "panic"  # consumption is fatal in this kernel
                self.panics = 1

    def _ticks(self, backing: Backing, every_ns: int, goes_on: Callable[[], bool]) -> None:
        """The flusher, or somebody's fsync: dirty pages are written out by DMA, which reads every line."""

        def flush() -> None:
            if goes_on():
                for frame in backing.cache.values():
                    if frame.dirty:
                        frame.dirty = False
                        for error in frame.bad.values():
                            self._found(frame, error, "device_read")  # UCNA: logged, nothing else
            self.at(self.now + every_ns, flush)

        self.at(int(self.rng.random() * every_ns), flush)

    # -- errors -------------------------------------------------------------------------------------

    def _next_error(self, source: ErrorSpec) -> None:
        self.at(self.now + self._wait_ns(source.rate_per_s), self._onset, source)

    def _onset(self, source: ErrorSpec) -> None:
        pfn, line = self.rng.randrange(len(self.frames)), self.rng.randrange(LINES)
        frame = self.frames[pfn]
        error = TwinError(self.now, pfn, line, self.rng.random() < source.permanent, _kind(frame))
        self.errors.append(error)
        if frame.story is not None:
            error.end = "duplicate"
        else:
            frame.story = frame.bad[line] = error
            self._await_scrub(frame, error)
        self._next_error(source)

    def _await_scrub(self, frame: Frame, error: TwinError) -> None:
        """The patrol address passes a line once a period, at the line's place in memory."""
        period = self.spec.machine.scrub.period_ns
        if period is None:
            return
        place = (error.pfn * LINES + error.line) * period // (len(self.frames) * LINES)
        self.at(self.now + (place - self.scrub_phase_ns - self.now) % period, self._scrub, frame, error)

    def _scrub(self, frame: Frame, error: TwinError) -> None:
        if frame.bad.get(error.line) is error and not frame.poisoned:
            self._found(frame, error, "scrub")
            self._memory_failure(frame, error)

    def _found(self, frame: Frame, error: TwinError, how: str) -> None:
        if error.found_ns is None:
            error.found, error.found_ns, error.kind = how, self.now, _kind(frame)

    def _memory_failure(self, frame: Frame, error: TwinError) -> None:
        """Unmap, kill or not, drop: the v5 handler on the kinds of pages that exist here."""
        frame.poisoned = True
        error.contained_ns = self.now
        if not frame.used:
            error.outcome = "Ignored"  # free: the allocator will drop it
            return
        mapped, error.mappers = list(frame.maps), len(frame.maps)
        dirty = frame.dirty or frame.kind == "anon"
        keep_entry = dirty or frame.kind == "shm"  # only a clean file page can be read again
        page = mapped[0].table.index(frame) if mapped else -1
        collected = [each for each in mapped[0].backing.mappings if page < each.spec.pages] if mapped else []
        frame.maps = []
        for mapping in mapped:
            mapping.table[page] = error if keep_entry else None
        if frame.drop is not None:
            frame.drop()
        error.row, error.outcome = (12 if dirty else 13), "Recovered"
        if dirty and self.spec.machine.early_kill:
            for mapping in collected:
                self._kill(mapping.process, "early")


def _kind(frame: Frame) -> str:
    return frame.kind if frame.used else "free"


def _refuse_what_it_does_not_know(spec: Spec) -> None:
    machine = spec.machine
    times = (getattr(machine.times, name) for name in machine.times.__dataclass_fields__)
    assert all(each == Delay() for each in times), "the twin's handler takes no time"
    assert machine.reboot_ns is None and machine.device_read == "UCNA" and machine.scrub.signals == "SRAO"
    assert not spec.pools and not spec.script and not machine.hidden_pages and not machine.alloc_per_s
    assert all(each.where.kind == "uniform" and each.burst_pages == 1 for each in spec.errors)
    assert {region.kind for task in spec.tasks for region in task.regions} <= {"anon", "shm", "file"}


def run_twin(spec: Spec, index: int) -> TwinRun:
    """One replication, stepped access by access."""
    return Twin(spec, index).run()
