"""The slow twin: one machine that steps through every access, for comparison with the fast one.

It shares no code with the model: it reads the same :class:`hwsim.spec.Spec` and has its own random
numbers, its own event heap and its own memory.  It starts empty and warms up: a page is present
because somebody touched it, dirty because somebody stored to it after its file was written, copied because
somebody stored to it after the fork.  Nothing here is ever drawn from a stationary distribution.

What it knows: anonymous memory with forked children, shm, the round through swap, cached files with
mappings, flusher and fsync, read() and write(), turnover and truncation, patrol scrub with SRAO, device
reads that are only logged (UCNA), panic at consumption (the run ends), memory_failure() of HWPOISON v5
in one instant, death by SIGBUS, AS_EIO and who is told.  It refuses scenarios with anything else, or
with delays.

Each page of a region has its own frame, and each child one more for its copy; a copy or a first touch
takes a free one of these.  A poisoned frame is replaced by one from elsewhere, where no error falls.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, count, pairwise
from typing import Any

from hwsim.spec import Delay, ErrorSpec, FileSpec, RegionSpec, Spec, TaskSpec, Touch
from tests.twin.twin_churn import (
    CLEAN_MAPPED,
    CLEAN_UNMAPPED,
    DIRTY_MAPPED,
    OUT,
    PLAIN,
    Errors,
    read_by_device,
    swap,
    truncation,
    turnover,
)
from tests.twin.twin_memory import Backing, Frame, Group, Mapping, Process, TwinError

LINES = 64


@dataclass
class TwinRun:
    """One replication: its errors in order of onset, kills by cause, and how many accesses it stepped."""

    end_ns: int
    errors: list[TwinError]
    kills: dict[str, int]
    accesses: int


class Twin:
    """The machine.  :meth:`run` steps it from power-on to the horizon or to the panic."""

    def __init__(self, spec: Spec, index: int) -> None:
        _refuse_what_it_does_not_know(spec)
        self.spec = spec
        self.rng = random.Random(f"{spec.seed}/{index}")
        self.now = 0
        self.heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.order = count()
        self.frames: list[Frame] = []
        self.errors: list[TwinError] = []
        self.kills = {"early": 0, "late": 0, "group_death": 0}
        self.panicked = False
        self.accesses = 0
        self.eio = Errors(self)
        self.scrub_phase_ns = int(self.rng.random() * (spec.machine.scrub.period_ns or 0))
        # Frames in the order of the spec: each task's private memory and copies, segments, files, free.
        self.groups = [self._lay_out(task) for task in spec.tasks]
        self.files = {file.name: Backing("file", self._frames("file", file.pages, 1)) for file in spec.files}
        self._frames("free", spec.machine.memory_pages - len(self.frames), 1)
        for file in spec.files:
            self._open(file, self.files[file.name])
        if spec.files and spec.machine.dirty_writeback_ns:
            self.at(int(self.rng.random() * spec.machine.dirty_writeback_ns), self._wake_flusher)
        for group in self.groups:
            self._start(group)
        for source in spec.errors:
            self._next_error(source)

    def _frames(self, kind: str, pages: int, each: int) -> list[list[Frame]]:
        new = [[Frame(kind) for _ in range(pages)] for _ in range(each)]
        for run in new:
            self.frames += run
        return [list(page) for page in zip(*new, strict=True)]

    def _lay_out(self, task: TaskSpec) -> Group:
        group = Group(task)
        for _ in range(task.count):
            private = {
                region.name: Backing("anon", self._frames("anon", region.pages, 1 + task.children))
                for region in task.regions
                if region.kind == "anon"
            }
            parent = Process(group, None, private)
            for region in task.regions:
                if region.kind == "anon" and region.swap is not None:
                    swap(self, private[region.name], region.swap)
            group.members += [parent, *(Process(group, parent, private) for _ in range(task.children))]
        for region in task.regions:
            if region.kind == "shm":
                group.shared[region.name] = Backing("shm", self._frames("shm", region.pages, 1))
                if region.swap is not None:
                    swap(self, group.shared[region.name], region.swap)
        return group

    def _open(self, file: FileSpec, backing: Backing) -> None:
        for page in range(file.pages):
            backing.fault(page)
        for group in self.groups:
            fsync = group.spec.fsync
            if fsync is not None and fsync.file == file.name:
                for process in group.members:
                    self._fsyncs(backing, fsync.every_ns, process)

        callers = [
            process
            for group in self.groups
            if group.spec.name in file.writers
            or (not file.writers and group.spec.fsync is not None and group.spec.fsync.file == file.name)
            for process in group.members
        ]

        def access(page: int, store: bool) -> None:
            frame = backing.fault(page)
            if store:
                alive = [process for process in callers if process.alive]
                frame.writer = self.rng.choice(alive) if alive else None
            self._system_call(file, backing, frame, store)

        turnover(self, file, backing)
        truncation(self, file, backing)
        self._accesses(file.touch, file.pages, access, lambda: True)

    # -- the event loop -----------------------------------------------------------------------------

    def at(self, time_ns: int, action: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self.heap, (time_ns, next(self.order), action, args))

    def wait_ns(self, rate_per_s: float) -> int:
        return int(self.rng.expovariate(rate_per_s) * 1e9) + 1

    def run(self) -> TwinRun:
        while self.heap and self.heap[0][0] < self.spec.horizon_ns and not self.panicked:
            self.now, _, action, args = heapq.heappop(self.heap)
            action(*args)
        for error in self.errors:
            if not error.end:
                found = "latent" if error.found_ns is None else "reachable"
                error.end = found if error.contained_ns is None else "isolated"
        end_ns = self.now if self.panicked else self.spec.horizon_ns
        return TwinRun(end_ns, self.errors, self.kills, self.accesses)

    def _accesses(
        self,
        touch: tuple[Touch, ...],
        pages: int,
        access: Callable[[int, bool], None],
        goes_on: Callable[[], bool],
    ) -> None:
        """Poisson accesses to every page of every band, one after the other."""

        def step(rate: float, stores: float, first: int, last: int, waiting: bool = True) -> None:
            if waiting and not goes_on():
                return
            if waiting:
                self.accesses += 1
                access(self.rng.randrange(first, last), self.rng.random() < stores)
            self.at(self.now + self.wait_ns(rate), step, rate, stores, first, last)

        bounds = [0, *(round(share * pages) for share in accumulate(band.share for band in touch))]
        for band, (first, last) in zip(touch, pairwise(bounds), strict=True):
            rate = (band.load_per_s + band.store_per_s) * (last - first)
            if rate > 0.0:
                step(rate, band.store_per_s * (last - first) / rate, first, last, waiting=False)

    # -- processes ----------------------------------------------------------------------------------

    def _start(self, group: Group) -> None:
        for process in group.members:
            if not process.alive and (process.parent is None or process.parent.alive):
                process.alive, process.life, process.mappings = True, process.life + 1, []
                process.since_ns = self.now
                if process.parent is None:
                    for region in group.spec.regions:
                        self._exec(process, region)
                else:
                    for origin in process.parent.mappings:
                        self._fork(process, origin)

    def _map(self, process: Process, region: RegionSpec, backing: Backing) -> Mapping:
        mapping = Mapping(process, region, backing, [None] * region.pages)
        process.mappings.append(mapping)
        backing.mappings.append(mapping)
        life = process.life

        def access(page: int, store: bool) -> None:
            self._touch(mapping, page, store)

        self._accesses(region.touch, region.pages, access, lambda: process.alive and process.life == life)
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
                if page not in backing.lost:
                    self._present(mapping, page).dirty = True

    def _fork(self, child: Process, origin: Mapping) -> None:
        """Anonymous memory is shared until a store; shared mappings are left to page faults."""
        mapping = self._map(child, origin.spec, origin.backing)
        if origin.backing.kind == "anon":
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
                segment.lost.clear()
        if group.spec.restart_ns is not None:
            self.at(self.now + group.spec.restart_ns, self._start, group)

    def _bury(self, process: Process, cause: str) -> None:
        self.kills[cause] += 1
        process.alive = False
        for mapping in process.mappings:
            mapping.backing.mappings.remove(mapping)
            for entry in mapping.table:
                if isinstance(entry, Frame):
                    entry.maps.remove(mapping)
                    entry.used = bool(entry.maps) or mapping.backing.kind != "anon"

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
        entry = mapping.backing.lost.get(page) or mapping.table[page]
        if isinstance(entry, TwinError):  # SIGBUS: poison, or a segment's page that was out
            entry.late_ns.append(self.now)
            if entry.lost_ns is not None:
                self.eio.tell(entry, mapping.process)
            self._kill(mapping.process, "late")
            return
        frame = self._present(mapping, page)
        if mapping.backing.stage.get(page) in OUT:  # the touch waits for the swap-in
            return
        if store:
            frame.writer = mapping.process
        if store and mapping.backing.kind == "anon" and len(frame.maps) > 1:  # copy on write
            self._read(frame, list(frame.bad), "task_load")  # the kernel copies every line, for the task
            frame.maps.remove(mapping)
            mapping.table[page] = None
            frame = self._present(mapping, page)
        if store:
            mapping.backing.store(frame, self.now)
        self._lines(frame, mapping.spec.lines_per_touch, store and self.rng.random() < mapping.spec.full_line)

    def _lines(self, frame: Frame, lines: float, unread: bool, how: str = "task_load") -> None:
        """Some lines of a page are read, or overwritten without being read."""
        if not frame.bad:
            return
        touched = self.rng.sample(range(LINES), int(lines))
        if unread:
            frame.overwrite(touched)
        else:
            self._read(frame, touched, how)

    def _system_call(self, file: FileSpec, backing: Backing, frame: Frame, store: bool) -> None:
        """read() reads lines in the kernel; write() overwrites them whole."""
        if store:
            backing.store(frame, self.now)
        self._lines(frame, file.lines_per_touch, store, "kernel_load")

    def _read(self, frame: Frame, lines: list[int], how: str) -> None:
        for line in lines:
            if line in frame.bad and not self.panicked:
                self.found(frame, frame.bad[line], how)
                frame.bad[line].end = "panic"  # consumption is fatal in this kernel
                self.panicked = True

    def _write_out(self, backing: Backing) -> None:
        """Dirty pages are written by DMA, which reads every line; the file is clean then."""
        backing.dirtied_ns = None
        for frame in backing.cache.values():
            if frame.dirty:
                frame.dirty = False
                read_by_device(self, frame)

    def _wake_flusher(self) -> None:
        """Every file that has been dirty long enough is written as a whole."""
        machine = self.spec.machine
        for file in self.spec.files:
            backing = self.files[file.name]
            age_ns = machine.dirty_expire_ns if file.flush_every_ns is None else file.flush_every_ns
            never = file.flush_every_ns == 0
            if backing.dirtied_ns is not None and not never and self.now - backing.dirtied_ns >= age_ns:
                self._write_out(backing)
        self.at(self.now + machine.dirty_writeback_ns, self._wake_flusher)

    def _fsyncs(self, backing: Backing, every_ns: int, by: Process) -> None:
        """A task's fsync."""

        def fsync() -> None:
            self.at(self.now + every_ns, fsync)
            if by.alive:
                self._write_out(backing)
                self.eio.fsync(backing, by)

        self.at(int(self.rng.random() * every_ns), fsync)

    # -- errors -------------------------------------------------------------------------------------

    def _next_error(self, source: ErrorSpec) -> None:
        self.at(self.now + self.wait_ns(source.rate_per_s), self._onset, source)

    def _onset(self, source: ErrorSpec) -> None:
        pfn, line = self.rng.randrange(len(self.frames)), self.rng.randrange(LINES)
        frame = self.frames[pfn]
        error = TwinError(self.now, pfn, line, self.rng.random() < source.permanent, frame.kind_now)
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
        if period is not None:
            place = (error.pfn * LINES + error.line) * period // (len(self.frames) * LINES)
            self.at(self.now + (place - self.scrub_phase_ns - self.now) % period, self._scrub, frame, error)

    def _scrub(self, frame: Frame, error: TwinError) -> None:
        if frame.bad.get(error.line) is error:
            self.found(frame, error, "scrub")
            self._memory_failure(frame, error)

    def found(self, frame: Frame, error: TwinError, how: str) -> None:
        """Somebody has met the bad line."""
        if error.found_ns is None:
            error.found, error.found_ns, error.kind = how, self.now, frame.kind_now

    def _memory_failure(self, frame: Frame, error: TwinError) -> None:
        """Unmap, kill or not, drop: the v5 handler on the kinds of pages that exist here."""
        frame.poisoned = True
        error.contained_ns = self.now
        if not frame.used:
            error.outcome = "Ignored"  # free: the allocator will drop it
            return
        backing, page = self._place(frame)
        stage = backing.stage.get(page, PLAIN)
        if frame.kind == "shm" and stage in (DIRTY_MAPPED, CLEAN_MAPPED):
            stage = PLAIN  # pages of a segment are mapped from their page cache only
        entries, frame.maps = frame.maps, []
        mapped = [] if stage in OUT else entries
        error.mappers = len(mapped)
        on_disk = stage in (CLEAN_UNMAPPED, CLEAN_MAPPED) or (frame.kind == "file" and not frame.dirty)
        dirty = not on_disk and (frame.dirty or frame.kind == "anon")
        # What can be read again is; a page of a segment that is out answers EIO to all who map the segment.
        out = frame.kind == "shm" and stage in OUT
        if out and dirty:
            backing.lost[page] = error
        for mapping in entries:
            mapping.table[page] = None if on_disk or out else error
        backing.cache.pop(page, None)
        error.row, error.outcome = (12 if dirty else 13), "Recovered"
        if stage != PLAIN:
            error.row, error.outcome = (6, "Delayed") if dirty else (7, "Recovered")
        error.data_lost = dirty
        if dirty and frame.kind == "file":
            self.eio.lost(backing, error, frame.writer)
        if dirty and mapped and self.spec.machine.early_kill:
            collected = [each for each in backing.mappings if page < each.spec.pages]
            error.collected = (len(collected), sum(each not in mapped for each in collected))
            for mapping in collected:
                self._signal_early(mapping.process, error)

    def _signal_early(self, process: Process, error: TwinError) -> None:
        if process.alive and error.lost_ns is not None:
            self.eio.tell(error, process)
        self._kill(process, "early")

    def _place(self, frame: Frame) -> tuple[Backing, int]:
        """What the frame holds: which page of what."""
        if frame.maps:
            mapping = frame.maps[0]
            return mapping.backing, mapping.table.index(frame)
        shared = [each for group in self.groups for each in group.shared.values()]
        for backing in (*self.files.values(), *shared):
            for page, each in backing.cache.items():
                if each is frame:
                    return backing, page
        raise AssertionError("a frame in use holds nothing")


def _refuse_what_it_does_not_know(spec: Spec) -> None:
    machine = spec.machine
    times = (getattr(machine.times, name) for name in machine.times.__dataclass_fields__)
    assert all(each == Delay() for each in times), "the twin's handler takes no time"
    assert (machine.reboot_ns, machine.device_read, machine.scrub.signals) == (None, "UCNA", "SRAO")
    assert not any((spec.pools, spec.script, machine.hidden_pages, machine.alloc_per_s))
    assert not any(task.children and region.swap for task in spec.tasks for region in task.regions)
    assert all(each.where.kind == "uniform" and each.burst_pages == 1 for each in spec.errors)
    assert {region.kind for task in spec.tasks for region in task.regions} <= {"anon", "shm", "file"}


def run_twin(spec: Spec, index: int) -> TwinRun:
    """One replication, stepped access by access."""
    return Twin(spec, index).run()
