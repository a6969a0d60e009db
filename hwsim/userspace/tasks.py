"""Groups of processes: who they are, what they map, how they start, fork, die and start again.

A :class:`Member` is the place of a process ("postgres.3", or "web.0.2" for a forked child); the Task
in it changes with every restart.  Each member is one SimPy process that sleeps until a signal comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from hwsim.engine import SIGNAL_DELIVERY
from hwsim.kernel.fault import copy_page_range
from hwsim.kernel.filemap_error import OpenFile
from hwsim.kernel.mem_map import Region
from hwsim.kernel.signals import SIGKILL, Signal
from hwsim.kernel.task_struct import Task
from hwsim.spec import RegionSpec, TaskSpec
from hwsim.userspace.frames import close_vma, free_swap_and_cache, put_page
from hwsim.userspace.open_files import close_files, file_to_map, inherit_files, open_own_files
from hwsim.userspace.sigbus import UNCAUGHT, take_kill, take_signal

if TYPE_CHECKING:
    from hwsim.machine import Machine


_NOTHING_SHARED = nullcontext()


class Member:
    """One place for a process in a group.

    Life: :meth:`start` (or :meth:`fork` from its parent) makes a Task -> signals come through
    :meth:`deliver` -> :meth:`Group.die` empties the place -> the supervisor starts it again.
    """

    __slots__ = (
        "access",
        "bell",
        "children",
        "copies",
        "file",
        "fsync_ns",
        "group",
        "inbox",
        "kernel",
        "machine",
        "name",
        "next_exit_ns",
        "number",
        "once",
        "parent",
        "private",
        "revived",
        "ringing",
        "started",
        "task",
    )

    def __init__(self, machine: Machine, group: Group, name: str, number: int, parent: Member | None) -> None:
        self.machine = machine
        self.kernel = machine.kernel  # of this boot: a member does not outlive it
        self.group = group
        self.name = name
        self.number = number
        self.parent = parent
        self.children: list[Member] = []
        self.private: dict[str, Region] = {}  # region name -> frames of its own (anon, hugetlb)
        self.copies: dict[str, Region] = {}  # of a child: region name -> copy-on-write frames
        self.task: Task | None = None
        self.inbox: deque[Signal] = deque()
        self.access: Signal | None = None  # of the access that a handler is about to return to
        self.ringing = False
        self.started = False
        self.bell: Any = None
        self.file: OpenFile | None = None  # of its fsync table: one session after another
        self.fsync_ns = 0  # phase of its periodic fsync
        self.next_exit_ns: int | None = None
        self.once = False  # forked by a script: no supervisor brings it back
        self.revived: list[Region] = []

    @property
    def alive(self) -> bool:
        """Whether there is a process in this place."""
        return self.task is not None and self.task.alive

    def start(self) -> None:
        """A new process: exec, map everything, populate."""
        machine, spec = self.machine, self.group.spec
        now = machine.engine.now
        self.task = task = self._new_task()
        first = self is self.group.members[0]
        open_own_files(self)
        for region_spec in spec.regions:
            self._map(task, region_spec, now, first)
        machine.kernel.process_count += 1
        self._tell_of_new_owner()

    def fork(self) -> None:
        """A new child of the parent's process: its mappings are copied, poison entries with them."""
        machine = self.machine
        now = machine.engine.now
        parent = self.parent
        assert parent is not None and parent.task is not None
        self.task = task = self._new_task(parent.task)
        for name, origin in parent.task.vmas.items():
            vma = task.add_vma(
                name,
                origin.region,
                origin.pages,
                start=origin.start,
                since_ns=now,
                shared=origin.shared,
                mapping=origin.mapping,
                anon_vma=origin.anon_vma,
                mlocked=origin.mlocked,
                populated=origin.populated,
                pgoff=origin.pgoff,
                file=origin.file,
            )
            if origin.region.kind in ("shm", "hugetlb"):
                origin.region.vmas.append(vma)
            origin.forked_ns = now
            vma.populated = origin.populated and not origin.shared
            copies = self.copies.get(name)
            if copies is not None:
                copies.vmas = [vma]
                self._take(copies, now)
            copy_page_range(machine.kernel, origin, vma)
            machine.entries_copied(vma)
        inherit_files(self, parent)
        machine.kernel.process_count += 1
        self._tell_of_new_owner()
        machine.kernel.event("fork", task=self.name, pid=task.pid, parent=parent.task.pid)

    def _new_task(self, parent: Task | None = None) -> Task:
        machine = self.machine
        task = Task(
            self.name, self.group.spec.name, machine.next_pid(), self.number, machine.engine.now, parent
        )
        task.behaviour = self
        sigbus = self.group.spec.sigbus
        task.ignored = sigbus.on_ao == "ignored"
        task.blocked = sigbus.on_ao == "blocked"
        task.caught = sigbus.on_ao not in UNCAUGHT
        if parent is None:
            task.mce_kill = self.group.spec.mce_kill
        self.next_exit_ns = None
        return task

    def _map(self, task: Task, spec: RegionSpec, now: int, first: bool) -> None:
        kernel = self.machine.kernel
        populated = spec.populate
        if spec.kind in ("anon", "hugetlb") and not spec.shared:
            region = self.private[spec.name]
            self._take(region, now)
            if spec.kind == "anon":
                task.add_vma(
                    spec.name,
                    region,
                    spec.pages,
                    since_ns=now,
                    anon_vma=region.anon_vma,
                    mlocked=spec.mlock,
                    populated=populated,
                )
            else:
                vma = task.add_vma(
                    spec.name, region, spec.pages, since_ns=now, populated=populated, mapping=region.mapping
                )
                region.vmas = [vma]
        elif spec.kind == "file":
            region = kernel.mem_map.by_name[f"{self.group.spec.name}/{spec.name}"]
            file = kernel.mem_map.by_name[f"file:{spec.file}"]
            task.add_vma(
                spec.name,
                region,
                spec.pages,
                since_ns=now,
                shared=True,
                mapping=file.mapping,
                mlocked=spec.mlock,
                populated=populated,
                file=file_to_map(task, spec.file, file.mapping, now),
            )
        else:  # shm and shared hugetlb: one segment of the group
            region = kernel.mem_map.by_name[f"{self.group.spec.name}/{spec.name}"]
            self._take(region, now)
            vma = task.add_vma(
                spec.name,
                region,
                spec.pages,
                since_ns=now,
                shared=True,
                mapping=region.mapping,
                mlocked=spec.mlock,
                populated=populated and first,
            )
            region.vmas.append(vma)

    def _take(self, region: Region, now: int) -> None:
        if not region.alive:
            region.revive(now)
            self.revived.append(region)

    def _tell_of_new_owner(self) -> None:
        """Once all is mapped: frames with a story have a new owner."""
        revived, self.revived = self.revived, []
        for region in revived:
            self.machine.region_revived(region)

    def deliver(self, signal: Signal, default: bool, delay_ns: int) -> None:
        """A signal is on its way: the process notices it when it next returns to user space."""
        engine = self.machine.engine
        if signal.signal == SIGKILL or default:
            due = engine.now + delay_ns
            engine.at(
                due, SIGNAL_DELIVERY | self.number, lambda _event: take_kill(self.machine, self, signal)
            )
            return
        self.inbox.append(signal)
        if self.ringing:
            return
        if not self.started:
            self.started = True
            self.bell = engine.sleep()
            engine.env.process(self._life())
        self.ringing = True
        engine.wake(self.bell, delay_ns, SIGNAL_DELIVERY | self.number)

    def _life(self) -> Generator[Any, Any, None]:
        engine = self.machine.engine
        while True:
            yield self.bell
            self.bell = engine.sleep()
            while self.inbox:
                yield from take_signal(self.machine, self, self.inbox.popleft())
            self.ringing = False


