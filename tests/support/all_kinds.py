"""A small machine with a bit of every kind of page, used in every way, and one error at a random time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hwsim.spec import (
    ErrorSpec,
    FileSpec,
    FsyncSpec,
    KernelPoolSpec,
    MachineSpec,
    RegionSpec,
    Spec,
    SwapCycle,
    TaskSpec,
    Touch,
)

DAY_NS = 86_400_000_000_000
SOME = (Touch(0.3, 2e-4, 1e-4), Touch(0.3, 0.0, 3e-5), Touch(0.3, 1e-5))  # and a tenth that nobody touches
RARE = (Touch(0.5, 1e-6, 2e-6), Touch(0.5, 1e-6))
TASKS = (
    TaskSpec(
        "app",
        count=2,
        regions=(
            RegionSpec("full", "anon", 200, SOME, mlock=True, lines_per_touch=3.0),
            RegionSpec("lazy", "anon", 200, SOME, populate=False, full_line=0.7),
            RegionSpec("waits", "anon", 100, SOME, pagevec=0.5),
            RegionSpec("segment", "shm", 200, RARE, shared=True),
            RegionSpec("huge", "hugetlb", 1024, RARE, huge_free=0.4),
            RegionSpec("map", "file", 150, RARE, file="mapped", shared=True),
        ),
        fsync=FsyncSpec("written", 5_000_000_000),
    ),
    TaskSpec("family", children=2, regions=(RegionSpec("heap", "anon", 100, SOME),)),
    TaskSpec("mortal", regions=(RegionSpec("heap", "anon", 100, SOME),), lifetime_ns=DAY_NS),
    TaskSpec("swapped", regions=(RegionSpec("heap", "anon", 100, SOME, swap=SwapCycle(DAY_NS, 0.5)),)),
)
FILES = (
    FileSpec("mapped", 200, touch=RARE),
    FileSpec("written", 200, touch=RARE, turnover_per_s=1e-6),
    FileSpec("read", 200, touch=(Touch(1.0, 1e-5),), truncate_per_s=1e-6, buffers="idle", buffers_busy=0.3),
    FileSpec("memory", 200, "tmpfs", touch=SOME),
    FileSpec("disk", 200, "blockdev", touch=RARE, buffers="busy", pagevec=0.3),
)
POOLS = (
    KernelPoolSpec("reserved", 100, load_per_s=1e-6),
    KernelPoolSpec("slab", 200, load_per_s=1e-5, lifetime_ns=DAY_NS),
    KernelPoolSpec("slab_multi", 256, 3, load_per_s=1e-5, store_per_s=1e-5),
    KernelPoolSpec("high_order", 256, 2, store_per_s=1e-5),
)
FEW_FLAGS = {"pageflags_extended": False, "unevictable_lru": False, "mlocked_page_bit": False}


def all_kinds(*errors: ErrorSpec, days: int = 1, **more: Any) -> Spec:
    """These errors, or one on each machine; ``more`` is of the machine."""
    machine = replace(MachineSpec(6000, alloc_per_s=0.001), **more)
    errors = errors or (ErrorSpec(count=1),)
    return Spec("all kinds", days * DAY_NS, 3, 1, machine, errors, FILES, TASKS, POOLS)
