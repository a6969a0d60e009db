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

if TYPE_CHECKING:
    from hwsim.machine.machine import Machine

# Names of draws that belong to no error: below zero, apart from one another.
_FLUSHER, _SYNC = -2, -5_000_000
_INODE = -3  # and below, one for each region


def boot_kernel(machine: Machine) -> Kernel:
    """A kernel that has just come up: every region with its mapping and its clocks, no task yet."""
    spec, now = machine.spec.machine, machine.engine.now_ns
    mem_map = MemMap(machine.plan.layouts, spec.memory_pages)
    wake_ns = now + int(machine.draws.extra(_FLUSHER, Slot.PHASE, now) * spec.dirty_writeback_ns)
    every_ns, sync = spec.sync_every_ns, None
    if every_ns is not None:
        sync = now + int(machine.draws.extra(_SYNC, Slot.PHASE) * every_ns), every_ns
    flusher = Flusher(wake_ns, spec.dirty_writeback_ns, spec.dirty_expire_ns, sync)
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
    kernel = Kernel(
        PROFILES[spec.kernel], spec, machine.engine, mem_map, machine.printk, machine.reached, flusher
    )
    kernel.trace = machine.events
    return kernel


def _mapping(region: Region) -> AddressSpace | None:
    filesystem = {"shm": "tmpfs", "hugetlb": "hugetlbfs"}.get(region.kind, region.layout.filesystem)
    return AddressSpace(region.name, filesystem) if filesystem else None


def tear_down(machine: Machine) -> None:
    """Take a kernel that has ended apart, with its tasks.

    What refers to itself in a circle would stay until the run is over, as nobody collects it meanwhile.
    """
    machine.processes.tear_down()
    machine.delivery.tear_down()
    machine.kernel.mem_map.tear_down()
