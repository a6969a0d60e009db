"""A frame with a story changes hands: freed, handed out again, moved by a reboot.

The bad line stays bad whoever owns the frame.  A new page is cleared first, which overwrites whole
lines and so heals what was transient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.bad_lines.discovery import consumed, device_read
from hwsim.bad_lines.writeback import look_after_no_more
from hwsim.engine import Bell
from hwsim.kernel import page_flags as pg
from hwsim.kernel.allocator import (
    free_one_page,
    free_pages_check,
    lose_block,
    prep_new_page,
    put_page,
    take_page_off_buddy,
)
from hwsim.kernel.first_look import fault_in
from hwsim.kernel.later_look import map_latecomers
from hwsim.kernel.mm_types import AddressSpace, Page
from hwsim.kernel.page_cache import truncate_inode_page
from hwsim.kernel.swap import clear_page_dirty_for_io, is_dirty
from hwsim.kernel.swap_cycle import CLEAN_MAPPED, CLEAN_UNMAPPED, STAGE_NAMES, enter, next_stages
from hwsim.kernel.truncate import unmap_mapping_range
from hwsim.rng import Slot

if TYPE_CHECKING:
    from hwsim.bad_lines.bad_line import BadLine
    from hwsim.kernel.mm_types import Vma
    from hwsim.machine import Machine


def owner_gone(story: BadLine) -> None:
    """The region's owner is dead: the frame is free, unless the handler holds it."""
    page = story.page
    if page is None or story.finished:
        return
    if story.hole:  # from now on nobody owns it
        page.region.watched.pop(story.pfn, None)
        return
    if page.flags & pg.HWPOISON:
        if page.region.kind == "hugetlb" and story.contained_ns is None:
            freed(story)
        return
    if any(vma.alive for vma in page.ptes):
        return  # a relative's copy
    becomes_free(story, page)


def becomes_free(story: BadLine, page: Page) -> None:
    """The frame goes to the free lists with its bad line."""
    look_after_no_more(story)
    story.machine.kernel.event("freed", error=story.error, pfn=story.pfn)
    free_one_page(page)
    story.draw_race()


def region_revived(story: BadLine) -> None:
    """The frames of the region are handed out to a new owner."""
    page = story.page
    if page is None or story.finished or story.hole:
        return
    if not page.flags & pg.BUDDY:
        return
    if page.region.fork_family is not None or not page.region.layout.populate:
        story.draw_race()  # its frames are taken one by one
    else:
        handed_out(story, 0)


def freed(story: BadLine) -> None:
    """The allocation that holds the page is freed.

    If the page is poisoned the whole block stays away from the free lists: either the check at
    freeing refuses it, or the handler's reference on its head keeps it from being freed at all.
    """
    page, kernel = story.page, story.machine.kernel
    assert page is not None
    if page.mapping is not None and page.flags & pg.HWPOISON and page.region.kind in ("file", "blockdev"):
        unmap_mapping_range(page.mapping, range(page.pgoff, page.pgoff + 1), even_cows=True)
        story.touches.drop_the_dead()
        if page.flags & pg.LOCKED:  # truncate_inode_pages() waits for memory_failure() to unlock
            bell = Bell(story.machine.engine)
            bell.callbacks.append(lambda _event: freed(story))
            page.waiters.append(bell)
            return
        truncate_inode_page(page.mapping, page)
        if not story.handled:  # memory_failure() is still waiting for the lock
            story.draw_race()
            return
    if not free_pages_check(kernel, page):
        _isolate(story, page, page.region.layout.order)
        return
    becomes_free(story, page)


def drop_pages(machine: Machine, mapping: AddressSpace) -> None:
    """Written back first, all cached pages go: of an inode at its eviction, of a device at its last close."""
    for page in list(mapping.pages.values()):
        story = machine.live_story(page.pfn)
        if story is not None:
            story.settle()
        if mapping.accounts_dirty and is_dirty(page) and not page.flags & pg.LOCKED:
            clear_page_dirty_for_io(page)
            if story is not None and story.line_is_bad and not device_read(story):
                return
        page.buffers_busy = False  # what was written back is neither dirty nor locked
        if story is not None:
            freed(story)
        else:
            truncate_inode_page(mapping, page)
            put_page(machine.kernel, page)
    if mapping.host is not None:
        mapping.host.written(machine.engine.now_ns)


def overwritten(story: BadLine) -> bool:
    """The whole frame is overwritten, which heals every transient line; whether the story is over."""
    story.other_lines = [each for each in story.other_lines if each.permanent]
    if story.permanent:
        return False
    story.machine.kernel.event("healed", error=story.error, pfn=story.pfn)
    story.finish("healed")
    return True


