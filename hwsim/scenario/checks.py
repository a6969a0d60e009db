"""Checks across tables: names that must exist, shares that must add up, memory that must suffice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hwsim.elementary import added
from hwsim.kernel.frames import MAX_ORDER
from hwsim.memory.kinds import POOLS, REGIONS, named
from hwsim.scenario.check_streams import check_streams
from hwsim.scenario.endless import endless
from hwsim.scenario.keys import given, spelled
from hwsim.scenario.problems import Finding, Path, one_of, unknown
from hwsim.scenario.schema import Region, Sigbus, Swap, Touch
from hwsim.scenario.schema_machine import DISTRIBUTIONS, Delay, Machine
from hwsim.scenario.valid_parts import (
    PINNED,
    Parts,
    cached_pages,
    footprint,
    free_pages,
    pool_order,
    region_pages,
    show_pages,
)

_ROUNDING = 1e-9


def check(parts: Parts) -> Iterator[Finding]:
    """Everything that is wrong across the tables, script steps excepted."""
    yield from _machine(parts)
    yield from _duplicates(parts)
    yield from _files(parts)
    yield from _tasks(parts)
    yield from _pools(parts)
    yield from _memory(parts)
    yield from check_streams(parts)
    yield from endless(parts)


def _machine(parts: Parts) -> Iterator[Finding]:
    if parts.machine is None:
        return
    sysctl = "vm.memory_failure_recovery"
    if parts.machine.sysctl.recovery is not None and not _has_sysctl(parts.machine, sysctl):
        path = ("machine", "sysctl", sysctl)
        yield Finding(path, "this kernel has no such sysctl", "leave the key out")
    times = parts.machine.times
    for name in spelled(type(times)):
        if name in given(times):
            yield from _delay(("machine", "times", name), getattr(times, name))


def _has_sysctl(machine: Machine, name: str) -> bool:
    """Kernels are loaded only when something depends on them."""
    from hwsim.kernel.versions.boot import profile_of

    return name in profile_of(machine.kernel).sysctls


def _has_mce_kill(machine: Machine) -> bool:
    from hwsim.kernel.prctl import no_mce_kill
    from hwsim.kernel.versions.boot import booted

    switches = machine.switches.model_dump(exclude_none=True)
    return booted(machine.kernel, tuple(switches.items())).prctl is not no_mce_kill


def _delay(path: Path, delay: Delay) -> Iterator[Finding]:
    needed, keys = DISTRIBUTIONS[delay.kind], given(delay)
    takes = f"{delay.kind} takes {', '.join(needed)} and chance"
    for key in ("mean", "low", "high", "sigma"):
        if key in keys and key not in needed:
            yield Finding((*path, key), f"a {delay.kind} distribution has no {key}", takes)
        if key not in keys and key in needed:
            yield Finding((*path, key), "required key is missing", takes)
    if {"low", "high"} <= keys and delay.low_ns > delay.high_ns:
        yield Finding((*path, "low"), "low is above high", "low <= high")


def _duplicates(parts: Parts) -> Iterator[Finding]:
    for table, key in (("file", "name"), ("task", "name"), ("kernel", "kind")):
        seen: dict[str, int] = {}
        for index, item in enumerate(getattr(parts, table)):
            name = getattr(item, key, None)
            if name is not None and name in seen:
                yield Finding(
                    (table, index, key),
                    f"the {key} is already that of {table}[{seen[name]}]",
                    f"each {key} once",
                )
            elif name is not None:
                seen[name] = index
    for number, task in enumerate(parts.task):
        labels: dict[str, int] = {}
        for index, region in enumerate(task.regions if task is not None else ()):
            path = ("task", number, "region", index)
            if region.label in labels:
                message = f'region[{labels[region.label]}] of this task is already called "{region.label}"'
                allowed = "another name (the default is the kind)"
                yield Finding((*path, "kind" if region.name is None else "name"), message, allowed)
            labels.setdefault(region.label, index)


def _shares(path: Path, touch: Sequence[Touch]) -> Iterator[Finding]:
    total = added(band.share for band in touch)
    if total > 1 + _ROUNDING:
        yield Finding((*path, "touch"), f"the shares sum to {total * 100:.4g} %", "at most 100 % together")


def _files(parts: Parts) -> Iterator[Finding]:
    for index, item in enumerate(parts.file):
        if item is None:
            continue
        path: Path = ("file", index)
        yield from _shares(path, item.touch)
        if item.buffers != "idle" and item.buffers_busy > 0:
            yield Finding(
                (*path, "buffers_busy"), f'has no effect with buffers = "{item.buffers}"', 'buffers = "idle"'
            )
        if item.filesystem in {"ramfs", "tmpfs"}:
            if item.flush_every_ns:
                yield Finding(
                    (*path, "flush_every"), f"{item.filesystem} is never written back", "leave the key out"
                )
            if item.turnover_per_s > 0:
                yield Finding((*path, "turnover"), f"{item.filesystem} cannot be read again", '"never"')
        if item.evict_per_s > 0 and item.filesystem in PINNED:
            yield Finding((*path, "evict"), f"an inode of {item.filesystem} stays in memory", '"never"')
        for number, group in enumerate(item.writers):
            if group not in parts.raw_names("task"):
                yield unknown((*path, "writers", number), "task", group, parts.raw_names("task"))


def _tasks(parts: Parts) -> Iterator[Finding]:
    files = parts.files()
    file_names = parts.raw_names("file")
    for index, task in enumerate(parts.task):
        if task is None:
            continue
        yield from _sigbus(("task", index, "sigbus"), task.sigbus)
        if task.mce_kill != "default" and parts.machine is not None and not _has_mce_kill(parts.machine):
            yield Finding(("task", index, "mce_kill"), "this kernel has no PR_MCE_KILL", '"default"')
        if task.fsync is not None and task.fsync.file not in file_names:
            yield unknown(("task", index, "fsync", "file"), "file", task.fsync.file, file_names)
        elif task.fsync is not None and task.fsync.file in files:
            filesystem = files[task.fsync.file].filesystem
            if filesystem in {"ramfs", "tmpfs"}:
                allowed = "a file of a filesystem on a disk"
                yield Finding(
                    ("task", index, "fsync", "file"), f"fsync does nothing on {filesystem}", allowed
                )
        if task.fsync is not None and task.fsync.reopen_ns is None and task.fsync.open_share < 1:
            yield Finding(("task", index, "fsync", "open"), "the file is never opened again", "with reopen")
    for path, _, region in parts.regions():
        yield from _shares(path, region.touch)
        yield from _region(path, region, parts, file_names)


def _sigbus(path: Path, sigbus: Sigbus) -> Iterator[Finding]:
    if sigbus.unblock_ns is not None and "blocked" not in {sigbus.on_ao, sigbus.on_ar}:
        yield Finding((*path, "unblock"), "nothing is blocked", 'on_ao or on_ar = "blocked"')


def _region(path: Path, region: Region, parts: Parts, file_names: list[str]) -> Iterator[Finding]:
    kind, use = region.kind, REGIONS[region.kind]
    files = parts.files()
    pages = region_pages(region, files)
    if use.of_file:
        if region.file is None:
            yield Finding((*path, "file"), "a mapping needs the file", one_of(file_names))
        elif region.file not in file_names:
            yield unknown((*path, "file"), "file", region.file, file_names)
        elif region.file in files and pages is not None:
            cached = cached_pages(files[region.file])
            if cached == 0:
                yield Finding((*path, "file"), "no page of this file is cached", "a file with cached pages")
            elif pages > cached:
                message = f'larger than the cached part of "{region.file}"'
                yield Finding((*path, "size"), message, f"up to {show_pages(cached)}")
    else:
        if region.file is not None:
            yield Finding((*path, "file"), f"a region of kind {kind} has no file", _of("of_file"))
        if region.size is None:
            yield Finding((*path, "size"), "required key is missing", 'such as "16 GiB"')
    if use.sharing and region.shared not in {None, use.shared}:
        state = "shared" if region.shared else "private"
        yield Finding((*path, "shared"), f"a region of kind {kind} cannot be {state}", use.sharing)
    if use.huge and pages is not None and pages % (1 << region.huge_order):
        allowed = f"a multiple of {show_pages(1 << region.huge_order)}"
        yield Finding((*path, "size"), "not a whole number of huge pages", allowed)
    for key in ("huge_page", "huge_free"):
        if key in given(region) and not use.huge:
            yield Finding((*path, key), f"a region of kind {kind} has no huge pages", _of("huge"))
    if region.swap is not None:
        if not use.swapped:
            yield Finding((*path, "swap"), f"pages of kind {kind} are not swapped", _of("swapped"))
        elif region.mlock:
            yield Finding((*path, "swap"), "locked pages are not swapped", "mlock = false")
        yield from _swap((*path, "swap"), region.swap)


def _of(fact: str) -> str:
    """The kinds of region of which it is true."""
    return named(name for name, use in REGIONS.items() if getattr(use, fact))


def _swap(path: Path, swap: Swap) -> Iterator[Finding]:
    total = swap.dirty_mapped + swap.dirty_unmapped + swap.clean_unmapped + swap.clean_mapped
    if total > 1 + _ROUNDING:
        yield Finding(path, f"the shares sum to {total * 100:.4g} %", "at most 100 % together")


def _pools(parts: Parts) -> Iterator[Finding]:
    for index, pool in enumerate(parts.kernel):
        if pool is None:
            continue
        order, use = pool_order(pool), POOLS[pool.kind]
        if order < use.smallest or (use.largest is not None and order > use.largest):
            larger = " and ".join(name for name, each in POOLS.items() if each.smallest)
            allowed = f"{use.smallest} to {MAX_ORDER}" if use.smallest else f"0 ({larger} have larger ones)"
            yield Finding(("kernel", index, "order"), f"not an order of {pool.kind}", allowed)
        elif pool.size % (1 << order):
            allowed = f"a multiple of {show_pages(1 << order)}"
            yield Finding(
                ("kernel", index, "size"), f"not a whole number of order-{order} allocations", allowed
            )
        if not use.freed and pool.lifetime_ns is not None:
            yield Finding(("kernel", index, "lifetime"), f"{pool.kind} memory is never freed", '"never"')


def _memory(parts: Parts) -> Iterator[Finding]:
    if not parts.complete or parts.machine is None or free_pages(parts) >= 0:
        return
    users = sorted(footprint(parts), key=lambda row: -row[2])
    largest = ", ".join(f"{name} {show_pages(frames)}" for name, _, frames in users[:3] if frames)
    message = f"too small by {show_pages(-free_pages(parts))}; the largest users are {largest}"
    needed = parts.machine.memory_pages - free_pages(parts)
    yield Finding(("machine", "memory"), message, f"at least {_whole_mib(needed)}")


def _whole_mib(pages: int) -> str:
    """A size in MiB that is surely enough."""
    return f"{-(-pages // 256)} MiB"
