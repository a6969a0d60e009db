"""Page cache: pages of a file, or of a block device, read and written by system call and through mappings."""

from __future__ import annotations

import numpy as np

from hwsim.elementary import added, exp
from hwsim.elementary_each import Floats
from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_cache import add_to_page_cache, attach_page_buffers, mlock_vma_page
from hwsim.kernel.mm_types import Page, Vma
from hwsim.kernel.writeback import Inode
from hwsim.many_draws import Positions
from hwsim.memory.drawing import pagevec, pagevec_each, stored_since
from hwsim.memory.inode_clock import InodeClock
from hwsim.memory.kinds.behaviour import Behaviour
from hwsim.memory.page_array import PageArray
from hwsim.memory.page_class import PageClass, no_event, together
from hwsim.memory.page_law import BUFFERS_BUSY, MAPPED, USED, Law, Part, divided, locked, waiting
from hwsim.rng import Slot
from hwsim.units import LINES_PER_PAGE

_DURATIONS = 1024  # steps in which the law of a duration is taken


def _draw(kernel: Kernel, page: Page, chance: Chance) -> None:
    region, now = page.region, page.looked_ns
    layout = region.layout
    mapping = region.mapping
    assert mapping is not None
    add_to_page_cache(page, mapping)
    page.flags = pg.LRU | pg.UPTODATE
    inode = mapping.host
    if mapping.swap_backed:
        page.flags |= pg.SWAPBACKED
    cleaned = region.since_ns if inode is None else inode.clean_at(kernel.engine.now_ns)
    written = min(cleaned, now)
    sharers = [vma for vma in mapping.vmas if vma.covers(page.pgoff)]
    write = region.touch_rates(page.pgoff)[1]
    is_quiet = inode is not None and now < kernel.engine.now_ns  # clean since then, see first_look()
    dirty, after, first = (False, now, None) if is_quiet else _stored_first(page, sharers, now)
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
    elif inode is not None and region.since_ns < cleaned <= now:
        stores = write + added(vma.region.touch_rates(page.pgoff)[1] for vma in sharers)
        _writeback(kernel, page, stores, inode, chance)
    if layout.buffers != "none":
        attach_page_buffers(page)
        page.buffers_busy = layout.buffers == "busy" or chance.draw(Slot.BUFFERS) < layout.buffers_busy
    if any(vma.mlocked for vma in page.ptes):
        mlock_vma_page(page)
    pagevec(kernel, page, chance)


def _draw_each(pages: PageArray, at: Positions) -> None:
    """Those to which nobody stores are clean whatever their inode does; of others its history has to say."""
    cells, cell = pages.cells, pages.cell[at]
    pages.use(at, pg.LRU | pg.UPTODATE)
    pages.mapped[at] = cells.tasks[cell] > 0
    pages.flags[at[cells.swap_backed[cell]]] |= pg.SWAPBACKED
    pages.flags[at[~cells.has_inode[cell]]] |= pg.DIRTY
    pages.by_itself[at[cells.has_inode[cell] & cells.stored_to[cell]]] = True
    buffers = cells.has_buffers[cell]
    pages.flags[at[buffers]] |= pg.PRIVATE
    pages.unsure[at[buffers & (pages.slot(Slot.BUFFERS, at) < cells.buffers_busy[cell])]] = True
    pagevec_each(pages, at)


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


def _law(pages: PageClass) -> Law:
    """Dirty since the inode was clean, mapped since its tasks began."""
    region, layout = pages.region, pages.region.layout
    mapping, clock = region.mapping, pages.clock
    assert mapping is not None
    state = pg.LRU | pg.UPTODATE | USED
    state |= pg.SWAPBACKED if mapping.swap_backed else 0
    state |= pg.PRIVATE if layout.buffers != "none" else 0
    if clock is None:  # never written back, so never clean
        unmapped = together(pages.untouched(vma) for vma in pages.vmas)
        law = [Part(unmapped, state | pg.DIRTY), Part(1.0 - unmapped, state | pg.DIRTY | MAPPED)]
    else:
        law, unmapped = _accounted(pages, clock, state)
    busy = 1.0 if layout.buffers == "busy" else layout.buffers_busy if layout.buffers != "none" else 0.0
    law = divided(law, busy, lambda state: state | BUFFERS_BUSY)
    return divided(divided(law, pages.locked_share(unmapped), locked), layout.pagevec, waiting)


def _accounted(pages: PageClass, clock: InodeClock, state: int) -> tuple[Law, Floats]:
    """(The law of a file that is written back, that nobody maps the page); see _draw()."""
    region, vmas, now = pages.region, pages.vmas, pages.now_ns
    write = region.touch_rates(pages.first)[1]
    stores = region.stores_to(pages.first)
    is_first = clock.stored / max(region.stores_before(region.layout.pages), 1e-300)  # per ns of stores
    no_write = no_event(write, clock.stored_ns, now)
    unstored = together(pages.not_stored(vma, clock.stored_ns) for vma in vmas)
    untouched = unstored * together(_untouched_else(pages, vma, clock) for vma in vmas)
    clean = (1.0 - is_first * stores) * no_write * unstored
    clean_unmapped = (1.0 - is_first * stores) * no_write * untouched
    unmapped = (1.0 - is_first * (stores - write)) * untouched
    written = _under_writeback(pages, clock, stores)
    law = [
        Part(unmapped - clean_unmapped, state | pg.DIRTY),
        Part(1.0 - clean - unmapped + clean_unmapped, state | pg.DIRTY | MAPPED),
        *divided(
            [Part(clean_unmapped, state), Part(clean - clean_unmapped, state | MAPPED)], written, _writing
        ),
    ]
    return law, unmapped


def _untouched_else(pages: PageClass, vma: Vma, clock: InodeClock) -> Floats:
    """That the task has not touched the page but by stores since the file was written; _touched_before()."""
    if vma.populated:
        return np.zeros(1)
    load, store = vma.region.touch_rates(pages.first)
    written = np.maximum(clock.written_ns, float(vma.since_ns))
    return no_event(load, vma.since_ns, pages.now_ns) * no_event(store, vma.since_ns, written)


def _under_writeback(pages: PageClass, clock: InodeClock, stores: float) -> Floats:
    """That a clean page is still being written by the last write-out."""
    host = pages.region.mapping.host if pages.region.mapping is not None else None
    assert host is not None
    takes = pages.kernel.times.writeback
    durations = np.array(sorted(takes.draw((nth + 0.5) / _DURATIONS) for nth in range(_DURATIONS)))
    longer = 1.0 - durations.searchsorted(pages.now_ns - clock.written_ns, "right") / _DURATIONS
    was_dirty = 1.0 - no_event(stores, 0.0, host.dirty_span_ns())
    return was_dirty * longer * (clock.written_ns > pages.region.since_ns)


def _writing(state: int) -> int:
    return state | pg.WRITEBACK


def _system_calls(page: Page) -> tuple[float, float]:
    """read(), and write() over whole lines."""
    load, write = page.region.touch_rates(page.pgoff)
    share = min(1.0, page.region.layout.lines_per_touch / LINES_PER_PAGE)
    return load * share, write * share


def _write_lost(_page: Page) -> bool:
    return True


_CACHED = Behaviour(
    _law,
    _draw,
    draw_each=_draw_each,
    kernel_access=_system_calls,
    write_lost=_write_lost,
)
BEHAVIOURS = {"file": _CACHED, "blockdev": _CACHED}
