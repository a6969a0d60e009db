"""What a machine plays one by one, again and again: refused where a run would not end.

Events follow faults, so these are steps only while an error is open; the numbers are upper bounds for one
replication.  What needs no steps (asking for errors, flushes, touches, corrected errors) is not here.
"""

from __future__ import annotations

from collections.abc import Iterator

from hwsim.elementary import added
from hwsim.memory.kinds import REGIONS
from hwsim.scenario.problems import Finding, Path
from hwsim.scenario.schema import Errors, Region, Task
from hwsim.scenario.valid_parts import Parts, free_pages
from hwsim.spec import FEW_LINES
from hwsim.units import PAGES_PER_GIB, Rate, format_duration, format_rate

MAX_STEPS = 10_000_000
MAX_TASKS = 100_000
_STAGES = 5  # of a round through the swap cache, see memory/swap_cycle
_NS = 1e-9
_COARSE_NS = (86_400_000_000_000, 3_600_000_000_000, 60_000_000_000, 1_000_000_000, 1_000_000, 1_000, 1)


def endless(parts: Parts) -> Iterator[Finding]:
    """Everything that would be played more than MAX_STEPS times."""
    machine, horizon_ns = parts.machine, parts.horizon_ns
    yield from _tasks(parts)
    if machine is None or not horizon_ns:
        return
    if machine.sync_every_ns is not None:
        yield from _every(("machine", "sync"), "calls of sync()", horizon_ns, machine.sync_every_ns)
    if machine.scrub.period_ns is not None and machine.scrub.signals != "none":
        yield from _every(("machine", "scrub", "period"), "sweeps", horizon_ns, machine.scrub.period_ns)
    reboot = machine.on_panic.reboot_ns
    if reboot is not None and machine.on_panic.repair_share < 1 and any(map(_comes_back, parts.errors)):
        yield from _every(("machine", "on_panic", "reboot"), "panics of one bad line", horizon_ns, reboot)
    for index, task in enumerate(parts.task):
        if task is not None:
            yield from _processes(parts, ("task", index), task, horizon_ns)
    for path, task, region in parts.regions():
        yield from _region(parts, path, task, region, horizon_ns)
    yield from _frames(parts)
    yield from _windows(parts, horizon_ns)


def _every(path: Path, what: str, time_ns: float, period_ns: float, times: float = 1.0) -> Iterator[Finding]:
    """``times`` things that each happen every ``period_ns`` for ``time_ns``."""
    steps = times * time_ns / max(period_ns, 1e-300)
    if steps > MAX_STEPS:
        least = format_duration(_round_up(times * time_ns / MAX_STEPS))
        yield Finding(path, *_too_many(what, steps, f"such as {least}"))


def _too_many(what: str, steps: float, such: str) -> tuple[str, str]:
    message = f"about {steps:.2g} {what} in each replication, which are played one by one"
    return message, f"at most {MAX_STEPS:,}, {such}"


