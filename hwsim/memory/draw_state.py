"""What a page is at the moment somebody first looks at it.

The volatile state (present, dirty in the page table, PG_dirty, writeback, swap cache, buffers,
pagevec) is drawn from the rates and clocks of the page's region: present is "touched since the
start", dirty is "stored to since the inode was clean" (``writeback`` has the law), a copy-on-write copy
is "stored to since the fork".  PG_dirty and the dirty bit of a page-table entry are different bits.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_cache import add_to_page_cache, attach_page_buffers, lru_cache_add, mlock_vma_page
from hwsim.kernel.mm_types import CACHE, OWNER, Page, Vma
from hwsim.kernel.writeback import Inode
from hwsim.memory.fork_family import Family, is_shared
from hwsim.memory.swap_cycle import enter, stage_at
from hwsim.rng import Slot


def first_look(kernel: Kernel, pfn: int, chance: Chance) -> Page:
    """Make the overlay entry of ``pfn`` as it is now.  O(mappers), independent of memory size."""
    region, index = kernel.mem_map.region_of(pfn)
    page = Page(pfn, region, index, region.epoch)
    page.looked_ns = kernel.engine.now_ns
    if not region.alive or (region.mapping is not None and index in region.mapping.gone):
        _free(kernel, page, chance)
    else:
        _LOOK[region.kind](kernel, page, chance)
    page.flags = kernel.config.real_flags(page.flags)
    kernel.mem_map.overlay[pfn] = page
    return page


def _free(kernel: Kernel, page: Page, chance: Chance) -> None:
    page.flags = pg.BUDDY


def touched_since(vma: Vma, index: int, since_ns: int, now_ns: int, u: float) -> bool:
    """Whether the task has touched the page since ``since_ns``."""
    load, store = vma.region.touch_rates(index)
    return u < 1.0 - exp(-(load + store) * (now_ns - since_ns))


def stored_since(vma: Vma, index: int, since_ns: int, now_ns: int, u: float) -> bool:
    """Whether the task has stored to the page since ``since_ns``."""
    store = vma.region.touch_rates(index)[1]
    return store > 0.0 and u < 1.0 - exp(-store * (now_ns - since_ns))


def _anon(kernel: Kernel, page: Page, chance: Chance) -> None:
    region = page.region
    page.anon_vma = (region.fork_family or region).anon_vma
    mappers = _anon_holders(kernel, page, chance)
    if not mappers:
        page.anon_vma = None
        _free(kernel, page, chance)
        return
    page.flags = pg.LRU | pg.SWAPBACKED | pg.UPTODATE | pg.ANON
    if any(vma.mlocked for vma in mappers):
        mlock_vma_page(page)
    for vma in mappers:
        page.map(vma, dirty=True)
    _swap(page, chance)
    _pagevec(kernel, page, chance)


def _anon_holders(kernel: Kernel, page: Page, chance: Chance) -> list[Vma]:
    """Who maps the frame; nobody if the page has never been touched, or all have copies of it."""
    region, now = page.region, kernel.engine.now_ns
    if is_shared(kernel, region):
        family = Family(kernel, region.fork_family or region, page.pgoff, chance.extra)
        return family.holders(region, now)
    return [
        vma
        for vma in region.anon_vma
        if vma.covers(page.pgoff)
        and (vma.populated or touched_since(vma, page.pgoff, vma.since_ns, now, chance.draw(Slot.PRESENT)))
    ]


def fault_in(kernel: Kernel, page: Page, vma: Vma, *, store: bool) -> None:
    """The first touch of anonymous memory or of a hole in a shared segment: the free frame is taken."""
    region = page.region
    page.flags = page.flags & pg.HWPOISON | pg.LRU | pg.SWAPBACKED | pg.UPTODATE
    if region.kind == "anon":
        page.anon_vma = (region.fork_family or region).anon_vma
        page.flags |= pg.ANON
    elif region.mapping is not None:
        add_to_page_cache(page, region.mapping)
        page.flags |= pg.DIRTY if store else 0
    if region.layout.mlock:
        mlock_vma_page(page)
    page.map(vma, dirty=store or region.kind == "anon", writable=store or region.kind == "anon")
    page.flags = kernel.config.real_flags(page.flags)
    page.looked_ns = kernel.engine.now_ns


def _swap(page: Page, chance: Chance) -> None:
    """Where the page stands in its round through the swap cache."""
    cycle = page.region.layout.swap
    if cycle is not None:
        for stage in range(1, 1 + stage_at(cycle, chance.draw(Slot.SWAP))):
            enter(page, stage)


def _shm(kernel: Kernel, page: Page, chance: Chance) -> None:
    region, now = page.region, kernel.engine.now_ns
    mapping = region.mapping
    if mapping is not None:
        add_to_page_cache(page, mapping)
    else:  # a script's mmap() is about to make the segment
        page.get(CACHE)
    page.flags = pg.LRU | pg.SWAPBACKED | pg.UPTODATE
    written = region.layout.populate
    for vma in region.vmas:
        if not vma.alive or not vma.covers(page.pgoff):
            continue
        u = chance.extra(Slot.PRESENT, vma.number)
        if vma.populated or touched_since(vma, page.pgoff, vma.since_ns, now, u):
            stored = vma.populated or stored_since(vma, page.pgoff, vma.since_ns, now, u)
            page.map(vma, dirty=stored, writable=stored)
            written = written or stored
    if not written and not page.ptes:
        page.put(CACHE)
        if mapping is not None:
            del mapping.pages[page.pgoff]
        page.mapping = None
        _free(kernel, page, chance)
        return
    if written:
        page.flags |= pg.DIRTY
    if any(vma.mlocked for vma in page.ptes):
        mlock_vma_page(page)
    _swap(page, chance)
    _pagevec(kernel, page, chance)


def _file(kernel: Kernel, page: Page, chance: Chance) -> None:
    region, now = page.region, kernel.engine.now_ns
    layout = region.layout
    mapping = region.mapping
    assert mapping is not None
    add_to_page_cache(page, mapping)
    page.flags = pg.LRU | pg.UPTODATE
    inode = mapping.host
    if mapping.swap_backed:
        page.flags |= pg.SWAPBACKED
    written = region.since_ns if inode is None else inode.clean_at(now)
    sharers = [vma for vma in mapping.vmas if vma.covers(page.pgoff)]
    write = region.touch_rates(page.pgoff)[1]
    dirty, after, first = _stored_first(page, sharers, now)
    if write and chance.draw(Slot.DIRTY) < 1.0 - exp(-write * (now - after)):
        dirty = True
    for vma in sharers:
        u = chance.extra(Slot.DIRTY, vma.number)
        stored = vma is first or stored_since(vma, page.pgoff, max(after, vma.since_ns), now, u)
        if (
            stored
            or vma.populated
            or _touched_before(vma, page.pgoff, max(written, vma.since_ns), now, chance)
        ):
            page.map(vma, dirty=stored, writable=stored)
            dirty = dirty or stored
    if dirty:
        page.flags |= pg.DIRTY
    elif inode is not None and written > region.since_ns:
        _writeback(
            kernel, page, write + sum(vma.region.touch_rates(page.pgoff)[1] for vma in sharers), inode, chance
        )
    if layout.buffers != "none":
        attach_page_buffers(page)
        page.buffers_busy = layout.buffers == "busy" or chance.draw(Slot.BUFFERS) < layout.buffers_busy
    if any(vma.mlocked for vma in page.ptes):
        mlock_vma_page(page)
    _pagevec(kernel, page, chance)


def _touched_before(vma: Vma, index: int, flushed_ns: int, now_ns: int, chance: Chance) -> bool:
    """Whether a task that has not stored since the flush has touched the page all the same."""
    load, store = vma.region.touch_rates(index)
    expected = load * (now_ns - vma.since_ns) + store * (flushed_ns - vma.since_ns)
    return chance.extra(Slot.PRESENT, vma.number) < 1.0 - exp(-expected)


def _stored_first(page: Page, sharers: list[Vma], now: int) -> tuple[bool, int, Vma | None]:
    """(whether the page is dirty anyway, since when stores to it count, who made it dirty by a mapping).

    Stores count since the first one to the inode, which may have been to this page.  Pages of tmpfs and
    ramfs are never written back.
    """
    inode = page.region.mapping.host if page.region.mapping is not None else None
    if inode is None:
        return True, page.region.since_ns, None
    first_ns = inode.first_store_ns(now)
    nth = None if first_ns is None else inode.stored_first(page.pgoff)
    if first_ns is None or nth is None:
        return False, now if first_ns is None else first_ns, None
    for vma in sharers:
        nth -= vma.region.touch_rates(page.pgoff)[1]
        if nth < 0.0:
            return True, first_ns, vma if vma.since_ns <= first_ns else None
    return True, first_ns, None


def _writeback(kernel: Kernel, page: Page, stores: float, inode: Inode, chance: Chance) -> None:
    """The last write-out may still be writing this page."""
    u = chance.draw(Slot.WRITEBACK)
    was_dirty = 1.0 - exp(-stores * inode.dirty_span_ns())  # that the page was dirty then
    if was_dirty <= 0.0 or u >= was_dirty:
        return
    done = inode.clean_ns + kernel.times.writeback.draw(u / was_dirty)
    if done > kernel.engine.now_ns:
        page.flags |= pg.WRITEBACK
        page.writeback_until_ns = done


def _hugetlb(kernel: Kernel, page: Page, chance: Chance) -> None:
    region = page.region
    offset = page.pgoff % (1 << region.layout.order)
    if offset:
        page.flags = pg.TAIL
        page.head = _head(kernel, page, offset, chance)
        page.mapping = page.head.mapping
        return
    page.flags = pg.HEAD
    if chance.draw(Slot.HUGE_FREE) < region.layout.huge_free:
        return  # free in the pool: count 0
    page.mapping = region.mapping
    page.get(CACHE)
    for vma in region.vmas:
        if vma.alive and vma.covers(page.pgoff):
            u = chance.extra(Slot.PRESENT, vma.number)
            if vma.populated or touched_since(vma, page.pgoff, vma.since_ns, kernel.engine.now_ns, u):
                page.map(vma, dirty=True)


def _head(kernel: Kernel, tail: Page, offset: int, chance: Chance) -> Page:
    """The head of a compound page: one for all its tails, so that its references are counted once."""
    pfn, region = tail.pfn - offset, tail.region
    head = kernel.mem_map.overlay.get(pfn)
    if head is None or head.region is not region or head.epoch != region.epoch:
        head = Page(pfn, region, tail.pgoff - offset, region.epoch)
        _LOOK[region.kind](kernel, head, chance)
        kernel.mem_map.overlay[pfn] = head
    return head


def _kernel_pool(kernel: Kernel, page: Page, chance: Chance) -> None:
    region = page.region
    kind, order = region.kind, region.layout.order
    offset = page.pgoff % (1 << order)
    if kind == "slab" or kind == "slab_multi":
        # SLUB sets PG_slab on the first page only; the others are compound tails.
        if order and offset:
            page.flags = pg.TAIL
            page.head = _head(kernel, page, offset, chance)
            return
        page.flags = pg.SLAB | (pg.HEAD if order else 0)
    elif kind == "reserved":
        page.flags = pg.RESERVED
    if offset == 0 or order == 0:
        page.get(OWNER)  # the other pages of a non-compound allocation have count 0


def _pagevec(kernel: Kernel, page: Page, chance: Chance) -> None:
    """A page just added may still wait in a CPU's pagevec: not yet on the LRU, one reference more."""
    share = page.region.layout.pagevec
    if not share:
        return
    u = chance.draw(Slot.PAGEVEC)
    if u >= share:
        return
    lru_cache_add(page, int(u / share * kernel.spec.cpus))


_LOOK: dict[str, Callable[[Kernel, Page, Chance], None]] = {
    "anon": _anon,
    "shm": _shm,
    "file": _file,
    "blockdev": _file,
    "hugetlb": _hugetlb,
    "slab": _kernel_pool,
    "slab_multi": _kernel_pool,
    "page_table": _kernel_pool,
    "kernel_stack": _kernel_pool,
    "high_order": _kernel_pool,
    "reserved": _kernel_pool,
    "free": _free,
}
