"""Two small machines for the slow twin, and the comparison of its runs with the model's.

Only the first error of a replication is looked at one by one: replications are independent, errors
of one replication are not quite.  The later ones show in the kills and errors of each replication.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy.stats import chi2_contingency, ks_2samp

from hwsim.machine import MemoryLayout, run_replication
from hwsim.spec import (
    Delay,
    ErrorSpec,
    FileSpec,
    FsyncSpec,
    MachineSpec,
    RegionSpec,
    ScrubSpec,
    Spec,
    SwapCycle,
    TaskSpec,
    TimesSpec,
    Touch,
)
from hwsim.units import DURATION_UNITS_NS
from tests.twin.twin import run_twin

S, MIN, H = (DURATION_UNITS_NS[unit] for unit in ("s", "min", "h"))
AT_ONCE = TimesSpec(**{name: Delay() for name in TimesSpec.__dataclass_fields__})
FAMILY_ALPHA = 1e-3  # chance that one comparison of a correct model fails, all its tests together
LEAST_EXPECTED = 8  # rarer categories are taken together: the chi-square needs counts
ROLES = ("writer", "bystander", "later_session")  # the first of these that anybody told stands for all
LEAST_SAMPLE = 25  # shorter lists of times are not tested


def machine(pages: int, early_kill: int, **more: Any) -> MachineSpec:
    """Scrubbed every 20 min; a panic ends the run; no kernel times; the flusher wakes every minute."""
    return MachineSpec(
        dirty_writeback_ns=more.pop("dirty_writeback_ns", MIN),
        memory_pages=pages,
        early_kill=early_kill,
        scrub=ScrubSpec(20 * MIN, "SRAO"),
        reboot_ns=None,
        times=AT_ONCE,
        **more,
    )


def memory_world(early_kill: int, seed: int) -> Spec:
    """Two tasks with private memory that fills up by first touches, and a shared segment; restarts."""
    heap = RegionSpec(
        "heap",
        "anon",
        32,
        (Touch(0.5, 1 / 300, 1 / 300), Touch(0.25, 1 / 1200, 1 / 2400), Touch(0.25)),
        populate=False,
        lines_per_touch=8,
        full_line=0.25,
    )
    segment = RegionSpec(
        "segment",
        "shm",
        32,
        (Touch(0.5, 1 / 400, 1 / 600), Touch(0.5, 1 / 2400, 0.0)),
        lines_per_touch=4,
        full_line=0.5,
    )
    task = TaskSpec("db", 2, regions=(heap, segment), restart_ns=30 * S)
    return Spec("memory", H, seed, 1, machine(104, early_kill), (ErrorSpec(2 / 3600),), tasks=(task,))


def file_world(early_kill: int, seed: int) -> Spec:
    """A cached file, half of it mapped, with read(), write(), flusher and fsync; a family of three."""
    text = RegionSpec(
        "map",
        "file",
        32,
        (Touch(0.5, 1 / 300, 1 / 1800), Touch(0.5, 1 / 2400, 1 / 3600)),
        file="data",
        populate=False,
        lines_per_touch=8,
        full_line=0.25,
    )
    heap = RegionSpec(
        "heap",
        "anon",
        16,
        (Touch(0.5, 1 / 600, 1 / 900), Touch(0.5, 1 / 1200, 1 / 7200)),
        lines_per_touch=8,
        full_line=0.25,
    )
    data = FileSpec(
        "data", 64, touch=(Touch(0.5, 1 / 7200, 1 / 1200), Touch(0.5, 1 / 7200, 0.0)), flush_every_ns=10 * MIN
    )
    task = TaskSpec(
        "web",
        1,
        2,
        regions=(text, heap),
        group_death=True,
        restart_ns=30 * S,
        fsync=FsyncSpec("data", 15 * MIN),
    )
    errors = (ErrorSpec(2 / 3600),)
    return Spec("file", H, seed, 1, machine(120, early_kill), errors, files=(data,), tasks=(task,))


def fork_world(early_kill: int, seed: int) -> Spec:
    """Two families of four with copy-on-write memory, some of it never stored to; each child dies alone."""
    warm = RegionSpec(
        "warm",
        "anon",
        24,
        (Touch(0.5, 1 / 600, 1 / 1200), Touch(0.25, 1 / 1800, 1 / 9000), Touch(0.25, 1 / 1200, 0.0)),
        lines_per_touch=8,
        full_line=0.25,
    )
    task = TaskSpec("forks", 2, 3, regions=(warm,), restart_ns=30 * S)
    return Spec("fork", H, seed, 1, machine(208, early_kill), (ErrorSpec(2 / 3600),), tasks=(task,))


def busy_day() -> Spec:
    """A day of 1,000 touches a second, hardly any of which meets a bad line; two errors an hour."""
    region = RegionSpec("heap", "anon", 1_000, (Touch(1.0, 0.9, 0.1),), lines_per_touch=1e-6)
    task = TaskSpec("hot", 1, regions=(region,), restart_ns=S)
    board = replace(machine(1_024, 1), scrub=ScrubSpec(6 * H))
    return Spec("day", 24 * H, 3, 1, board, (ErrorSpec(1 / 1800),), tasks=(task,))


def writers_world(early_kill: int, seed: int) -> Spec:
    """A file that two databases map and two loggers write to by system call; all four ask for errors."""
    table = RegionSpec(
        "table",
        "file",
        48,
        (Touch(0.5, 1 / 600, 1 / 900), Touch(0.5, 1 / 2400, 1 / 7200)),
        file="data",
        populate=False,
        lines_per_touch=4,
        full_line=0.25,
    )
    touch = (Touch(0.25, 1 / 14400, 1 / 1200), Touch(0.75, 0.0, 1 / 3600))
    data = FileSpec("data", 96, touch=touch, flush_every_ns=30 * MIN, lines_per_touch=16, writers=("log",))
    database = TaskSpec("db", 2, regions=(table,), restart_ns=30 * S, fsync=FsyncSpec("data", 25 * MIN))
    logger = TaskSpec("log", 2, fsync=FsyncSpec("data", 40 * MIN))
    errors = (ErrorSpec(2 / 3600),)
    return Spec(
        "writers", H, seed, 1, machine(104, early_kill), errors, files=(data,), tasks=(database, logger)
    )


def flusher_world(early_kill: int, seed: int) -> Spec:
    """Three files that nobody syncs: stored to rarely, often, and by one hot page; the first has its own age.

    All is slower than in life, the proportions are those of 30 s and 5 s, and of 13 s and 5 s.
    """
    table = RegionSpec(
        "table", "file", 24, (Touch(0.5, 1 / 1200, 1 / 1500), Touch(0.5, 1 / 2400, 0.0)),
        file="rare", populate=False, lines_per_touch=4, full_line=0.25,
    )  # fmt: skip
    rare = FileSpec(
        "rare", 32, touch=(Touch(1.0, 0.0, 1 / 40_000),), flush_every_ns=4 * MIN + 20 * S, lines_per_touch=16
    )
    busy = FileSpec(
        "busy", 32, touch=(Touch(0.25, 0.0, 1 / 600), Touch(0.75, 0.0, 1 / 6_000)), lines_per_touch=8
    )
    hot = FileSpec(
        "log", 4, touch=(Touch(0.25, 0.0, 1 / 400), Touch(0.75, 0.0, 1 / 20_000)), lines_per_touch=4
    )
    task = TaskSpec("db", 2, regions=(table,), restart_ns=30 * S)
    own = machine(68, early_kill, dirty_expire_ns=10 * MIN, dirty_writeback_ns=100 * S)
    return Spec("flusher", H, seed, 1, own, (ErrorSpec(2 / 3600),), files=(rare, busy, hot), tasks=(task,))


def swap_world(early_kill: int, seed: int) -> Spec:
    """Two tasks whose private memory and shared segment go round through swap, some stages much longer."""
    heap = RegionSpec(
        "heap",
        "anon",
        32,
        (Touch(0.5, 1 / 900, 1 / 900), Touch(0.5, 1 / 3600, 1 / 7200)),
        lines_per_touch=8,
        full_line=0.25,
        swap=SwapCycle(40 * MIN, 0.2, 0.2, 0.15, 0.25),
    )
    segment = RegionSpec(
        "segment",
        "shm",
        32,
        (Touch(0.5, 1 / 900, 1 / 900), Touch(0.5, 1 / 3600, 1 / 7200)),
        lines_per_touch=4,
        full_line=0.5,
        swap=SwapCycle(30 * MIN, 0.1, 0.3, 0.3, 0.1),
    )
    task = TaskSpec("batch", 2, regions=(heap, segment), restart_ns=30 * S)
    return Spec("swap", H, seed, 1, machine(104, early_kill), (ErrorSpec(2 / 3600),), tasks=(task,))


def family_world(early_kill: int, seed: int) -> Spec:
    """A family of four: memory shared since the fork, and memory that appears only afterwards."""
    shared = RegionSpec(
        "shared",
        "anon",
        16,
        (Touch(0.5, 1 / 900, 1 / 3600), Touch(0.5, 1 / 1200, 0.0)),
        lines_per_touch=4,
        full_line=0.25,
    )
    own = RegionSpec(
        "own",
        "anon",
        16,
        (Touch(0.75, 1 / 1800, 1 / 1800), Touch(0.25, 1 / 3600, 0.0)),
        populate=False,
        lines_per_touch=8,
        full_line=0.5,
    )
    task = TaskSpec("web", 1, 3, regions=(shared, own), restart_ns=30 * S)
    return Spec("family", H, seed, 1, machine(136, early_kill), (ErrorSpec(2 / 3600),), tasks=(task,))


WORLDS = {
    "memory": memory_world,
    "file": file_world,
    "fork": fork_world,
    "writers": writers_world,
    "flusher": flusher_world,
    "swap": swap_world,
    "family": family_world,
}


@dataclass
class Seen:
    """What is compared of a set of replications: categories, one a replication, and times in ns."""

    categories: dict[str, list[Hashable]]
    times: dict[str, list[int]]


@dataclass
class First:
    """What is looked at of the first error, from either side."""

    error: Any
    late_ns: int | None
    collected: tuple[int, int]  # killed early, and how many of them did not map the page
    data_lost: bool
    lost_ns: int | None  # a write to a file was lost
    told: str
    told_ns: int | None


def watch_twin(spec: Spec, replications: int) -> Seen:
    """Run the twin."""
    seen = Seen({}, {})
    for index in range(replications):
        run = run_twin(spec, index)
        first = None
        if run.errors:
            error = run.errors[0]
            told_ns = min((time for time, _ in error.told), default=None)
            roles = {role for _, role in error.told}
            told = next((role for role in ROLES if role in roles), "nobody")
            late_ns = min(error.late_ns, default=None)
            first = First(error, late_ns, error.collected, error.data_lost, error.lost_ns, told, told_ns)
        _note(seen, first, run.kills, len(run.errors))
    return seen


def watch_model(spec: Spec, replications: int) -> Seen:
    """Run the model."""
    seen, plan = Seen({}, {}), MemoryLayout(spec)
    for index in range(replications):
        run = run_replication(spec, index, plan)
        first = None
        if run.errors:
            mine = [row for row in run.signals if row.error == 0]
            early = [row for row in mine if row.cause == "early"]
            lost = next((row for row in run.lost_writes if row.error == 0), None)
            first = First(
                run.errors[0],
                min((row.time_ns for row in mine if row.cause == "late"), default=None),
                (len(early), sum(row.innocent for row in early)),
                run.errors[0].data_lost_bytes > 0,
                lost.lost_ns if lost else None,
                lost.told if lost else "nobody",
                lost.told_ns if lost else None,
            )
        kills = {
            "early": run.row.kills_early,
            "late": run.row.kills_late,
            "group_death": run.row.kills_group,
        }
        _note(seen, first, kills, len(run.errors))
    return seen


def _note(seen: Seen, first: First | None, kills: dict[str, int], errors: int) -> None:
    def category(name: str, value: Hashable) -> None:
        seen.categories.setdefault(name, []).append(value)

    def time(name: str, value: int) -> None:
        seen.times.setdefault(name, []).append(value)

    category("errors", min(errors, 8))
    for cause, number in kills.items():
        category(f"kills: {cause}", min(number, 5))
    if first is None:
        return
    error = first.error
    category("how found", error.found)
    category("fate", (error.kind, error.found, error.row, error.outcome, error.end))
    category("data lost", first.data_lost)
    if error.row:
        category("row and mappers", (error.kind, error.row, error.mappers))
        category("killed early and innocent", first.collected)
        if error.kind == "file":
            category("dirty file page at detection", error.row == 12)
    if first.lost_ns is not None:
        category("who was told", first.told)
        time("onset to lost", first.lost_ns - error.onset_ns)
        if first.told_ns is not None:
            time("lost to told", first.told_ns - first.lost_ns)
    if error.found_ns is not None:
        time("onset to found", error.found_ns - error.onset_ns)
        time(f"onset to {error.found}", error.found_ns - error.onset_ns)
    if first.late_ns is not None:
        time("contained to late kill", first.late_ns - error.contained_ns)


def p_values(twin: Seen, model: Seen) -> dict[str, float]:
    """One p-value for each distribution: chi-square of categories, Kolmogorov-Smirnov of times."""
    values = {}
    for name in twin.categories:
        p = _chi_square(twin.categories[name], model.categories.get(name, []))
        if p is not None:
            values[name] = p
    for name in twin.times.keys() | model.times.keys():
        ours, theirs = twin.times.get(name, []), model.times.get(name, [])
        if min(len(ours), len(theirs)) >= LEAST_SAMPLE:
            values[name] = float(ks_2samp(ours, theirs, method="asymp").pvalue)
    return values


def _chi_square(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> float | None:
    a, b = Counter(ours), Counter(theirs)
    share = min(len(ours), len(theirs)) / (len(ours) + len(theirs))
    common = [each for each in {**a, **b} if (a[each] + b[each]) * share >= LEAST_EXPECTED]
    table = [[a[each], b[each]] for each in common]
    rest = [len(ours) - sum(row[0] for row in table), len(theirs) - sum(row[1] for row in table)]
    if sum(rest) * share >= LEAST_EXPECTED:
        table.append(rest)
    return float(chi2_contingency(table, correction=False).pvalue) if len(table) > 1 else None


def disagreements(twin: Seen, model: Seen) -> dict[str, float]:
    """The distributions that differ, with their p-values; Bonferroni over all of them."""
    values = p_values(twin, model)
    return {name: p for name, p in values.items() if p < FAMILY_ALPHA / len(values)}
