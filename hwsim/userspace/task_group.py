"""Groups of like processes and their supervisor: who falls with whom, who starts the dead again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from hwsim.engine import SIGNAL_DELIVERY
from hwsim.kernel.allocator import release_region
from hwsim.kernel.mm_types import Region, Signal, Task
from hwsim.kernel.mmap import exit_mm
from hwsim.kernel.signals import SIGKILL
from hwsim.kernel.swap import free_pages_and_swap_cache
from hwsim.kernel.writeback import Inode
from hwsim.spec import TaskSpec
from hwsim.userspace.open_files import close_files
from hwsim.userspace.sigbus import back_in_user_space

if TYPE_CHECKING:
    from hwsim.machine import Machine
    from hwsim.userspace.user_task import UserTask

_NOTHING_SHARED = nullcontext()


class TaskGroup:
    """All members of one [[task]] table and their supervisor."""

    __slots__ = ("empty", "files", "machine", "members", "number", "shared", "spec", "stores_per_ns")

    def __init__(self, machine: Machine, spec: TaskSpec, number: int) -> None:
        self.machine = machine
        self.spec = spec
        self.number = number
        self.members: list[UserTask] = []
        self.empty: list[UserTask] = []  # those without a process
        files = [region.file for region in spec.regions if region.kind == "file"]
        files += [] if spec.fsync is None else [spec.fsync.file]
        self.files = tuple(dict.fromkeys(files))  # mapped, or written back
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
            self._go_on_to_fsync(waiting)
        # Once a family is complete it is known who copies what from whom.
        for root in dict.fromkeys(member.parent or member for member in waiting):
            for each in (root, *root.children) if root.children else ():
                for region in (*each.private.values(), *each.copies.values()):
                    self.machine.kernel.watcher.sharers_changed(region)

    def sharers_change(self) -> AbstractContextManager[None]:
        """Around anything that changes who uses the group's shared memory or files.

        Pages with a story are brought up to now before, and their races are drawn anew after: once,
        however many tasks come or go at this instant.
        """
        return self._redraw() if self.shared or self.files else _NOTHING_SHARED

    @contextmanager
    def _redraw(self) -> Iterator[None]:
        machine = self.machine
        by_name = machine.kernel.mem_map.by_name
        regions = list(self.shared)
        regions += [by_name[f"file:{name}"] for name in self.files]
        for region in regions:
            machine.kernel.watcher.settle(region)
        yield
        for region in regions:
            machine.kernel.watcher.sharers_changed(region)

    def die(
        self, member: UserTask, signal: Signal | None, *, left: bool = False, by_step: bool = False
    ) -> None:
        """The process in ``member`` is gone, with whom the group rules take down; plan the restart.

        Killed by ``signal``, or it ``left`` by its SIGBUS handler, or a step of the script has ended it
        (``by_step``), or (none of these) its life time was over.
        """
        machine = self.machine
        now = machine.engine.now_ns
        waiting = len(self.empty)
        with self.sharers_change():
            self._bury(member, killed=signal is not None, by_step=by_step)
            # Workers go with their master; a process that a script forked is nobody's worker.
            workers = [child for child in member.children if not child.once]
            others = self.members if self.spec.group_death else workers
            for other in others:
                if other.alive and other.task is not None:
                    if signal is not None:
                        death = Signal(
                            other.task, SIGKILL, "", "group_death", signal.failure, None, True, None
                        )
                        death.sent_ns = death.done_ns = now
                        death.result = "killed"
                        for watcher in machine.kernel.handler_watchers:
                            watcher.signalled(death)
                    machine.kernel.event("killed", task=other.name, pid=other.task.pid, cause="group_death")
                    self._bury(other, killed=signal is not None, by_step=by_step)
        self._release_shared()
        if self.spec.restart_ns is not None:
            boot = machine.boot
            counts = (signal is not None or left) and len(self.empty) > waiting

            def restart(_event: Any) -> None:
                if boot == machine.boot and not machine.kernel.halted:
                    machine.restarts += counts
                    dead = [each for each in self.empty if each.parent is None]
                    self.start()
                    for each in dead:  # of the children fork() tells
                        machine.kernel.event("start", task=each.name, pid=each.task.pid if each.task else 0)

            machine.engine.at(now + self.spec.restart_ns, SIGNAL_DELIVERY | member.number, restart)

    def _go_on_to_fsync(self, started: list[UserTask]) -> None:
        """A new process calls fsync() in the phase of the one before it."""
        fsync, inode, now = self.spec.fsync, self._fsynced(), self.machine.engine.now_ns
        if fsync is None or inode is None:
            return
        for member in started:
            if member.alive and member.fsync_call is None:
                member.fsync_call = inode.call_begins(now, member.fsync_ns, fsync.every_ns)

    def _fsynced(self) -> Inode | None:
        """The inode that the group's ``fsync`` writes back."""
        if self.spec.fsync is None:
            return None
        mapping = self.machine.kernel.mem_map.by_name[f"file:{self.spec.fsync.file}"].mapping
        return None if mapping is None else mapping.host

    def _bury(self, member: UserTask, *, killed: bool, by_step: bool) -> None:
        """do_exit(): mappings, frames and files go."""
        machine, task = self.machine, member.task
        assert task is not None
        task.alive = False
        task.killed = killed
        member.struck = member.struck or not by_step
        if task.pending is not None and not task.pending.result:
            task.pending.result = "lost"
        task.pending = None
        back_in_user_space(member)  # never: what waits finds it dead
        if not member.once:
            self.empty.append(member)
        machine.kernel.process_count -= 1
        changed = exit_mm(task)
        for region in self._orphans(member, task):
            release_region(machine.kernel, region)
        free_pages_and_swap_cache(machine.kernel, changed)
        close_files(member)
        inode = self._fsynced()
        if inode is not None and member.fsync_call is not None:
            inode.call_ends(machine.engine.now_ns, member.fsync_call)
            member.fsync_call = None
        task.vmas = {}  # they know their task: together they would stay until the run is over

    def _orphans(self, member: UserTask, task: Task) -> list[Region]:
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
            release_region(self.machine.kernel, region)


def _start_order(member: UserTask) -> tuple[bool, int]:
    return member.parent is not None, member.number
