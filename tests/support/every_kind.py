"""A machine with pages of every kind, in every state that chance can bring them to."""

from __future__ import annotations

from hwsim.memory.kinds import KINDS
from hwsim.spec import (
    FileSpec,
    FsyncSpec,
    KernelPoolSpec,
    MachineSpec,
    RegionSpec,
    ScrubSpec,
    Spec,
    SwapCycle,
    TaskSpec,
    Touch,
)

S = 1_000_000_000
WRITTEN = Touch(0.5, 0.01, 0.02), Touch(0.5)
EVERY_KIND = Spec(
    "every kind",
    100 * S,
    1,
    1,
    MachineSpec(40_000, cpus=2, scrub=ScrubSpec(None), hidden_pages=7),
    (),
    (
        FileSpec("data", 3_000, touch=WRITTEN, buffers="idle", buffers_busy=0.3, pagevec=0.1),
        FileSpec("scratch", 500, "tmpfs", WRITTEN),
        FileSpec("disk", 500, "blockdev", WRITTEN, buffers="busy", flush_every_ns=20 * S),
    ),
    (
        TaskSpec(
            "app",
            2,
            regions=(
                RegionSpec("heap", "anon", 700, WRITTEN, populate=False, mlock=True, pagevec=0.2),
                RegionSpec("swapped", "anon", 700, swap=SwapCycle(S, 0.1, 0.2, 0.15, 0.25)),
                RegionSpec("segment", "shm", 900, WRITTEN, populate=False),
                RegionSpec("cold", "shm", 900, swap=SwapCycle(S, 0.1, 0.2, 0.15, 0.25)),
                RegionSpec("pool", "hugetlb", 512 * 20, WRITTEN, huge_free=0.3, populate=False),
            ),
            fsync=FsyncSpec("data", 30 * S),
        ),
        TaskSpec(
            "family",
            1,
            3,
            (
                RegionSpec("loaded", "anon", 600, WRITTEN),
                RegionSpec("lazy", "anon", 600, WRITTEN, populate=False),
                RegionSpec("map", "file", 1_000, WRITTEN, file="data", populate=False),
            ),
        ),
    ),
    tuple(
        KernelPoolSpec(kind, 130, order=use.pool.order) for kind, use in KINDS.items() if use.pool is not None
    ),
)
