"""Verbs that put one page into a state: swap, writeback, lock, references, flags; kernel memory."""

from __future__ import annotations

from collections.abc import Callable

from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.page_alloc import put_page
from hwsim.kernel.mm.page_cache import (
    attach_page_buffers,
    change_flags,
    clear_page_dirty_for_io,
    lru_cache_add,
    try_to_release_page,
)
from hwsim.kernel.mm.page_lock import end_page_writeback, set_page_writeback, trylock_page, unlock_page
from hwsim.kernel.mm.swap import (
    end_swap_writepage,
    is_on_swap,
    reclaim,
    shmem_getpage,
)
from hwsim.kernel.mm_types import OWNER, PIN, SWAP, Page, Region
from hwsim.script.frames import changed, up_to_now
from hwsim.script.pages import file_of, frames_of, page_of, vma_at
from hwsim.script.reading_in import read_slot, swap_in_frame
from hwsim.script.step import Step
from hwsim.script.tasks import carve
from hwsim.script.writeback import read_by_device


def _in_use(step: Step) -> Page:
    """The step's page, which must not be free."""
    page = page_of(step)
    if page.flags & pg.BUDDY:
        raise step.error("the page is free")
    return page


def swap_out(step: Step) -> None:
    """Reclaim takes the page: it is dirty in the swap cache, and unmapped."""
    page = _in_use(step)
    if not page.flags & pg.SWAPBACKED or page.flags & pg.HWPOISON:
        raise step.error("only anonymous and shared memory that is not poisoned can be swapped out")
    if page.flags & (pg.MLOCKED | pg.UNEVICTABLE):
        raise step.error("the page is locked in memory")
    if not page.flags & pg.LRU:
        raise step.error("the page is not on an LRU list")
    if page.flags & pg.SWAPCACHE and not page.ptes:
        raise step.error("the page is in the swap cache and unmapped already")
    reclaim(page)
    step.result("swapped out", pfn=page.pfn)
    changed(step, page)


def swap_in(step: Step) -> None:
    """Read-ahead brings the page into the swap cache; it is mapped at the next touch."""
    slot = _slot(step)
    if slot is not None:
        step.result("read from swap", pfn=read_slot(step, *slot).pfn)
        return
    page = page_of(step)
    entries = [vma.ptes.get(page.pgoff) for vma in page.anon_vma or ()]
    if not page.flags & pg.SWAPCACHE and any(pte is not None and pte.kind == SWAP for pte in entries):
        page = swap_in_frame(step, page)
        step.result("read from swap", pfn=page.pfn)
        return
    if not page.flags & pg.SWAPCACHE:
        raise step.error("the page is not swapped out")
    if not page.flags & pg.ANON:
        step.result("read from swap" if shmem_getpage(page) else "EIO", pfn=page.pfn)
        return
    step.result("still in the swap cache", pfn=page.pfn)


def _slot(step: Step) -> tuple[Region, int] | None:
    """The step's page of a segment, if nothing of it is left but its slot on the swap device."""
    ref = step.args["page"]
    if "region" in ref:
        owner, _, name = ref["region"].partition("/")
        vma, pgoff = vma_at(step, step.task(owner), name, ref["index"])
        if vma.mapping is None:
            return None
        region = frames_of(step, vma)
    elif "file" in ref:
        region, pgoff = file_of(step, ref["file"]), ref["index"]
    else:
        return None
    return (region, pgoff) if is_on_swap(region, pgoff) else None


def start_writeback(step: Step) -> None:
    """The page is written: DMA reads it, until end_writeback."""
    page = _in_use(step)
    up_to_now(step, page)
    if page.flags & pg.WRITEBACK:
        raise step.error("the page is under writeback already")
    clear_page_dirty_for_io(page)  # the inode stays dirty until it is written as a whole
    set_page_writeback(page)
    read_by_device(step, page)


def end_writeback(step: Step) -> None:
    """The disk has the contents."""
    page = page_of(step)
    if not page.flags & pg.WRITEBACK:
        raise step.error("the page is not under writeback")
    if page.flags & pg.SWAPCACHE:
        end_swap_writepage(page)
    end_page_writeback(page)


def lock_page(step: Step) -> None:
    """Somebody takes the page lock and keeps it until unlock_page."""
    page = page_of(step)
    if not trylock_page(page):
        raise step.error("the page is locked already")
    page.locked_by_script = True


