"""A frame with a line changes hands: freed, handed out again, moved by a reboot.

The bad line stays bad whoever owns the frame.  A new page is cleared first, which overwrites whole
lines and so heals what was transient.
"""

from __future__ import annotations

from hwsim.bad_lines import late_touch
from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.discovery import consumed, device_read
from hwsim.bad_lines.ending import finish, start_over
from hwsim.bad_lines.line_writeback import look_after_no_more
from hwsim.bad_lines.looks import look, settle
from hwsim.bad_lines.states import HANDLED
from hwsim.engine import Bell
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.memory import unmap_mapping_range
from hwsim.kernel.mm.page_alloc import (
    free_one_page,
    free_pages_check,
    lose_block,
    prep_new_page,
    take_page_off_buddy,
)
from hwsim.kernel.mm.page_cache import truncate_inode_page
from hwsim.kernel.mm_types import Page, Vma
from hwsim.memory.advance_state import map_latecomers
from hwsim.memory.draw_state import fault_in
from hwsim.memory.swap_cycle import CLEAN_MAPPED, CLEAN_UNMAPPED, STAGE_NAMES, enter, next_stages
from hwsim.record import End, Found
from hwsim.rng import Slot
from hwsim.units import LINES_PER_PAGE


def owner_gone(line: BadLine) -> None:
    """The region's owner is dead: the frame is free, unless the handler holds it."""
    page = line.page
    if page is None or line.finished:
        return
    if line.in_boot.hole:  # from now on nobody owns it
        page.region.watched.pop(line.pfn, None)
        return
    if page.flags & pg.HWPOISON:
        if page.region.layout.is_hugetlb and line.in_boot.contained_ns is None:
            freed(line)
        return
    if any(vma.alive for vma in page.ptes):
        return  # a relative's copy
    becomes_free(line, page)


def becomes_free(line: BadLine, page: Page) -> None:
    """The frame goes to the free lists with its bad line."""
    look_after_no_more(line)
    line.around.kernel.event("freed", error=line.error, pfn=line.pfn)
    free_one_page(page)
    page.swap_entry, page.swap_stage = False, 0
    line.draw_race()


def region_revived(line: BadLine) -> None:
    """The frames of the region are handed out to a new owner."""
    page = line.page
    if page is None or line.finished or line.in_boot.hole:
        return
    if not page.flags & pg.BUDDY:
        return
    if page.region.fork_family is not None or not page.region.layout.populate:
        line.draw_race()  # its frames are taken one by one
    else:
        handed_out(line, 0)


def freed(line: BadLine) -> None:
    """The allocation that holds the page is freed.

    If the page is poisoned the whole block stays away from the free lists: either the check at
    freeing refuses it, or the handler's reference on its head keeps it from being freed at all.
    """
    page, kernel = line.page, line.around.kernel
    assert page is not None
    if page.mapping is not None and page.flags & pg.HWPOISON and page.region.layout.is_file:
        unmap_mapping_range(page.mapping, range(page.pgoff, page.pgoff + 1))
        late_touch.drop_the_dead(line)
        if page.flags & pg.LOCKED:  # truncate_inode_pages() waits for memory_failure() to unlock
            bell = Bell(line.around.engine)
            bell.callbacks.append(lambda _event: freed(line))
            page.waiters.append(bell)
            return
        truncate_inode_page(page.mapping, page)
        if line.state != HANDLED:  # memory_failure() is still waiting for the lock
            line.draw_race()
            return
    if not free_pages_check(kernel, page):
        _isolate(line, page, page.region.layout.order)
        return
    becomes_free(line, page)


def _frame_overwritten(line: BadLine) -> bool:
    """The whole frame is overwritten, which heals every transient line; whether the line is over."""
    line.other_lines = [each for each in line.other_lines if each.permanent]
    if line.permanent:
        return False
    line.around.kernel.event("healed", error=line.error, pfn=line.pfn)
    finish(line, End.HEALED)
    return True


