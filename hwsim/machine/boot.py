"""Booting a kernel: memory as the layout says, with nobody in it yet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hwsim.engine import Engine
from hwsim.kernel.layout import Layout
from hwsim.kernel.mem_map import MemMap
from hwsim.kernel.mm_types import AddressSpace, Region
from hwsim.kernel.printk import Printk
from hwsim.kernel.profiles import PROFILES
from hwsim.kernel.system import Kernel
from hwsim.kernel.writeback import Flusher, Inode
from hwsim.rng import Draws, Slot
from hwsim.spec import MachineSpec

# Names of draws that belong to no error: below zero, apart from one another.
_FLUSHER, _SYNC = -2, -5_000_000
_INODE = -3  # and below, one for each region


def boot_kernel(
    spec: MachineSpec,
    layouts: Sequence[Layout],
    engine: Engine,
    draws: Draws,
    printk: Printk,
    reached: dict[str, int],
) -> Kernel:
    """A kernel that has just come up: every region with its mapping and its clocks, no task yet."""
    now = engine.now_ns
    mem_map = MemMap(layouts, spec.memory_pages)
    wake_ns = now + int(draws.extra(_FLUSHER, Slot.PHASE, now) * spec.dirty_writeback_ns)
    every_ns, sync = spec.sync_every_ns, None
    if every_ns is not None:
        sync = now + int(draws.extra(_SYNC, Slot.PHASE) * every_ns), every_ns
    flusher = Flusher(wake_ns, spec.dirty_writeback_ns, spec.dirty_expire_ns, sync)
    for region in mem_map.regions:
        region.since_ns = now
        region.mapping = _mapping(region)
        layout = region.layout
        if layout.cow_of >= 0:
            region.fork_family = mem_map.regions[layout.cow_of]
        if region.mapping is not None and region.mapping.accounts_dirty:
            region.mapping.host = Inode(region, flusher, now, partial(draws.extra, _INODE - region.number))
    return Kernel(PROFILES[spec.kernel], spec, engine, mem_map, printk, reached, flusher)


def _mapping(region: Region) -> AddressSpace | None:
    filesystem = {"shm": "tmpfs", "hugetlb": "hugetlbfs"}.get(region.kind, region.layout.filesystem)
    return AddressSpace(region.name, filesystem) if filesystem else None
