"""What steps do to frames beside their verb: take them, store to them, use them otherwise, give them back."""

from __future__ import annotations

from hwsim.bad_lines.ending import finish
from hwsim.bad_lines.looks import settle
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.page_alloc import alloc_pages, put_page
from hwsim.kernel.mm.page_cache import set_page_dirty
from hwsim.kernel.mm.swap import free_swap_and_cache
from hwsim.kernel.mm_types import Page, Region
from hwsim.memory.advance_state import clean_if_written
from hwsim.record import End
from hwsim.script.pages import look
from hwsim.script.step import Step


def up_to_now(step: Step, page: Page) -> None:
    """Before a step changes the page: what has become of it since somebody looked at it last."""
    line = step.bad_lines.live(page.pfn)
    if line is not None:
        settle(line)
    if (at_ns := clean_if_written(page, step.kernel.engine.now_ns)) is not None:
        step.kernel.event("written_back", pfn=page.pfn, at_ns=at_ns)


def stored_to(step: Step, page: Page) -> None:
    """The step stores to a page of a file or of a segment."""
    up_to_now(step, page)
    set_page_dirty(page, step.kernel.engine.now_ns)


def line_overwritten(step: Step, page: Page) -> None:
    """The step writes a whole line, or all of them: bad data of a transient error is gone."""
    line = step.bad_line(page.pfn)
    if line is not None and not line.permanent:
        step.kernel.event("healed", error=line.error, pfn=line.pfn)
        finish(line, End.HEALED)


def changed(step: Step, page: Page) -> None:
    """The page is used in another way now: the race for its bad line starts anew."""
    line = step.bad_lines.live(page.pfn)
    if line is not None and line.in_boot.contained_ns is None:
        line.draw_race()


def free_run(step: Step, pages: int, order: int, *key: str) -> int:
    """A run of free frames, aligned to blocks of ``order``; of the poison in it the gatekeeper hears."""
    covering = max(order, (pages - 1).bit_length())
    first = alloc_pages(step.kernel, covering)
    if first is None:
        free = step.kernel.mem_map.by_name["free"].layout.pages
        allowed = f"a smaller one: {free} pages are free at the boot"
        raise step.error(f"there is no free block of {1 << covering} pages left", *key, allowed=allowed)
    if pages < 1 << covering:
        step.kernel.mem_map.taken[first] = pages
    return first


def new_page(step: Step, region: Region, pgoff: int, flags: int) -> Page:
    """A frame for page ``pgoff`` of a region: the one kept for it if it is free, or another."""
    pfn = None
    if region.layout.first_pfn >= 0 and 0 <= pgoff < region.layout.pages and region.alive:
        own = look(step, region.layout.first_pfn + pgoff)
        if own.flags & pg.BUDDY and not own.flags & pg.HWPOISON:
            pfn = own.pfn
    if pfn is None:
        pfn = alloc_pages(step.kernel, 0)
    if pfn is None:
        raise step.error("there is no free page left")
    step.bad_lines.given_out(pfn, 1)
    page = Page(pfn, region, pgoff, region.epoch, step.kernel.config.real_flags(flags))
    page.looked_ns = step.kernel.engine.now_ns
    step.kernel.mem_map.overlay[pfn] = page
    line = step.bad_lines.live(pfn)
    if line is not None:  # a permanent fault stays with the frame
        line.page = page
        region.watched[pfn] = None
    return page


def let_go(step: Step, pages: list[Page]) -> None:
    """The pages have lost an entry: those that nobody uses any more are free."""
    for page in pages:
        free_swap_and_cache(page)
        put_page(step.kernel, page)
    step.kernel.watcher.entries_dropped(pages)
    for page in pages:
        changed(step, page)
