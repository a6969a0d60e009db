"""Touches of the entries that lead to a poisoned page: when they come, and what they come to.

After unmapping any touch of the *page* counts.  The touches of a task are a Poisson stream that starts
at the detection and is the same under every policy, so the kill that early_kill = 1 brings forward and
the kill suffered under 0 are the same touch, to the nanosecond.

Life of one: :func:`expect` -> it comes (late kill), or :func:`touched_by_step`, :func:`remapped`,
:func:`drop_the_dead`.  A handler that returns to the same access comes back through :func:`again`.
"""

from __future__ import annotations

from functools import partial

from hwsim.bad_lines.bad_line import BadLine, Candidate, LateTouches
from hwsim.elementary import log1p
from hwsim.engine import KERNEL_ACCESS, TASK_ACCESS
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.mm.memory import FATAL, do_page_fault, is_fatal, unmap_mapping_range
from hwsim.kernel.mm.swap import has_no_contents
from hwsim.kernel.mm_types import NONE, Page, Pte, Signal, Vma
from hwsim.kernel.signal import BUS_MCEERR_AO, LOOP_BOUND
from hwsim.record import Result
from hwsim.rng import Slot

_SPAN = 16  # expected touches in a span of the stream


# -- when they come -------------------------------------------------------------------------------------


def expect(line: BadLine, pte: Pte, anchor_ns: int) -> None:
    """Await the task's next touch of this entry, if it comes before the task ends and the run does."""
    time = next_touch_ns(line, pte.vma, anchor_ns)
    last = min(line.around.horizon_ns, pte.vma.task.user.next_exit_ns())
    if time is not None and time < last:
        _expect_at(line, pte, time)


def expect_sharers(line: BadLine, anchor_ns: int) -> None:
    """Shared memory that has lost its contents is SIGBUS for every task that maps it, now or later."""
    page = line.page
    mapping = page.region.mapping if page is not None else None
    if page is None or mapping is None or not has_no_contents(mapping, page):
        return
    for vma in mapping.vmas:
        if not vma.covers(page.pgoff) or vma in line.touches.remapped:
            continue
        pte = vma.ptes.get(page.pgoff)
        if pte is None:
            pte = vma.ptes[page.pgoff] = Pte(vma, page)
            pte.kind = NONE
        if is_fatal(pte) and not awaits(line, pte):
            expect(line, pte, max(anchor_ns, vma.since_ns))
    line.arm()


def expect_truncation(line: BadLine, rate_per_ns: float) -> None:
    """The file will be cut, by chance, and the entries dropped with the page that they stand for."""
    u = line.around.draws.extra(line.error, Slot.TRUNCATED, line.attempts)
    time = line.around.engine.now_ns + int(-log1p(-u) / rate_per_ns) + 1
    line.touches.to_come[None] = Candidate(time, KERNEL_ACCESS, "truncated", _file_truncated)


def next_touch_ns(line: BadLine, vma: Vma, anchor_ns: int) -> int | None:
    """When the task next touches the page, after now: None if never.  At one moment it is drawn once."""
    touches, drawn_for = line.touches, (anchor_ns, line.around.engine.now_ns)
    if touches.drawn is None or touches.drawn_for != drawn_for:
        touches.drawn, touches.drawn_for = {}, drawn_for
    if vma not in touches.drawn:
        touches.drawn[vma] = _draw_touch(line, vma, anchor_ns)
    return touches.drawn[vma]


def _draw_touch(line: BadLine, vma: Vma, anchor_ns: int) -> int | None:
    load, store = vma.region.touch_rates(line.page.pgoff if line.page else 0)
    rate = load + store
    if rate <= 0.0:
        return None
    extra, error, now = line.around.draws.extra, line.error, line.around.engine.now_ns
    # The stream is cut into spans of _SPAN expected touches, each with draws of its own: so a late
    # look need not walk through all touches since the detection, and finds the same ones.
    span = _SPAN / rate
    number = int(max(0, now - anchor_ns) / span)
    key = _turn(line.touches, vma) << 40 | vma.number << 16
    while True:
        time, end = anchor_ns + number * span, anchor_ns + (number + 1) * span
        for k in range(1 << 16):
            time -= log1p(-extra(error, Slot.TOUCH | number << 8, key + k)) / rate
            if time >= end:
                break
            if time > now:
                return int(time) + 1
        number += 1


def anchor_ns(line: BadLine, failure: MemoryFailure) -> int:
    """Since when touches of the page count: the find, or the begin of a handling that had none."""
    found_ns = line.record.found_ns
    return failure.started_ns if found_ns is None else found_ns


def would_touch_ns(line: BadLine, vma: Vma, failure: MemoryFailure) -> int | None:
    """When the task would touch the page if it were not killed now; None: not before its own end."""
    time, exit_ns = next_touch_ns(line, vma, anchor_ns(line, failure)), vma.task.user.next_exit_ns()
    return None if time is None or time > exit_ns else time


def awaits(line: BadLine, pte: Pte) -> bool:
    """Whether a touch of this entry is drawn, or has come: who waits for SIGBUS touches nothing."""
    return pte in line.touches.come or pte in line.touches.to_come


