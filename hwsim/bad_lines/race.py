"""The race for a bad line: when each party would next meet it, as the page is used now.

Rates are of *that line*: a touch of the page reads ``lines_per_touch`` of its 64 lines.  Every time is one
uniform through the inverse CDF.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from itertools import accumulate

from hwsim.bad_lines import frame_reuse, line_writeback
from hwsim.bad_lines.bad_line import BadLine, Candidate
from hwsim.bad_lines.discovery import consumed
from hwsim.bad_lines.ending import overwritten
from hwsim.bad_lines.looks import settle
from hwsim.elementary import added, log1p
from hwsim.engine import KERNEL_ACCESS, TASK_ACCESS
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.page_cache import inode_of
from hwsim.kernel.mm_types import Page, UserSpace
from hwsim.memory.advance_state import quiet_stores, sharers
from hwsim.memory.behaviours import BEHAVIOURS
from hwsim.memory.fork_family import Family, is_shared
from hwsim.memory.swap_cycle import leave_rate
from hwsim.record import Found
from hwsim.rng import ROW, Slot
from hwsim.units import LINES_PER_PAGE

Uniform = Callable[[Slot], float]

_NS = 1e-9


def draw_race(line: BadLine) -> None:
    """All candidates for the page of ``line`` from now on."""
    settle(line)
    line.times = [] if line.page is None else candidates(line, line.page, _uniforms(line))


def candidates(line: BadLine, page: Page, uniform: Uniform) -> list[Candidate]:
    """They, for these uniforms; of a page that is up to now."""
    times: list[Candidate] = []
    now = line.around.engine.now_ns
    target = page.head or page
    _tasks(line, target, uniform, now, times)
    if page.flags & pg.BUDDY:
        _first_touch(line, page, uniform, now, times)
        rate = line.around.allocations_per_ns
        if rate > 0.0:
            time = _when(now, uniform(Slot.ALLOC), rate)
            happens = partial(frame_reuse.handed_out, order=line.around.spec.alloc_order)
            times.append(Candidate(time, KERNEL_ACCESS, "allocated", happens))
    else:
        swap = page.region.layout.swap
        if swap is not None and not page.flags & pg.HWPOISON:
            time = _when(now, uniform(Slot.TURNOVER), leave_rate(page, swap))
            times.append(Candidate(time, KERNEL_ACCESS, "swap", frame_reuse.swap_round))
        accesses = BEHAVIOURS[page.region.kind].kernel_access
        access = None if accesses is None else accesses(page)
        if access is not None:
            _kernel(line, page, access, uniform, now, times)
    if not line.line_is_bad:
        return [each for each in times if each.what in ("freed", "allocated", "exit")]
    return times


def _healed(line: BadLine) -> None:
    """A store has overwritten the bad line."""
    line_writeback.dirties_inode(line)
    overwritten(line)


def _refilled(line: BadLine) -> None:
    """The page was reclaimed, and read again from the disk."""
    line.around.kernel.event("refilled", error=line.error, pfn=line.pfn)
    overwritten(line)


def _exit(user: UserSpace, _line: BadLine) -> None:
    user.exit()


def _when(now: int, u: float, rate_per_ns: float) -> int:
    return now + int(-log1p(-u) / rate_per_ns) + 1


def _uniforms(line: BadLine) -> Uniform:
    """Uniforms of this race: the first uses the error's row, later ones extra draws."""
    race = line.races
    line.races += 1
    if race == 0:
        return line.u.__getitem__
    extra, error, base = line.around.draws.extra, line.error, race * ROW * 1024
    return lambda slot: extra(error, slot, base)


def _tasks(line: BadLine, target: Page, uniform: Uniform, now: int, times: list[Candidate]) -> None:
    """Loads and partial stores read the line; a store of the whole line heals what was transient."""
    read_rate = heal_rate = 0.0
    rates = []
    shared_copy = len(target.ptes) > 1 and target.flags & pg.ANON
    lifetimes = False
    lines = 1 + len(line.other_lines)
    readers = list(target.ptes)
    if target.mapping is not None and not target.flags & (pg.HWPOISON | pg.SWAPCACHE | pg.BUDDY):
        readers = sharers(target)  # who has not touched it yet may do so, and read the line at once
    for vma in readers:
        read, heal = vma.region.line_rates(target.pgoff)
        if shared_copy:  # the first store copies the whole page: the kernel reads every line of it
            load, store = vma.region.touch_rates(target.pgoff)
            read = load * min(1.0, vma.region.layout.lines_per_touch / LINES_PER_PAGE) + store
        read *= 1 if shared_copy else lines
        rates.append((read, vma))
        read_rate += read
        heal_rate += heal
        lifetimes = lifetimes or vma.task.user.lifetime_ns is not None
    if read_rate > 0.0:
        who = rates[-1][1]
        nth = uniform(Slot.RACE_WHO) * read_rate
        for read, vma in rates:
            if nth < read:
                who = vma
                break
            nth -= read
        time = _when(now, uniform(Slot.RACE_TASK), read_rate)
        happens = partial(consumed, how=Found.TASK_LOAD, task=who.task.name)
        times.append(Candidate(time, TASK_ACCESS | who.task.number, Found.TASK_LOAD, happens, whose=who))
    if heal_rate > 0.0 and not line.permanent and not shared_copy:
        time = _when(now, uniform(Slot.RACE_HEAL), heal_rate)
        times.append(Candidate(time, TASK_ACCESS, "healed", _healed))
    if lifetimes:
        exits = [vma.task.user.next_exit_ns() for vma in readers]
        task = readers[exits.index(min(exits))].task
        ends = partial(_exit, task.user)
        times.append(Candidate(min(exits), TASK_ACCESS | task.number, "exit", ends, whose=task.user))