def swap_round(story: BadLine) -> None:
    """The page goes on in its round through the swap cache: a device reads the frame, another fills it."""
    page = story.page
    assert page is not None and page.region.layout.swap is not None
    if page.flags & pg.HWPOISON:
        story.arm()
        return
    extra, error, now = story.machine.draws.extra, story.error, story.machine.engine.now_ns
    story.settle()
    for stage in next_stages(page, page.region.layout.swap):
        if stage == CLEAN_MAPPED and overwritten(story):
            return
        story.machine.kernel.event("swap", error=story.error, pfn=story.pfn, stage=STAGE_NAMES[stage])
        enter(page, stage)
        if stage == CLEAN_MAPPED:
            map_latecomers(page, now, lambda k: extra(error, Slot.SWAPPED_IN, k))
        if stage == CLEAN_UNMAPPED and not device_read(story):
            return
    story.draw_race()


def handed_out(story: BadLine, order: int) -> None:
    """An allocation of ``order`` meets the free frame; the allocator is the gatekeeper of poison."""
    page, machine = story.page, story.machine
    assert page is not None
    if not prep_new_page(machine.kernel, page, order):
        _isolate(story, page, order)
        return
    machine.kernel.event("allocated", error=story.error, pfn=story.pfn, order=order)
    if overwritten(story):
        return
    page.region.watched.pop(story.pfn, None)
    del machine.kernel.mem_map.overlay[story.pfn]
    if page.region.kind == "free":
        change_hands(story)
    story.look()
    story.draw_race()


def given_out(story: BadLine) -> None:
    """A script's allocation takes the frame, which is not poisoned."""
    if overwritten(story):
        return
    if story.page is not None:
        story.page.region.watched.pop(story.pfn, None)
        story.machine.kernel.mem_map.overlay.pop(story.pfn, None)
    story.look()
    story.draw_race()


def first_touch(story: BadLine, vma: Vma, copied: bool) -> None:
    """A task needs a frame for its page and gets this one, cleared or copied to; then it touches it."""
    page, machine = story.page, story.machine
    assert page is not None
    if not prep_new_page(machine.kernel, page, 0):
        _isolate(story, page, 0)
        return
    machine.kernel.event("allocated", error=story.error, pfn=story.pfn, order=0, task=vma.task.name)
    if overwritten(story):
        return
    load, store = vma.region.touch_rates(page.pgoff)
    touches = store if copied else load + store
    u = machine.draws.extra(story.error, Slot.FIRST_TOUCH, story.races)
    stores = copied or u * touches < store
    fault_in(machine.kernel, page, vma, store=stores)
    layout = vma.region.layout
    reads = min(1.0, layout.lines_per_touch / 64) * (1.0 - layout.full_line if stores else 1.0)
    if machine.draws.extra(story.error, Slot.FIRST_TOUCH, story.races | 1 << 32) < reads:
        consumed(story, "task_load", vma.task.name)
    else:
        story.draw_race()


def change_hands(story: BadLine) -> None:
    """The frame takes the place of one drawn from all memory; without chance it keeps its own."""
    if not story.machine.spec.machine.chance:
        return
    u = story.machine.draws.extra(story.error, Slot.NEW_OWNER, story.races)
    story.machine.kernel.mem_map.move(story.pfn, u)


def _isolate(story: BadLine, page: Page, order: int) -> None:
    if story.contained_ns is None:
        story.contained_ns = story.machine.engine.now_ns
    story.hole = True
    story.isolated_pages = max(story.isolated_pages, lose_block(story.machine.kernel, page.pfn, order))
    take_page_off_buddy(page)
    story.times = []
    story.arm()


def is_replaced(story: BadLine) -> bool:
    """Whether the DRAM fault behind the line was repaired: the line is good again."""
    return any(each.end in ("replaced", "spared", "ppr") for each in story.faults)


def rebooted(story: BadLine) -> None:
    """A reboot forgets PG_hwpoison, not the fault.

    Memory initialisation heals what was transient; the memory that caused a panic may be replaced.
    """
    machine = story.machine
    end = "panic" if story.end == "panic" else ""
    if is_replaced(story):
        story.other_lines = [each for each in story.other_lines if not is_replaced(each)]
        story.finish(end or "replaced")
        return
    if end and not story.faults:  # who repairs the faults of DIMMs has said so
        u = machine.draws.extra(story.error, Slot.REPAIR, story.races)
        if u < machine.spec.machine.repair_share:
            story.other_lines = []
            story.finish(end)
            return
    if not story.permanent:
        story.finish(end or "rebooted")
        return
    story.forget()
    if machine.kernel.mem_map.pfn_valid(story.pfn):
        change_hands(story)  # another boot uses the frame for something else
    story.look()
    story.draw_race()
