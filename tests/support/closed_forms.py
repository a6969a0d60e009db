"""Machines whose answers are known in closed form, in any size; used small and large.

Each returns what was counted; the callers ask for the interval or the p-value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import exp
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from hwsim.explaining.verdicts import KILLED, NOW, verdicts
from hwsim.kernel.versions.boot import profile_of
from hwsim.machine import MemoryLayout, run_replication
from hwsim.machine.census import machine_census
from hwsim.memory.layout import family_name
from hwsim.spec import (
    Delay,
    ErrorSpec,
    FileSpec,
    FsyncSpec,
    KernelPoolSpec,
    MachineSpec,
    RegionSpec,
    ScriptStep,
    ScrubSpec,
    Spec,
    TaskSpec,
    Touch,
)
from hwsim.units import DURATION_UNITS_NS
from tests.twin.twin_worlds import AT_ONCE

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
    plan, found = MemoryLayout(spec), Counter[str]()
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
    plan, late, entries = MemoryLayout(spec), 0, 0
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
    plan = MemoryLayout(spec)
    return Counter(run_replication(spec, index, plan).row.errors for index in range(replications))


class Kills(NamedTuple):
    """What the same bad pages led to, and the shares expected of them.

    ``late``: deaths under late kill.  ``early``: deaths under early kill that were (touched within the
    run, only after it, never again).
    """

    mapped: int
    late: int
    early: tuple[int, int, int]
    late_share: float
    early_shares: tuple[float, float, float]


def killed_before_the_end(replications: int, touch_per_s: float, exit_per_s: float) -> Kills:
    """Touch of the page, exit of its task and end of the run: who is first, under both policies.

    All lines go bad at the start, so that the scrubber finds them at times d uniform in one sweep P; the
    run ends at H = 2 P.  With r touches and x exits a second a find at d is touched in time with
    probability r / (r + x) (1 - exp(-(r + x) (H - d))), and it is mapped at d with probability exp(-x d);
    a task that is never touched again exits first: x / (r + x), whatever the end of the run.
    """
    tasks, sweep_s = 400, 100
    region = RegionSpec("page", "anon", 1, (Touch(1.0, touch_per_s),), lines_per_touch=1e-9)
    life_ns = int(S / exit_per_s) if exit_per_s else None
    late, spec = 0, Spec(
        "touch, exit or end", 2 * sweep_s * S, 15, 1,
        MachineSpec(tasks, scrub=ScrubSpec(sweep_s * S), times=AT_ONCE),
        (ErrorSpec(40_000.0, end_ns=S // 1_000),),
        tasks=(TaskSpec("app", tasks, regions=(region,), lifetime_ns=life_ns),),
    )  # fmt: skip
    specs = [replace(spec, machine=replace(spec.machine, early_kill=policy)) for policy in (0, 1)]
    plans, mapped, needless = [MemoryLayout(each) for each in specs], 0, Counter[str]()
    for index in range(replications):
        first, second = (run_replication(*each) for each in zip(specs, (index, index), plans, strict=True))
        mapped += sum(row.mappers for row in first.errors)
        late += first.row.kills_late
        needless.update(row.needless for row in second.signals if row.result == "killed")
    r, x = touch_per_s, exit_per_s
    weight = (1.0 - exp(-x * sweep_s)) / x if x else sweep_s
    cut = exp(-(r + x) * 2 * sweep_s) * (exp(r * sweep_s) - 1.0) / r / weight
    touched = r / (r + x)
    in_time = touched * (1.0 - cut)
    found = needless["no"], needless["censored"], needless["yes"]
    return Kills(mapped, late, found, in_time, (in_time, touched - in_time, 1.0 - touched))


def told_first(replications: int, writer_s: int, other_s: int) -> tuple[int, int, float]:
    """(losses told to the writer, all told, expected share): AS_EIO between two callers of fsync().

    One bit, so the first to call takes it.  Their phases are independent and uniform over the periods:
    the one with the shorter period a is first with probability 1 - a / (2 b).
    """
    file = FileSpec("data", 64, touch=(Touch(1.0, 0.0, 1e4),), writers=("writer",), lines_per_touch=1e-9)
    tasks = tuple(
        TaskSpec(name, fsync=FsyncSpec("data", period * S))
        for name, period in (("writer", writer_s), ("other", other_s))
    )
    longest = max(writer_s, other_s)
    spec = Spec(
        "two callers", 4 * longest * S, 16, 1,
        MachineSpec(64, scrub=ScrubSpec(longest * S), times=AT_ONCE),
        (ErrorSpec(4_000.0, end_ns=S // 1_000),),
        (file,), tasks,
    )  # fmt: skip
    plan, told = MemoryLayout(spec), Counter[str]()
    for index in range(replications):
        told.update(row.told for row in run_replication(spec, index, plan).lost_writes[:1])
    short, long = sorted((writer_s, other_s))
    share = 1.0 - short / (2 * long)
    return told["writer"], told["writer"] + told["bystander"], share if writer_s == short else 1.0 - share


def lost_in_the_ring(
    arrivals_ns: Sequence[int], wake_ns: int, service_ns: int, user_share: float = 0.0
) -> list[int]:
    """Which of these machine checks, by number, found the ring of their CPU full.

    One CPU.  In the kernel (``user_share`` 0) the work item alone is woken, in user mode (1) the return
    to user space and, while that is busy, the work item.  Pages of the slab, whose handler takes
    ``service_ns``; checks that take no time.
    """
    wake, service = Delay(mean_ns=wake_ns), Delay(mean_ns=service_ns)
    times = replace(AT_ONCE, workqueue=wake, return_to_user=wake, page_handler=service)
    script = tuple(
        ScriptStep(time, "mce", {"page": {"kernel": "slab", "index": number}}, f"script[{number}]")
        for number, time in enumerate(arrivals_ns)
    )
    spec = Spec(
        "burst", S, 17, 1,
        MachineSpec(256, cpus=1, scrub=ScrubSpec(None), times=times, user_share=user_share),
        pools=(KernelPoolSpec("slab", 256),), script=script,
    )  # fmt: skip
    return [row.error for row in run_replication(spec, 0).errors if row.ring_lost]


def dirty_pages(
    replications: int, stores_per_s: tuple[float, float], others_per_s: float
) -> tuple[Counter[tuple[bool, bool]], dict[tuple[bool, bool], float]]:
    """Which of two pages of a file are dirty when looked at late, at one time: counts and probabilities.

    A cycle of the inode, with r stores a second, is X = Exp(r) clean and L = 5 ceil((X + 30) / 5) - X dirty.
    At age t after the first store, which was to page a with probability a / r, that page has been stored to
    with probability 1 - (1 - a / r) exp(-a t).  Averaged over X, and over t in L.
    """
    pages = 2 + (others_per_s > 0.0)
    rates = (*stores_per_s, others_per_s)[:pages]
    file = FileSpec("data", pages, touch=tuple(Touch(1 / pages, 0.0, rate) for rate in rates))
    script = tuple(
        ScriptStep(100_000 * S, "inject", {"page": {"file": "data", "index": page}}, f"script[{page}]")
        for page in (0, 1)
    )
    spec = Spec(
        "dirty", 100_001 * S, 18, 1,
        MachineSpec(64, kernel="2.6.32", scrub=ScrubSpec(None), times=AT_ONCE), files=(file,), script=script,
    )  # fmt: skip
    plan, seen = MemoryLayout(spec), Counter[tuple[bool, bool]]()
    for index in range(replications):
        first, second = run_replication(spec, index, plan).errors
        seen[first.row == 12, second.row == 12] += 1
    r = sum(rates)
    x = -np.log1p(-(np.arange(4_000) + 0.5) / 4_000) / r
    dirty_s = 5.0 * np.ceil((x + 30.0) / 5.0) - x
    age_s = dirty_s[:, None] * (np.arange(200) + 0.5) / 200
    a, b = stores_per_s
    stored = [-np.expm1(-rate * age_s) for rate in (a, b)]
    both = a / r * stored[1] + b / r * stored[0] + (r - a - b) / r * stored[0] * stored[1]
    page = [1.0 - (1.0 - rate / r) * (1.0 - each) for rate, each in zip((a, b), stored, strict=True)]
    weight = dirty_s / (x.mean() + dirty_s.mean())
    p_both, p_a, p_b = (float((each.mean(axis=1) * weight).mean()) for each in (both, *page))
    shares = {(True, True): p_both, (True, False): p_a - p_both, (False, True): p_b - p_both}
    return seen, shares | {(False, False): 1.0 - sum(shares.values())}


class Outcome(NamedTuple):
    """What memory_failure() made of pages of one memory, and whether a task was signalled at once."""

    memory: str
    row: int
    message: str
    outcome: str
    at_once: bool


def census_against_machines(spec: Spec, machines: int) -> tuple[Counter[Outcome], dict[Outcome, float]]:
    """(Errors found by the scrubber within a millisecond, by outcome; the share that the census says).

    One error falls anywhere in the memory of each machine in the middle of the run.  A scrubber that is so
    fast finds it before anybody reads it, whatever the page is, so that what is found is what is there.
    """
    at_ns = spec.horizon_ns // 2
    machine = replace(spec.machine, scrub=ScrubSpec(1_000_000))
    error = ErrorSpec(count=1, start_ns=at_ns, end_ns=at_ns + 1, permanent=1.0)
    spec = replace(spec, horizon_ns=at_ns + S, machine=machine, errors=(error,), script=())
    plan, found = MemoryLayout(spec), Counter[Outcome]()
    for index in range(machines):
        result = run_replication(spec, index, plan)
        (row,) = result.errors
        if row.found == "scrub" and row.message:  # else the machine check was lost, whatever the page
            at_once = any(signal.cause in ("early", "forced") for signal in result.signals)
            found[Outcome(family_name(row.region), row.row, row.message, row.outcome, at_once)] += 1
    early = (
        profile_of(machine.kernel).early_kill_default if machine.early_kill is None else machine.early_kill
    )
    counted = machine_census(spec, 0, at_ns, ())
    expected: dict[Outcome, float] = {}
    for each in counted.counts:
        for verdict in verdicts(machine, machine.kernel, each.page):
            at_once = (verdict.sigbus_if_early if early else verdict.sigbus_if_late) in (NOW, KILLED)
            key = Outcome(each.name, verdict.row, verdict.message, verdict.outcome, at_once)
            share = each.pages * verdict.chance / counted.snapshot.pages
            expected[key] = expected.get(key, 0.0) + share
    return found, expected


def beyond_the_census(spec: Spec, machines: int, alpha: float = ALPHA) -> tuple[int, list[str]]:
    """(Outcomes compared; those whose count is not as the census says, at ``alpha`` for all together)."""
    found, expected = census_against_machines(spec, machines)
    handled, beyond = sum(found.values()), []
    for outcome in {**expected, **found}:
        share = min(1.0, expected.get(outcome, 0.0))
        if binomtest(found[outcome], handled, share).pvalue < alpha / len(expected):
            beyond.append(f"{outcome}: {found[outcome]} of {handled}, expected {handled * share:.2f}")
    return len(expected), beyond