class Group:
    """All members of one [[task]] table and their supervisor."""

    __slots__ = ("empty", "machine", "maps_files", "members", "number", "shared", "spec", "stores_per_ns")

    def __init__(self, machine: Machine, spec: TaskSpec, number: int) -> None:
        self.machine = machine
        self.spec = spec
        self.number = number
        self.members: list[Member] = []
        self.empty: list[Member] = []  # those without a process
        self.maps_files = any(region.kind == "file" for region in spec.regions)
        self.shared: list[Region] = []
        # What one task of the group writes, into all of its memory together.
        self.stores_per_ns = 1e-9 * sum(
            region.pages * touch.share * touch.store_per_s
            for region in spec.regions
            for touch in region.touch
        )

    def start(self) -> None:
        """Start every member that is not running: parents first, then their children."""
        waiting, self.empty = self.empty, []
        with self.sharers_change():
            for member in sorted(waiting, key=_start_order):
                if member.alive:
                    continue
                if member.parent is None:
                    member.start()
                elif member.parent.alive:
                    member.fork()
                else:
                    self.empty.append(member)
        for member in waiting:  # once a family is complete it is known who copies what from whom
            root = member.parent or member
            for each in (root, *root.children) if root.children else ():
                for region in (*each.private.values(), *each.copies.values()):
                    self.machine.draw_races(region)

    def sharers_change(self) -> AbstractContextManager[None]:
        """Around anything that changes who maps the group's shared memory or files.

        Pages with a story are brought up to now before, and their races are drawn anew after: once,
        however many tasks come or go at this instant.
        """
        return self._redraw() if self.shared or self.maps_files else _NOTHING_SHARED

    @contextmanager
    def _redraw(self) -> Iterator[None]:
        machine = self.machine
        by_name = machine.kernel.mem_map.by_name
        regions = list(self.shared)
        regions += [by_name[f"file:{each.file}"] for each in self.spec.regions if each.kind == "file"]
        for region in regions:
            machine.settle(region)
        yield
        for region in regions:
            machine.draw_races(region)

    def die(self, member: Member, signal: Signal | None, *, left: bool = False) -> None:
        """The process in ``member`` is gone, with whom the group rules take down; plan the restart.

        Killed by ``signal``, or ``left`` by its SIGBUS handler, or (neither) ended without an error.
        """
        machine = self.machine
        now = machine.engine.now
        waiting = len(self.empty)
        with self.sharers_change():
            self._bury(member, killed=signal is not None)
            # Workers go with their master; a process that a script forked is nobody's worker.
            workers = [child for child in member.children if not child.once]
            others = self.members if self.spec.group_death else workers
            for other in others:
                if other.alive and other.task is not None:
                    if signal is not None:
                        death = Signal(
                            other.task, SIGKILL, "", "group_death", signal.report, None, True, None
                        )
                        death.sent_ns = death.done_ns = now
                        death.result = "killed"
                        signal.report.signals.append(death)
                        machine.kernel.signal_sent(death)
                    machine.kernel.event("killed", task=other.name, pid=other.task.pid, cause="group_death")
                    self._bury(other, killed=signal is not None)
        self._release_shared()
        if self.spec.restart_ns is not None:
            kernel = machine.kernel
            counts = (signal is not None or left) and len(self.empty) > waiting

            def restart(_event: Any) -> None:
                if not kernel.halted:
                    machine.restarts += counts
                    self.start()

            machine.engine.at(now + self.spec.restart_ns, SIGNAL_DELIVERY | member.number, restart)

    def _bury(self, member: Member, *, killed: bool) -> None:
        """exit_mm(): every mapping goes; dirty entries of shared pages leave their bit in PG_dirty."""
        machine, task = self.machine, member.task
        assert task is not None
        task.alive = False
        task.killed = killed
        if task.pending is not None and not task.pending.result:
            task.pending.result = "lost"
        task.pending = None
        if not member.once:
            self.empty.append(member)
        machine.kernel.process_count -= 1
        changed = []
        for vma in task.vmas.values():
            changed += close_vma(vma)
        for region in self._orphans(member, task):
            region.release()
            region.vmas = []
            machine.region_released(region)
        for page in changed:
            if page.epoch == page.region.epoch:  # others go with their region
                free_swap_and_cache(page)
                if machine.live_story(page.pfn) is None:
                    put_page(machine, page)
        machine.entries_dropped(changed)
        close_files(member)

    def _orphans(self, member: Member, task: Task) -> list[Region]:
        """Regions that nobody maps any more; forked children may still map their parent's."""
        regions = [*member.private.values(), *member.copies.values()]
        regions += [vma.region for vma in task.vmas.values() if vma.region.kind == "anon"]
        heirs = any(child.alive for child in member.children)
        above = member.parent
        while member.once and above is not None and not above.alive:  # it was the heir of these
            regions += above.copies.values()
            above = above.parent
        overlay = self.machine.kernel.mem_map.overlay
        return [
            each
            for each in dict.fromkeys(regions)
            if each.alive
            and not each.anon_vma
            and not (heirs and any(page.ptes for pfn, page in overlay.items() if each.holds(pfn)))
        ]

    def _release_shared(self) -> None:
        if any(member.alive for member in self.members):
            return
        for region in self.shared:
            region.release()
            self.machine.region_released(region)


def _start_order(member: Member) -> tuple[bool, int]:
    return member.parent is not None, member.number