def swap_round(line: BadLine) -> None:
    """The page goes on in its round through the swap cache: a device reads the frame, another fills it."""
    page = line.page
    assert page is not None and page.region.layout.swap is not None
    if page.flags & pg.HWPOISON:
        line.arm()
        return
    extra, error, now = line.around.draws.extra, line.error, line.around.engine.now_ns
    settle(line)
    for stage in next_stages(page, page.region.layout.swap):
        if stage == CLEAN_MAPPED and _frame_overwritten(line):
            return
        line.around.kernel.event("swap", error=line.error, pfn=line.pfn, stage=STAGE_NAMES[stage])
        enter(page, stage)
        if stage == CLEAN_MAPPED:
            map_latecomers(page, now, lambda k: extra(error, Slot.SWAPPED_IN, k))
        if stage == CLEAN_UNMAPPED and not device_read(line):
            return
    line.draw_race()


def handed_out(line: BadLine, order: int) -> None:
    """An allocation of ``order`` meets the free frame; the allocator is the gatekeeper of poison."""
    page, around = line.page, line.around
    assert page is not None
    if not prep_new_page(around.kernel, page, order):
        _isolate(line, page, order)
        return
    around.kernel.event("allocated", error=line.error, pfn=line.pfn, order=order)
    if _frame_overwritten(line):
        return
    page.region.watched.pop(line.pfn, None)
    del around.kernel.mem_map.overlay[line.pfn]
    if page.region.layout.is_free:
        change_hands(line)
    look(line)
    line.draw_race()


def given_out(line: BadLine) -> None:
    """A script's allocation takes the frame, which is not poisoned."""
    if _frame_overwritten(line):
        return
    if line.page is not None:
        line.page.region.watched.pop(line.pfn, None)
        line.around.kernel.mem_map.overlay.pop(line.pfn, None)
    look(line)
    line.draw_race()


def first_touch(line: BadLine, vma: Vma, copied: bool) -> None:
    """A task needs a frame for its page and gets this one, cleared or copied to; then it touches it."""
    page, around = line.page, line.around
    assert page is not None
    if not prep_new_page(around.kernel, page, 0):
        _isolate(line, page, 0)
        return
    around.kernel.event("allocated", error=line.error, pfn=line.pfn, order=0, task=vma.task.name)
    if _frame_overwritten(line):
        return
    load, store = vma.region.touch_rates(page.pgoff)
    touches = store if copied else load + store
    u = around.draws.extra(line.error, Slot.FIRST_TOUCH, line.races)
    stores = copied or u * touches < store
    fault_in(around.kernel, page, vma, store=stores)
    layout = vma.region.layout
    reads = min(1.0, layout.lines_per_touch / LINES_PER_PAGE) * (1.0 - layout.full_line if stores else 1.0)
    if around.draws.extra(line.error, Slot.FIRST_TOUCH, line.races | 1 << 32) < reads:
        consumed(line, Found.TASK_LOAD, vma.task.name)
    else:
        line.draw_race()


def change_hands(line: BadLine) -> None:
    """The frame takes the place of one drawn from all memory; without chance it keeps its own."""
    if not line.around.spec.chance:
        return
    u = line.around.draws.extra(line.error, Slot.NEW_OWNER, line.races)
    line.around.kernel.mem_map.move(line.pfn, u)


def _isolate(line: BadLine, page: Page, order: int) -> None:
    if line.in_boot.contained_ns is None:
        line.in_boot.contained_ns = line.around.engine.now_ns
    line.in_boot.take_out(lose_block(line.around.kernel, page.pfn, order))
    take_page_off_buddy(page)
    line.times = ()
    line.arm()


def is_replaced(line: BadLine) -> bool:
    """Whether the DRAM fault behind the line was repaired: the line is good again."""
    return any(each.is_repaired for each in line.faults)


def rebooted(line: BadLine) -> None:
    """A reboot forgets PG_hwpoison, not the fault.

    Memory initialisation heals what was transient; the memory that caused a panic may be replaced.
    """
    around = line.around
    end = End.PANIC if line.record.end == End.PANIC else ""
    if is_replaced(line):
        line.other_lines = [each for each in line.other_lines if not is_replaced(each)]
        finish(line, end or End.REPLACED)
        return
    if end and not line.faults:  # who repairs the faults of DIMMs has said so
        u = around.draws.extra(line.error, Slot.REPAIR, line.races)
        if u < around.spec.repair_share:
            line.other_lines = ()
            finish(line, end)
            return
    if not line.permanent:
        finish(line, end or End.REBOOTED)
        return
    start_over(line)
    if around.kernel.mem_map.pfn_valid(line.pfn):
        change_hands(line)  # another boot uses the frame for something else
    look(line)
    line.draw_race()
