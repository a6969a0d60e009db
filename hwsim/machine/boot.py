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
from hwsim.spec import MachineSpec

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
            draw = partial(draws.extra, _INODE - region.number)
            region.mapping.host = Inode(region, flusher, boot_ns, draw)
    if layout.cow_of >= 0:
        region.fork_family = mem_map.regions[layout.cow_of]


def _flusher(draws: Draws, spec: MachineSpec, now_ns: int) -> Flusher:
    wake_ns = now_ns + int(draws.extra(_FLUSHER, Slot.PHASE, now_ns) * spec.dirty_writeback_ns)
    every_ns, sync = spec.sync_every_ns, None
    if every_ns is not None:
        sync = now_ns + int(draws.extra(_SYNC, Slot.PHASE) * every_ns), every_ns
    return Flusher(wake_ns, spec.dirty_writeback_ns, spec.dirty_expire_ns, sync)