def _first_touch(line: BadLine, page: Page, uniform: Uniform, now: int, times: list[Candidate]) -> None:
    """A task touches memory it has never touched, or copies a page it shares: the free frame is taken."""
    region = page.region
    if not region.alive or not BEHAVIOURS[region.kind].by_first_touch:
        return
    kernel = line.around.kernel
    if is_shared(kernel, region):
        extra, error = line.around.draws.extra, line.error
        family = Family(
            kernel, region.fork_family or region, page.pgoff, lambda slot, k: extra(error, slot, k)
        )
        taking = family.taking(region, now)
        if taking is not None:
            happens = partial(frame_reuse.first_touch, vma=taking.vma, copied=taking.copied)
            times.append(Candidate(int(taking.time_ns) + 1, KERNEL_ACCESS, "first_touch", happens))
        return
    vmas = [vma for vma in region.anon_vma or region.vmas if vma.alive and vma.covers(page.pgoff)]
    rates = [added(vma.region.touch_rates(page.pgoff)) for vma in vmas]
    total = added(rates)
    if total > 0.0:
        nth = bisect_right(list(accumulate(rates)), uniform(Slot.RACE_WHO) * total)
        who = vmas[min(nth, len(vmas) - 1)]
        time = _when(now, uniform(Slot.RACE_TASK), total)
        happens = partial(frame_reuse.first_touch, vma=who, copied=False)
        times.append(Candidate(time, KERNEL_ACCESS, "first_touch", happens))


def _kernel(
    line: BadLine,
    page: Page,
    access: tuple[float, float],
    uniform: Uniform,
    now: int,
    times: list[Candidate],
) -> None:
    """What the kernel itself reads and overwrites, for tasks that call it or not, and may free one day."""
    layout = page.region.layout
    if layout.lifetime_ns:
        time = _when(now, uniform(Slot.FREED), 1.0 / layout.lifetime_ns)
        times.append(Candidate(time, KERNEL_ACCESS, "freed", frame_reuse.freed))
    read, heal = access
    read *= 1 + len(line.other_lines)
    if read > 0.0:
        time = _when(now, uniform(Slot.RACE_KERNEL), read)
        happens = partial(consumed, how=Found.KERNEL_LOAD, task="kernel")
        times.append(Candidate(time, KERNEL_ACCESS, Found.KERNEL_LOAD, happens))
    if heal > 0.0 and not line.permanent:
        time = _when(now, uniform(Slot.RACE_OVERWRITE), heal)
        times.append(Candidate(time, KERNEL_ACCESS, "healed", _healed))
    if page.mapping is not None and layout.is_file:
        _file(line, page, uniform, now, times)


def _file(line: BadLine, page: Page, uniform: Uniform, now: int, times: list[Candidate]) -> None:
    """Page cache: writeback, reclaim, truncation."""
    layout, mapping = page.region.layout, page.mapping
    if mapping is not None and mapping.host is not None:
        written = _next_writeback(line, page, uniform, now)
        if written is not None and not line.in_boot.logged:
            times.append(written)
    if layout.turnover_per_s > 0.0 and not line.permanent:
        time = _when(now, uniform(Slot.TURNOVER), layout.turnover_per_s * _NS)
        times.append(Candidate(time, KERNEL_ACCESS, "refilled", _refilled, needs_cpu=False))
    if layout.truncate_per_s > 0.0:
        time = _when(now, uniform(Slot.FREED), layout.truncate_per_s * _NS)
        times.append(Candidate(time, KERNEL_ACCESS, "freed", frame_reuse.freed))


def _next_writeback(line: BadLine, page: Page, uniform: Uniform, now: int) -> Candidate | None:
    """Writeback by DMA reads the whole page, at the first write-out of its inode after it was dirtied.

    A store that overwrites a transiently bad line has healed it, one that reads it is found: neither
    counts here.
    """
    page.dirtied_ns = None
    if page.flags & pg.DIRTY:
        return line_writeback.written_back(page, now)
    stores = added(rate for rate, _ in quiet_stores(page, line.permanent))
    inode = inode_of(page)
    if stores <= 0.0 or inode is None:
        return None
    page.dirtied_ns = _when(now, uniform(Slot.RACE_DEVICE), stores)
    call, wake = inode.next_call_ns(page.dirtied_ns), inode.next_wake_ns(page.dirtied_ns)
    if call is not None and (wake is None or call <= wake):
        return line_writeback.written_at(call)
    # Which wake it will be follows from what the other pages do until then.
    return None if wake is None else line_writeback.dirtied(page.dirtied_ns)
