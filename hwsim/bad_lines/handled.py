"""What memory_failure() has made of the page: unmapped, contained or not, its data kept or lost.

From here on any touch of the *page* counts, not only of the bad line.
"""

from __future__ import annotations

from math import expm1
from typing import TYPE_CHECKING

from hwsim.bad_lines import read_again
from hwsim.bad_lines.states import HANDLED
from hwsim.bad_lines.writeback import look_after_no_more
from hwsim.engine import TASK_ACCESS
from hwsim.kernel import page_flags as pg
from hwsim.kernel.allocator import PAGE_BYTES, lose_block
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.fault import meets_poison
from hwsim.kernel.handlers import ACTION_NAME
from hwsim.kernel.later_look import quiet_rates, store_meanwhile
from hwsim.kernel.mm_types import Page, Pte, Vma
from hwsim.kernel.truncate import unmap_mapping_range
from hwsim.rng import Slot

if TYPE_CHECKING:
    from hwsim.bad_lines.bad_line import BadLine


def unmapped(story: BadLine, report: MemoryFailure, entries: list[Pte]) -> None:
    """memory_failure() has taken the page out of the page tables: late touches can come."""
    anchor = story.found_ns if story.found_ns is not None else report.started_ns
    _out_of_reach(story, anchor, [pte.vma for pte in entries])
    story.entries = entries
    for pte in entries:
        if meets_poison(pte):
            story.touches.expect(pte, anchor)
    if report.unmap_failed:
        story.draw_race()  # one task can still read the line
        return
    story.times = [each for each in story.times if each[1] < TASK_ACCESS]  # no task reaches it now
    story.arm()


def done(story: BadLine, report: MemoryFailure) -> None:
    """memory_failure() has returned."""
    machine = story.machine
    page = story.page
    story.attempts += 1
    story.queued.discard(report)
    if report.exit == "already" and story.report is not None:
        story.state = HANDLED
        story.arm()
        return
    if report.exit == "already" and story.queued:  # another report of the page is being handled
        return
    story.report = report
    entries, story.entries = story.entries, []
    story.mappers = report.mappers
    story.dirty = page is not None and bool(page.flags & pg.DIRTY)
    story.state = HANDLED
    look_after_no_more(story)
    story.times = [each for each in story.times if each[2] not in ("refilled", "swap", "dirtied")]
    if page is None:
        story.arm()
        return
    if story.unmapped_ns is None and report.exit == "table":
        anchor = story.found_ns if story.found_ns is not None else report.started_ns
        _out_of_reach(story, anchor, [])
    if is_contained(page, report):
        story.contained_ns = machine.engine.now_ns
        if report.exit != "free_or_high_order":
            take_out(story, page)
        if report.exit not in ("free_or_high_order", "free_buddy"):
            _count_data(story, page, report)
    if report.exit == "table" and page.mapping is None and page.region.kind in ("file", "blockdev"):
        read_again.dropped(story, page)
        rate = page.region.layout.truncate_per_s * 1e-9
        if rate > 0.0 and (report.dirty or story.touches.candidates):
            story.touches.expect_truncation(rate)
    if report.dirty and report.exit == "table" and page.region.kind in ("file", "blockdev", "shm"):
        dropped = story.contained_ns is not None or page.flags & pg.ERROR
        in_swap = page.flags & pg.SWAPCACHE or page.swap_entry
        if dropped and not (page.region.kind == "shm" and in_swap):  # of a segment SIGBUS tells
            machine.kernel.files.lost(report, page, entries)
    anchor = story.found_ns if story.found_ns is not None else report.started_ns
    for pte in _entries(page):
        if meets_poison(pte) and not story.touches.awaits(pte):
            story.touches.expect(pte, anchor)
    story.touches.expect_sharers(anchor)
    waiting, story.stores_waiting = story.stores_waiting, []
    for vma in waiting:
        story.touches.unlocked(vma)
    story.arm()


def file_truncated(story: BadLine) -> None:
    """The file was cut and written anew after its page was lost: nothing leads to the poison any more."""
    machine, page = story.machine, story.page
    assert page is not None
    region, cut = page.region, range(page.pgoff, page.pgoff + 1)
    assert region.mapping is not None
    machine.kernel.event("truncated", pfn=page.pfn)
    unmap_mapping_range(region.mapping, cut, even_cows=True)
    story.touches.candidates = []
    page.lost_bytes = 0
    machine.kernel.files.truncated(region, cut)
    region.mapping.read_again[page.pgoff] = machine.engine.now_ns
    machine.kernel.files.asks_changed(region.mapping)
    story.arm()


def _out_of_reach(story: BadLine, found_ns: int, vmas: list[Vma]) -> None:
    """The page has left the page tables: was it touched since the find, beside its bad line?"""
    machine, page = story.machine, story.page
    if story.first is not None:  # the record is of the boot in which the error was found
        return
    story.unmapped_ns = now = machine.engine.now_ns
    if page is None or now <= found_ns:
        return
    rate = sum(sum(quiet_rates(vma, page.pgoff, story.permanent)) for vma in vmas)
    if page.region.kind in ("file", "blockdev"):
        rate += sum(page.region.touch_rates(page.pgoff))  # read() and write() by system call
    u = machine.draws.extra(story.error, Slot.WINDOW, story.attempts)
    story.touched = u < -expm1(-rate * (now - found_ns))


def stored_meanwhile(story: BadLine, page: Page, since_ns: int) -> None:
    """memory_failure() has slept while tasks could still store to the page it is about to unmap."""
    extra, error, was = story.machine.draws.extra, story.error, page.flags
    now = story.machine.engine.now_ns
    story.stores_waiting = store_meanwhile(
        page, since_ns, now, story.permanent, lambda k: extra(error, Slot.MEANWHILE, k)
    )
    if page.flags & ~was & pg.DIRTY:
        story.machine.kernel.event("dirtied", pfn=page.pfn)


def _entries(page: Page) -> list[Pte]:
    family = page.anon_vma or (page.mapping.vmas if page.mapping is not None else [])
    entries = [vma.ptes.get(page.pgoff) for vma in family]
    return [pte for pte in entries if pte is not None and pte.page is page]


def is_contained(page: Page, report: MemoryFailure) -> bool:
    """Whether nobody can read the page any more without the kernel noticing."""
    if report.exit == "free_or_high_order":
        return bool(page.flags & pg.BUDDY)  # a free huge page has no gatekeeper in its pool
    if report.exit == "already_unmapped":
        return not page.ptes
    if report.exit == "free_buddy":
        return True
    return ACTION_NAME[report.outcome] in ("Recovered", "Delayed") and not page.ptes and report.row > 3


def take_out(story: BadLine, page: Page) -> None:
    """The frame leaves the memory in use, alone or with the block it stands in."""
    story.hole = True
    story.isolated_pages = max(story.isolated_pages, lose_block(story.machine.kernel, page.pfn, 0))


def _count_data(story: BadLine, page: Page, report: MemoryFailure) -> None:
    if page.region.kind == "anon":
        lost = not page.swap_entry
    elif page.region.kind == "shm":  # one that was only ever read is a page of zeroes
        lost = report.dirty and not page.swap_entry
    else:
        lost = report.dirty
    if lost:
        page.lost_bytes = PAGE_BYTES
        story.data_lost_bytes += PAGE_BYTES