def _round_up(ns: float) -> int:
    """A duration that people would write, not below ``ns``."""
    unit = next(each for each in _COARSE_NS if ns >= each or each == 1)
    return int(ns // unit + 1) * unit


def _comes_back(stream: Errors | None) -> bool:
    return stream is not None and (stream.kind == "dram" or stream.permanent > 0)


def _open_errors(parts: Parts) -> float:
    """Errors of one replication that can be open for long, at least one if there is any."""
    horizon_s = (parts.horizon_ns or 0) * _NS
    gib = parts.machine.memory_pages / PAGES_PER_GIB if parts.machine is not None else 0.0
    lasting = [
        _arrivals(each, gib, horizon_s) * each.burst_pages * each.permanent
        for each in parts.errors
        if each is not None
    ]
    return max(1.0, added(lasting))


def _arrivals(stream: Errors, gib: float, horizon_s: float) -> float:
    if stream.count is not None:
        return float(stream.count)
    if stream.rate is None:
        return 0.0
    return stream.rate.per_s * (gib if stream.rate.per_gib else 1.0) * horizon_s


def _open_ns(parts: Parts) -> int:
    """How long an error can wait for its report: until the scrubber comes, if that is reported."""
    machine, horizon_ns = parts.machine, parts.horizon_ns or 0
    if machine is None or machine.scrub.period_ns is None or machine.scrub.signals != "SRAO":
        return horizon_ns
    return min(horizon_ns, machine.scrub.period_ns)


def _tasks(parts: Parts) -> Iterator[Finding]:
    for index, task in enumerate(parts.task):
        if task is not None and task.count * (1 + task.children) > MAX_TASKS:
            message = f"{task.count * (1 + task.children):,} tasks in this group"
            allowed = f"at most {MAX_TASKS:,}, forked children included"
            yield Finding(("task", index, "children"), message, allowed)


def _processes(parts: Parts, path: Path, task: Task, horizon_ns: int) -> Iterator[Finding]:
    processes = task.count * (1 + task.children)
    if task.fsync is not None and task.fsync.reopen_ns is not None:
        what, reopen = "times that the file is opened or closed", task.fsync.reopen_ns
        yield from _every((*path, "fsync", "reopen"), what, horizon_ns, reopen, 2 * processes)
    if task.lifetime_ns is not None and task.restart_ns is not None:
        open_ns = min(float(horizon_ns), _open_errors(parts) * _open_ns(parts))
        cycle = task.lifetime_ns + task.restart_ns
        yield from _every((*path, "lifetime"), "ends of a process", open_ns, cycle, processes)


def _region(parts: Parts, path: Path, task: Task, region: Region, horizon_ns: int) -> Iterator[Finding]:
    if region.swap is None:
        return
    times = _STAGES * _open_errors(parts)
    what = "steps of pages through the swap cache"
    yield from _every((*path, "swap", "period"), what, _open_ns(parts), region.swap.period_ns, times)
    processes = task.count * (1 + task.children)
    touch = max((band.load_per_s + band.store_per_s for band in region.touch), default=0.0)
    alone = not REGIONS[region.kind].shared or processes == 1
    if alone or task.group_death or task.restart_ns is None or not touch:
        return
    cycle = task.restart_ns + 1e9 / touch  # its page in the swap cache kills whoever touches it
    yield from _every((*path[:2], "restart"), "deaths of one bad page", horizon_ns, cycle, processes)


def _frames(parts: Parts) -> Iterator[Finding]:
    """A permanently bad frame is freed and handed out again and again."""
    machine = parts.machine
    if machine is None or not parts.complete or not any(map(_comes_back, parts.errors)):
        return
    free = max(1, free_pages(parts))
    per_s = machine.alloc.alloc_per_s * (1 << machine.alloc.alloc_order) / free
    if per_s <= 0.0:
        return
    time_ns, errors = _open_ns(parts), _open_errors(parts)
    steps = errors * time_ns * _NS * per_s
    if steps > MAX_STEPS:
        such = f"such as {format_rate(Rate(machine.alloc.alloc_per_s * MAX_STEPS / steps))}"
        yield Finding(
            ("machine", "alloc", "rate"), *_too_many("times that a bad free page is handed out", steps, such)
        )
        return  # the others are slower than this
    for index, pool in enumerate(parts.kernel):
        if pool is not None and pool.lifetime_ns is not None:
            path: Path = ("kernel", index, "lifetime")
            cycle = pool.lifetime_ns + 1e9 / per_s
            yield from _every(path, "times that a bad page is freed", time_ns, cycle, errors)


def _windows(parts: Parts, horizon_ns: int) -> Iterator[Finding]:
    """The lines of an intermittent fault go bad, and read right again, window by window."""
    dram = parts.dram
    played = any(each is not None and each.kind == "dram" for each in parts.errors)
    if dram is None or dram.intermittent <= 0 or not played:
        return
    what = "lines of an intermittent fault that go bad"
    lines = (
        FEW_LINES if dram.max_lines is None else min(dram.max_lines, FEW_LINES)
    )  # of more, those that are met
    yield from _every(("dram", "off"), what, horizon_ns, dram.on_ns + dram.off_ns, lines)
