"""What has become of a cached page since somebody last looked at it: the exact transition.

Between two looks the tasks that cover the page may have mapped it by a first touch, stored to it, and
its inode may have been written out.  The bad line itself was left alone meanwhile: a read of it would have
been found, an overwrite would have healed it.  So only touches of the other lines count.
"""

from __future__ import annotations

from collections.abc import Callable

from hwsim.elementary import added, exp, log1p
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.memory import DIRTIES, THROUGH, store_under_page_lock
from hwsim.kernel.mm.page_cache import inode_of, mlock_vma_page
from hwsim.kernel.mm.page_lock import end_io
from hwsim.kernel.mm_types import Page, Region, Vma
from hwsim.units import LINES_PER_PAGE

_STEP, _WHO = 1 << 40, 1 << 41  # names of the draws that belong to no VMA


def quiet_rates(vma: Vma, pgoff: int, permanent: bool) -> tuple[float, float]:
    """(loads, stores) per ns of the page by one task that leave a given bad line as it is."""
    load, store = vma.region.touch_rates(pgoff)
    read, overwrite = vma.region.line_rates(pgoff)
    share = min(1.0, vma.region.layout.lines_per_touch / LINES_PER_PAGE)
    partial = read - load * share
    return load * (1.0 - share), max(0.0, store - partial - (0.0 if permanent else overwrite))


def sharers(page: Page) -> list[Vma]:
    """Every VMA through which a task can reach the cached page, touched yet or not."""
    mapping = page.mapping
    return [] if mapping is None else [vma for vma in mapping.vmas if vma.alive and vma.covers(page.pgoff)]


def quiet_stores(page: Page, permanent: bool) -> list[tuple[float, Vma | None]]:
    """Who dirties the page without meeting its bad line, and how often; None is write()."""
    rates: list[tuple[float, Vma | None]] = []
    known: dict[Region, float] = {}  # most map one region
    for vma in sharers(page):
        if vma.region not in known:
            known[vma.region] = quiet_rates(vma, page.pgoff, permanent)[1]
        rates.append((known[vma.region], vma))
    if page.region.layout.is_file:
        write = page.region.touch_rates(page.pgoff)[1]
        share = min(1.0, page.region.layout.lines_per_touch / LINES_PER_PAGE)
        rates.append((write if permanent else write * (1.0 - share), None))
    return rates


def settle(page: Page, now_ns: int, permanent: bool, draw: Callable[[int], float]) -> None:
    """Bring present and dirty up to now; ``draw(k)`` gives a uniform for each ``k``."""
    since, page.looked_ns = page.looked_ns, now_ns
    end_io(page, now_ns)
    mapping = page.mapping
    if now_ns <= since or mapping is None or page.region.layout.is_hugetlb:  # never written back
        return
    if page.flags & (pg.HWPOISON | pg.BUDDY | pg.SWAPCACHE):
        return
    page.looks += 1
    base = page.looks << 42
    rates = quiet_stores(page, permanent)
    total = added(rate for rate, _ in rates)
    unseen_ns = 0  # time in which stores may have happened besides the ones drawn here
    dirtied: int | None = page.dirtied_ns
    inode = mapping.host
    step = 0
    if page.flags & pg.DIRTY:
        dirtied = since
    elif dirtied is None:
        dirtied = _next(since, total, draw(base + _STEP))
    while dirtied is not None and dirtied <= now_ns:
        if dirtied > since:
            _store(page, rates, draw(base + _WHO + step) * total)
        if inode is not None:
            inode.mark_dirty(dirtied)
        written = since if inode is None else inode.clean_at(now_ns)
        if written <= dirtied:
            unseen_ns += now_ns - dirtied
            break
        _clean(page)
        unseen_ns += written - dirtied
        step += 1
        dirtied = _next(written, total, draw(base + _STEP + step))
    page.dirtied_ns = dirtied
    for vma in sharers(page):
        if vma not in page.ptes:
            load, store = quiet_rates(vma, page.pgoff, permanent)
            touches = load * (now_ns - max(since, vma.since_ns)) + store * unseen_ns
            if vma.populated or draw(base + vma.number) < 1.0 - exp(-touches):
                _map(page, vma)


