"""The machines that the budgets are about."""

from __future__ import annotations

from hwsim.spec import (
    ErrorSpec,
    FileSpec,
    MachineSpec,
    RegionSpec,
    ScrubSpec,
    Spec,
    TaskSpec,
    Touch,
)

GIB = 262_144  # pages
DAY_NS = 86_400_000_000_000


def reference(memory_gib: int = 64, errors_per_day: float = 100.0, days: int = 200) -> Spec:
    """16 CPUs, 24 tasks, kills and restarts on: a quarter of memory is the tasks', a third page cache.

    One mapper at most for each page (0.25 on average), one error in four kills a task.

    Nobody touches a page often enough to meet a bad line before the scrubber does, so that what is
    timed is handling and not rebooting.
    """
    task_pages = memory_gib * GIB // 4 // 24
    region = RegionSpec("heap", "anon", task_pages, touch=(Touch(0.2, 1e-10, 1e-10), Touch(0.8)))
    return Spec(
        "reference",
        days * DAY_NS,
        1,
        1,
        MachineSpec(memory_pages=memory_gib * GIB, cpus=16, scrub=ScrubSpec(period_ns=DAY_NS // 4)),
        errors=(ErrorSpec(errors_per_day / 86_400, permanent=1.0),),
        files=(FileSpec("data", memory_gib * GIB // 3, touch=(Touch(1.0),)),),
        tasks=(TaskSpec("worker", 24, regions=(region,), restart_ns=1_000_000_000),),
    )