def _turn(touches: LateTouches, vma: Vma) -> int:
    """Which of the successive mappings in this place it is; no pid, as pids follow the policy."""
    if touches.seen is None:
        touches.seen = {}
    seen = touches.seen.setdefault(vma.number, [])
    if vma not in seen:
        seen.append(vma)
    return seen.index(vma) + (touches.gone.get(vma.number, 0) if touches.gone is not None else 0)


def _expect_at(line: BadLine, pte: Pte, time_ns: int) -> None:
    happens = partial(_touched, pte)
    line.touches.to_come[pte] = Candidate(time_ns, TASK_ACCESS | pte.vma.task.number, "touch", happens)


# -- what they come to ----------------------------------------------------------------------------------


def _touched(pte: Pte, line: BadLine) -> None:
    """A task touches the entry that replaced the page; nothing by chance while its handler runs."""
    task = pte.vma.task
    line.touches.to_come.pop(pte, None)
    if task.handler_ends_ns > line.around.engine.now_ns:
        _expect_at(line, pte, task.handler_ends_ns)
        line.arm()
        return
    line.touches.come += (pte,)
    if pte.vma.alive and line.in_boot.failure is not None:
        if _access(line, pte, line.in_boot.failure) not in FATAL:
            pte.vma.ptes.pop(pte.page.pgoff, None)
    line.arm()


def _access(line: BadLine, pte: Pte, failure: MemoryFailure) -> str:
    kernel, task = line.around.kernel, pte.vma.task
    kernel.event("touch", task=task.name, pfn=line.pfn)
    result = do_page_fault(kernel, pte.vma, pte, failure)
    if result in FATAL and task.pending is not None and task.pending.code == BUS_MCEERR_AO:
        _repeat_after(line, task.pending, pte)  # the new signal has merged into that one
    return result


def unlocked(line: BadLine, vma: Vma) -> None:
    """A store that has waited for the page lock is made again, now or when its task's handler returns."""
    page, task = line.page, vma.task
    pte = vma.ptes.get(page.pgoff) if page is not None and vma.alive else None
    if pte is None or not is_fatal(pte):
        return
    line.touches.to_come.pop(pte, None)
    if task.pending is not None and not task.blocked:  # signals come before user space goes on
        _repeat_after(line, task.pending, pte)
    else:
        _expect_at(line, pte, line.around.engine.now_ns)


def _repeat_after(line: BadLine, signal: Signal, pte: Pte) -> None:
    signal.again = partial(again, line, signal)
    line.touches.come += (pte,)


def by_handler(line: BadLine, signal: Signal) -> bool:
    """A handler touches the page that it is told about; whether that is fatal."""
    pte = _entry(line.page, signal)
    if pte is None:
        return False
    line.touches.to_come.pop(pte, None)
    line.touches.come += (pte,)
    result = _access(line, pte, signal.failure)
    line.arm()
    return result in FATAL


def again(line: BadLine, signal: Signal) -> None:
    """A handler returned to the access that faulted: it repeats, for ever in the end."""
    pte = _entry(line.page, signal)
    line.touches.loops += 1
    if pte is None:
        return
    if line.touches.loops >= LOOP_BOUND:
        signal.result = Result.LOOPING
        return
    do_page_fault(line.around.kernel, pte.vma, pte, signal.failure)


def _entry(page: Page | None, signal: Signal) -> Pte | None:
    """What the signal's mapping has in place of the page."""
    return signal.vma.ptes.get(page.pgoff) if page is not None and signal.vma is not None else None


def _file_truncated(line: BadLine) -> None:
    """The file was cut and written anew after its page was lost: nothing leads to the poison any more."""
    kernel, page = line.around.kernel, line.page
    assert page is not None
    region, cut = page.region, range(page.pgoff, page.pgoff + 1)
    assert region.mapping is not None
    kernel.event("truncated", pfn=page.pfn)
    unmap_mapping_range(region.mapping, cut)
    line.touches.to_come = {}
    page.lost_bytes = 0
    kernel.files.truncated(region, cut)
    region.mapping.read_again[page.pgoff] = kernel.engine.now_ns
    kernel.files.readers_changed(region.mapping)
    line.arm()


# -- what calls them off --------------------------------------------------------------------------------


def touched_by_step(line: BadLine, pte: Pte) -> None:
    """A script has touched the entry: the touch that was drawn for it is not needed any more."""
    line.touches.to_come.pop(pte, None)
    line.arm()


def remapped(line: BadLine, vma: Vma) -> None:
    """A handler mapped a fresh page there: nobody will touch this one through the mapping."""
    touches = line.touches
    touches.remapped += (vma,)
    touches.to_come = {
        pte: each for pte, each in touches.to_come.items() if pte is None or pte.vma is not vma
    }
    line.arm()


def drop_the_dead(line: BadLine) -> None:
    """Tasks that are gone touch nothing, and an entry that was dropped leads nowhere."""
    touches = line.touches
    if touches.to_come:
        touches.to_come = {
            pte: each
            for pte, each in touches.to_come.items()
            if pte is None or (pte.vma.alive and pte.vma.ptes.get(pte.page.pgoff) is pte)
        }
