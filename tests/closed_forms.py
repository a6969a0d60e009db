"""Machines whose answers are known in closed form, in any size; used small and large.

Each returns what was counted; the callers ask for the interval or the p-value.
"""

from __future__ import annotations

from collections import Counter
from math import exp

from hwsim.machine import Plan, run_replication
from hwsim.spec import ErrorSpec, FileSpec, MachineSpec, RegionSpec, ScrubSpec, Spec, TaskSpec, Touch
from hwsim.units import DURATION_UNITS_NS
from tests.twin_worlds import AT_ONCE

S, D = DURATION_UNITS_NS["s"], DURATION_UNITS_NS["d"]
ALPHA = 1e-3  # of each test; seeds are fixed


def read_before_scrub(replications: int, rate_period: float) -> tuple[int, int, float]:
    """(errors found by a read, all errors, expected share) at ``rate_period`` reads of a line a sweep.

    P = 1 - (1 - exp(-x)) / x for x = read rate times scrub period.  Errors do not disturb each other:
    nobody panics (tolerant 3), and the pages are clean ones of a file, whose loss kills nobody.
    """
    period_s = 1_000
    touch = Touch(1.0, load_per_s=rate_period / period_s)
    region = RegionSpec("all", "file", 20_000, (touch,), file="data", lines_per_touch=64)
    spec = Spec(
        "read before scrub",
        5 * period_s * S,
        11,
        1,
        MachineSpec(20_000, early_kill=0, tolerant=3, scrub=ScrubSpec(period_s * S), times=AT_ONCE),
        (ErrorSpec(0.02, permanent=1.0, end_ns=3 * period_s * S),),
        files=(FileSpec("data", 20_000),),
        tasks=(TaskSpec("reader", regions=(region,)),),
    )
    plan, found = Plan(spec), Counter[str]()
    for index in range(replications):
        errors = run_replication(spec, index, plan).errors
        found.update(row.found for row in errors if row.end != "duplicate")
    return found["task_load"], found.total(), 1.0 - (1.0 - exp(-rate_period)) / rate_period


def killed_before_exit(replications: int, touch_per_s: float, exit_per_s: float) -> tuple[int, int, float]:
    """(late kills, poisoned entries, expected share): the touch of a poison entry against the task's exit.

    Both are exponential: the share is touch / (touch + exit).  Each task has one page, so that the
    entries are independent; hardly any touch meets the bad line itself.
    """
    tasks = 400
    region = RegionSpec("page", "anon", 1, (Touch(1.0, touch_per_s),), lines_per_touch=1e-9)
    spec = Spec(
        "late kill or exit",
        int(60 / exit_per_s) * S,
        12,
        1,
        MachineSpec(tasks, early_kill=0, scrub=ScrubSpec(10 * S), times=AT_ONCE),
        (ErrorSpec(4.0, end_ns=20 * S),),
        tasks=(TaskSpec("app", tasks, regions=(region,), lifetime_ns=int(S / exit_per_s)),),
    )
    plan, late, entries = Plan(spec), 0, 0
    for index in range(replications):
        run = run_replication(spec, index, plan)
        entries += sum(row.mappers for row in run.errors)
        late += run.row.kills_late
    return late, entries, touch_per_s / (touch_per_s + exit_per_s)


def error_counts(replications: int, expected: float) -> Counter[int]:
    """How many replications have how many errors, of a stream that expects ``expected`` in each."""
    rate = expected / 86_400
    spec = Spec(
        "count", 2 * D, 13, 1, MachineSpec(64), (ErrorSpec(rate, start_ns=D // 2, end_ns=3 * D // 2),)
    )
    plan = Plan(spec)
    return Counter(run_replication(spec, index, plan).row.errors for index in range(replications))
