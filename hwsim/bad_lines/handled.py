"""What memory_failure() has made of the page: unmapped, contained or not, its data kept or lost.

From here on any touch of the *page* counts, not only of the bad line.
"""

from __future__ import annotations

from hwsim.bad_lines import late_touch, read_again
from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.line_writeback import look_after_no_more
from hwsim.bad_lines.states import HANDLED
from hwsim.elementary import added, expm1
from hwsim.engine import TASK_ACCESS
from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.mm.me_handlers import ACTION_NAME
from hwsim.kernel.mm.memory import meets_poison
from hwsim.kernel.mm.page_alloc import lose_block
from hwsim.kernel.mm_types import Page, Pte, Vma
from hwsim.memory.advance_state import quiet_rates, store_meanwhile
from hwsim.memory.behaviours import BEHAVIOURS
from hwsim.record import Outcome
from hwsim.rng import Slot
from hwsim.units import PAGE_BYTES


def unmapped(line: BadLine, failure: MemoryFailure, entries: list[Pte]) -> None:
    """memory_failure() has taken the page out of the page tables: late touches can come."""
    anchor = late_touch.anchor_ns(line, failure)
    _out_of_reach(line, anchor, [pte.vma for pte in entries])
    line.in_boot.entries = entries
    for pte in entries:
        if meets_poison(pte):
            late_touch.expect(line, pte, anchor)
    if failure.unmap_failed:
        line.draw_race()  # one task can still read the line
        return
    line.times = [each for each in line.times if each.priority < TASK_ACCESS]  # no task reaches it now
    line.arm()


def done(line: BadLine, failure: MemoryFailure) -> None:
    """memory_failure() has returned."""
    around, in_boot = line.around, line.in_boot
    page = around.kernel.mem_map.overlay.get(failure.pfn)  # the line may have healed and left it meanwhile
    line.attempts += 1
    in_boot.queued.discard(failure)
    if failure.exit == "already" and in_boot.failure is not None:
        line.state = HANDLED
        line.arm()
        return
    if failure.exit == "already" and in_boot.queued:  # another find of the page is being handled
        return
    in_boot.failure = failure
    entries, in_boot.entries = in_boot.entries, ()
    in_boot.mappers = failure.mappers
    in_boot.dirty = page is not None and bool(page.flags & pg.DIRTY)
    line.state = HANDLED
    look_after_no_more(line)
    line.times = [each for each in line.times if each.what not in ("refilled", "swap", "dirtied")]
    if page is None:
        line.arm()
        return
    behaviour = BEHAVIOURS[page.region.kind]
    anchor = late_touch.anchor_ns(line, failure)
    if line.record.unmapped_ns is None and failure.exit == "table":
        _out_of_reach(line, anchor, [])
    if is_contained(page, failure):
        in_boot.contained_ns = around.engine.now_ns
        if failure.exit != "free_or_high_order":
            take_out(line, page)
        in_use = failure.exit not in ("free_or_high_order", "free_buddy")
        if in_use and behaviour.data_lost(page, failure.dirty):
            page.lost_bytes = PAGE_BYTES
            line.record.data_lost_bytes += PAGE_BYTES
    if failure.exit == "table" and page.mapping is None and page.region.layout.is_file:
        read_again.dropped(line, page)
        rate = page.region.layout.truncate_per_s * 1e-9
        if rate > 0.0 and (failure.dirty or line.touches.to_come):
            late_touch.expect_truncation(line, rate)
    if failure.dirty and failure.exit == "table" and behaviour.write_lost is not None:
        dropped = in_boot.contained_ns is not None or page.flags & pg.ERROR
        if dropped and behaviour.write_lost(page):
            around.kernel.files.write_lost(failure, page, entries)
    for pte in _entries(page):
        if meets_poison(pte) and not late_touch.awaits(line, pte):
            late_touch.expect(line, pte, anchor)
    late_touch.expect_sharers(line, anchor)
    waiting, in_boot.stores_waiting = in_boot.stores_waiting, ()
    for vma in waiting:
        late_touch.unlocked(line, vma)
    line.arm()


def _out_of_reach(line: BadLine, found_ns: int, vmas: list[Vma]) -> None:
    """The page has left the page tables: was it touched since the find, beside its bad line?"""
    around, page = line.around, line.page
    if line.record.first is not None:  # the record is of the boot in which the error was found
        return
    line.record.unmapped_ns = now = around.engine.now_ns
    if page is None or now <= found_ns:
        return
    rate = added(added(quiet_rates(vma, page.pgoff, line.permanent)) for vma in vmas)
    if page.region.layout.is_file:
        rate += added(page.region.touch_rates(page.pgoff))  # read() and write() by system call
    u = around.draws.extra(line.error, Slot.WINDOW, line.attempts)
    line.record.touched = u < -expm1(-rate * (now - found_ns))


def stored_meanwhile(line: BadLine, page: Page, since_ns: int) -> None:
    """memory_failure() has slept while tasks could still store to the page it is about to unmap."""
    extra, error, was = line.around.draws.extra, line.error, page.flags
    now = line.around.engine.now_ns
    line.in_boot.stores_waiting = store_meanwhile(
        page, since_ns, now, line.permanent, lambda k: extra(error, Slot.MEANWHILE, k)
    )
    if page.flags & ~was & pg.DIRTY:
        line.around.kernel.event("dirtied", pfn=page.pfn)


def _entries(page: Page) -> list[Pte]:
    family = page.anon_vma or (page.mapping.vmas if page.mapping is not None else [])
    entries = [vma.ptes.get(page.pgoff) for vma in family]
    return [pte for pte in entries if pte is not None and pte.page is page]


def is_contained(page: Page, failure: MemoryFailure) -> bool:
    """Whether nobody can read the page any more without the kernel noticing."""
    if failure.exit == "free_or_high_order":
        return bool(page.flags & pg.BUDDY)  # a free huge page has no gatekeeper in its pool
    if failure.exit == "already_unmapped":
        return not page.ptes
    if failure.exit == "free_buddy":
        return True
    if not failure.row or failure.kernels_own:  # there Delayed means that nothing was done
        return False
    return ACTION_NAME[failure.outcome] in (Outcome.RECOVERED, Outcome.DELAYED) and not page.ptes


def take_out(line: BadLine, page: Page) -> None:
    """The frame leaves the memory in use, alone or with the block it stands in."""
    line.in_boot.take_out(lose_block(line.around.kernel, page.pfn, 0))
    if page.epoch != page.region.epoch:  # its owner has died meanwhile: no later one has the frame
        page.region.watched.pop(line.pfn, None)
