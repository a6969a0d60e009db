"""Booting a machine: a fresh kernel over the plan's regions, and its tasks started."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hwsim.kernel.mem_map import MemMap
from hwsim.kernel.mm_types import AddressSpace, Region
from hwsim.kernel.profiles import PROFILES
from hwsim.kernel.system import Kernel
from hwsim.kernel.writeback import Flusher, Inode
from hwsim.rng import Slot
from hwsim.userspace.task_group import TaskGroup
from hwsim.userspace.user_task import UserTask

if TYPE_CHECKING:
    from hwsim.machine.machine import Machine

# Names of draws that belong to no error: below zero, apart from one another.
_FLUSHER, _FSYNC, _SYNC = -2, -1_000_000, -5_000_000
_INODE = -3  # and below, one for each region


def boot_kernel(machine: Machine) -> Kernel:
    """A kernel that has just come up: every region with its mapping and its clocks, no task yet."""
    spec, now = machine.spec.machine, machine.engine.now_ns
    mem_map = MemMap(machine.plan.layouts, spec.memory_pages)
    wake_ns = now + int(machine.draws.extra(_FLUSHER, Slot.PHASE, now) * spec.dirty_writeback_ns)
    flusher = Flusher(wake_ns, spec.dirty_writeback_ns, spec.dirty_expire_ns)
    for region in mem_map.regions:
        region.since_ns = now
        region.mapping = _mapping(region)
        layout = region.layout
        if layout.cow_of >= 0:
            region.fork_family = mem_map.regions[layout.cow_of]
        if region.mapping is not None and region.mapping.accounts_dirty:
            region.mapping.host = Inode(
                region, flusher, now, partial(machine.draws.extra, _INODE - region.number)
            )
    if spec.sync_every_ns is not None:
        machine.sync_ns = now + int(machine.draws.extra(_SYNC, Slot.PHASE) * spec.sync_every_ns)
        for region in mem_map.regions:
            if region.mapping is not None and region.mapping.host is not None:
                region.mapping.host.calls.append((machine.sync_ns, spec.sync_every_ns))
    kernel = Kernel(
        PROFILES[spec.kernel], spec, machine.engine, mem_map, machine.printk, machine.reached, flusher
    )
    kernel.trace = machine.events
    return kernel


def _mapping(region: Region) -> AddressSpace | None:
    filesystem = {"shm": "tmpfs", "hugetlb": "hugetlbfs"}.get(region.kind, region.layout.filesystem)
    return AddressSpace(region.name, filesystem) if filesystem else None


def start_groups(machine: Machine) -> list[TaskGroup]:
    """All groups of the scenario with every member running; members are numbered in file order."""
    groups: list[TaskGroup] = []
    machine.groups = groups
    number = 0
    for group_number, task in enumerate(machine.spec.tasks):
        group = TaskGroup(machine, task, group_number)
        groups.append(group)
        for parent_number in range(task.count):
            parent = UserTask(machine, group, f"{task.name}.{parent_number}", number, None)
            number += 1
            group.members.append(parent)
            for child_number in range(task.children):
                child = UserTask(machine, group, f"{parent.name}.{child_number}", number, parent)
                number += 1
                parent.children.append(child)
                group.members.append(child)
        _give_regions(machine, group)
        _fsync_phases(machine, group)
        group.empty = list(group.members)
        group.start()
    return groups


def tear_down(machine: Machine) -> None:
    """Take a kernel that has ended apart, with its tasks.

    What refers to itself in a circle would stay until the run is over, as nobody collects it meanwhile.
    """
    for group in machine.groups:
        for member in group.members:
            member.tear_down()
        group.members, group.empty, group.shared = [], [], []
    machine.check.tear_down()
    for cpu in machine.cpus.values():
        cpu.tear_down()
    machine.kernel.mem_map.tear_down()


def _give_regions(machine: Machine, group: TaskGroup) -> None:
    by_name = machine.kernel.mem_map.by_name
    for region in group.spec.regions:
        shared = by_name.get(f"{group.spec.name}/{region.name}")
        if shared is not None and shared.kind != "file":
            group.shared.append(shared)
            continue
        for member in group.members:
            own = by_name.get(f"{member.name}/{region.name}")
            if own is not None:
                (member.private if member.parent is None else member.copies)[region.name] = own


def _fsync_phases(machine: Machine, group: TaskGroup) -> None:
    fsync = group.spec.fsync
    if fsync is None:
        return
    now = machine.engine.now_ns
    mapping = machine.kernel.mem_map.by_name[f"file:{fsync.file}"].mapping
    assert mapping is not None
    for member in group.members:
        phase = int(machine.draws.extra(_FSYNC - member.number, Slot.PHASE) * fsync.every_ns)
        member.fsync_ns = now + phase
        if mapping.host is not None:
            member.fsync_call = member.fsync_ns, fsync.every_ns
            mapping.host.calls.append(member.fsync_call)
