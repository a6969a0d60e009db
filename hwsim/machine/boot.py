"""A kernel that has just come up: its regions with their mappings and their clocks, no task yet."""

from __future__ import annotations

from functools import partial

from hwsim.engine import Engine
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mem_map import MemMap
from hwsim.kernel.mm_types import AddressSpace, Region
from hwsim.kernel.printk import Printk
from hwsim.kernel.versions.boot import booted
from hwsim.kernel.writeback import Flusher, Inode
from hwsim.memory.layout import MemoryLayout
from hwsim.rng import Draws, Slot
from hwsim.spec import MachineSpec, Spec
from hwsim.userspace.periodic_fsync import phase_ns

# Names of draws that belong to no error: below zero, apart from one another.
_FLUSHER, _SYNC = -2, -5_000_000
_INODE = -3  # and below, one for each region


def boot_kernel(
    engine: Engine,
    draws: Draws,
    spec: MachineSpec,
    layout: MemoryLayout,
    printk: Printk,
    reached: dict[str, int],
) -> Kernel:
    """A fresh kernel over the regions of the layout; its ports are not wired yet."""
    mem_map, flusher = MemMap(layout.layouts, spec.memory_pages), _flusher(draws, spec, engine.now_ns)
    mem_map.regions.first_looks.append(partial(_comes_up, mem_map, draws, flusher, engine.now_ns))
    return Kernel(booted(spec.kernel, spec.switches), spec, engine, mem_map, printk, reached, flusher)


def _comes_up(mem_map: MemMap, draws: Draws, flusher: Flusher, boot_ns: int, region: Region) -> None:
    """The region as it was at the boot: its mapping, its clocks."""
    layout = region.layout
    region.since_ns = boot_ns
    if layout.filesystem:
        region.mapping = AddressSpace(region.name, layout.filesystem)
        if region.mapping.accounts_dirty:
            region.mapping.host = _inode(draws, flusher, region, boot_ns)
    if layout.cow_of >= 0:
        region.fork_family = mem_map.regions[layout.cow_of]


def inode_at_boot(draws: Draws, spec: Spec, region: Region) -> Inode:
    """The inode of a file as it is when a machine has booted, with the calls that will come by chance.

    ``region``: of any machine that has booted like it.
    """
    assert region.mapping is not None
    inode = _inode(draws, _flusher(draws, spec.machine, 0), region, 0)
    number = 0
    for task in spec.tasks:
        places = task.count * (1 + task.children)
        if task.fsync is not None and region.name == f"file:{task.fsync.file}":
            calls = (phase_ns(each, task.fsync, draws) for each in range(number, number + places))
            inode.calls += [(call, task.fsync.every_ns) for call in calls]
        number += places
    if region.mapping.vmas:
        inode.rates_changed()
    return inode


def _inode(draws: Draws, flusher: Flusher, region: Region, now_ns: int) -> Inode:
    return Inode(region, flusher, now_ns, partial(draws.extra, _INODE - region.number))


def _flusher(draws: Draws, spec: MachineSpec, now_ns: int) -> Flusher:
    wake_ns = now_ns + int(draws.extra(_FLUSHER, Slot.PHASE, now_ns) * spec.dirty_writeback_ns)
    every_ns, sync = spec.sync_every_ns, None
    if every_ns is not None:
        sync = now_ns + int(draws.extra(_SYNC, Slot.PHASE) * every_ns), every_ns
    return Flusher(wake_ns, spec.dirty_writeback_ns, spec.dirty_expire_ns, sync)