def _locked_of_file(step: Step) -> Page | None:
    """The page of a file that a step has locked; it may have been truncated away since."""
    ref = step.args["page"]
    if "file" not in ref:
        return None
    region = file_of(step, ref["file"])
    for page in step.kernel.mem_map.overlay.values():
        if page.locked_by_script and page.region is region and page.pgoff == ref["index"]:
            return page
    return None


def unlock(step: Step) -> None:
    """The page lock is free again."""
    page = _locked_of_file(step) or page_of(step)
    if not page.locked_by_script:
        raise step.error("no step has locked the page")
    page.locked_by_script = False
    unlock_page(page)


def pin(step: Step) -> None:
    """One reference more."""
    _in_use(step).get(PIN)


def unpin(step: Step) -> None:
    """The reference is dropped."""
    page = page_of(step)
    if PIN not in (page.head or page).holders:
        raise step.error("no step has pinned the page")
    page.put(PIN)
    put_page(step.kernel, page)


def pagevec(step: Step) -> None:
    """The page waits in the pagevec of a CPU and is on no LRU list."""
    page = _in_use(step)
    if not page.flags & pg.LRU:
        raise step.error("the page is not on an LRU list")
    lru_cache_add(page, step.args["cpu"])


def buffers(step: Step) -> None:
    """What is attached to the page."""
    page, state = _in_use(step), step.args["state"]
    if page.mapping is None or page.flags & pg.SWAPBACKED:
        raise step.error("only pages of files on disk have buffers")
    if state == "none":
        page.buffers_busy = False
        try_to_release_page(page)
        return
    if not page.flags & pg.PRIVATE:
        attach_page_buffers(page)
    page.buffers_busy = state == "busy"


def flags(step: Step) -> None:
    """Set and clear flags, whatever they mean; holders and page tables stay as they are."""
    page = page_of(step)
    to_set, to_clear = (pg.flags_of(step.args[key]) for key in ("set", "clear"))
    change_flags(step.kernel, page, to_set, to_clear)
    step.result("set", flags=pg.names_of(page.flags))


def unmap_fails(step: Step) -> None:
    """The next tries to unmap the page fail."""
    page_of(step).unmap_failures = step.args["tries"]


def alloc(step: Step) -> None:
    """The kernel takes a block of 2^order pages."""
    name, order = f"kernel:{step.args['name']}", step.args["order"]
    held = step.kernel.mem_map.by_name.get(name)
    if held is not None and held.alive:
        raise step.error("this name is taken", "name", allowed="a name that no pool or block has")
    region = carve(step, name, step.args["kind"], 1 << order, order, key="order")
    step.result("allocated", pfn=region.layout.first_pfn)


def free(step: Step) -> None:
    """The block goes back to the free lists, its poisoned pages excepted."""
    mem_map = step.kernel.mem_map
    region = mem_map.by_name.get(f"kernel:{step.args['name']}")
    if region is None or not region.alive or region not in mem_map.carved:
        known = [
            each.name.removeprefix("kernel:") for each in mem_map.carved if each.name.startswith("kernel:")
        ]
        raise step.error("no block of this name is allocated at this time", "name", allowed=known)
    first, pages = region.layout.first_pfn, region.layout.pages
    lost = False
    for pfn in range(first, first + pages):
        page = mem_map.overlay.get(pfn)
        if page is not None:
            lost = lost or bool(page.flags & pg.HWPOISON)
            (page.head or page).holders.pop(OWNER, None)
            if step.kernel.watcher.watches(pfn):
                step.kernel.watcher.freed(page)
    region.release()
    mem_map.carved.remove(region)
    if not lost:
        del mem_map.taken[first]
    step.result("isolated" if lost else "freed", pfn=first)


def free_page(step: Step) -> None:
    """The kernel frees one of its pages."""
    page = _in_use(step)
    if OWNER not in (page.head or page).holders:
        raise step.error("the page does not belong to the kernel")
    poisoned = bool(page.flags & pg.HWPOISON)
    page.put(OWNER)
    if step.kernel.watcher.watches(page.pfn):
        step.kernel.watcher.freed(page)
    else:
        put_page(step.kernel, page)
    step.result("isolated" if poisoned else "freed", pfn=page.pfn)


PLAYS: dict[str, Callable[[Step], None]] = {
    "swap_out": swap_out,
    "swap_in": swap_in,
    "start_writeback": start_writeback,
    "end_writeback": end_writeback,
    "lock_page": lock_page,
    "unlock_page": unlock,
    "pin": pin,
    "unpin": unpin,
    "pagevec": pagevec,
    "buffers": buffers,
    "flags": flags,
    "unmap_fails": unmap_fails,
    "alloc": alloc,
    "free": free,
    "free_page": free_page,
}