def clean_if_written(page: Page, now_ns: int) -> int | None:
    """A page that nobody draws stores for: clean if its inode has been written out since the last look.

    The answer is when that was, if it was dirty until then.
    """
    inode, since, was = inode_of(page), page.looked_ns, page.flags
    page.looked_ns = now_ns
    end_io(page, now_ns)
    if inode is None or inode.clean_at(now_ns) <= since:
        return None
    _clean(page)
    return inode.clean_at(now_ns) if was & pg.DIRTY else None


def map_latecomers(page: Page, now_ns: int, draw: Callable[[int], float]) -> None:
    """A page of a segment is back from swap: whoever has touched it first while it was out maps it now."""
    since, page.looked_ns = page.looked_ns, now_ns
    page.looks += 1
    for vma in sharers(page):
        if vma not in page.ptes:
            touches = added(vma.region.touch_rates(page.pgoff)) * (now_ns - since)
            if draw(page.looks << 42 | vma.number) < 1.0 - exp(-touches):
                _map(page, vma)


def store_meanwhile(
    page: Page, since_ns: int, now_ns: int, permanent: bool, draw: Callable[[int], float]
) -> list[Vma]:
    """Stores through the page tables while memory_failure() waits for the lock or for writeback.

    The page is still mapped, so a clean page may be dirty again when the wait is over.  write() and
    first touches need the page lock and wait themselves; of stores store_under_page_lock() knows.  The
    answer is who waits: their stores are repeated once the page is unlocked.
    """
    if page.mapping is None or page.flags & pg.SWAPCACHE or now_ns <= since_ns:
        return []
    through: list[tuple[float, Vma | None]] = []
    waiting = []
    for vma, pte in page.ptes.items():
        rate = quiet_rates(vma, page.pgoff, permanent)[1] if vma.shared else 0.0
        how = store_under_page_lock(pte)
        if how == THROUGH and vma.shared:
            through.append((rate, vma))
        elif rate and draw(_WHO | vma.number) < 1.0 - exp(-rate * (now_ns - since_ns)):
            waiting.append(vma)
            if how == DIRTIES:
                _store(page, [(rate, vma)], 0.0)
    total = added(rate for rate, _ in through)
    if draw(0) < 1.0 - exp(-total * (now_ns - since_ns)):
        _store(page, through, draw(1) * total)
    inode = inode_of(page)
    if inode is not None and page.flags & pg.DIRTY:
        inode.advance(now_ns)
        inode.mark_dirty(now_ns)
    return waiting


def _next(since_ns: int, rate: float, u: float) -> int | None:
    return since_ns + int(-log1p(-u) / rate) + 1 if rate > 0.0 else None


def _map(page: Page, vma: Vma) -> None:
    page.map(vma, dirty=False, writable=False)
    if vma.mlocked:
        mlock_vma_page(page)


def _store(page: Page, rates: list[tuple[float, Vma | None]], nth: float) -> None:
    stored(page, _nth(rates, nth))


def stored(page: Page, vma: Vma | None) -> None:
    """A store has made the page dirty, by a mapping or by write()."""
    page.flags |= pg.DIRTY
    if vma is None:
        return
    if vma not in page.ptes:
        _map(page, vma)
    page.ptes[vma].dirty = page.ptes[vma].writable = True


def _nth(rates: list[tuple[float, Vma | None]], nth: float) -> Vma | None:
    for rate, vma in rates:
        if nth < rate:
            return vma
        nth -= rate
    return rates[-1][1]


def _clean(page: Page) -> None:
    page.flags &= ~pg.DIRTY
    for pte in page.ptes.values():
        pte.dirty = pte.writable = False
