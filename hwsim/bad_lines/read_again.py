"""When chance brings back into the page cache what memory_failure() has dropped.

It matters only for a file that has no other page: some kernels let fsync() look for an error only if the
mapping has pages, and none lets sync() throw one away otherwise.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from hwsim.bad_lines.bad_line import BadLine
from hwsim.elementary import added, log1p
from hwsim.kernel.mm.memory import meets_poison
from hwsim.kernel.mm.page_cache import dropped_pages, has_cached_pages
from hwsim.kernel.mm_types import Page, Region, Vma
from hwsim.rng import Slot

# Names of draws of Slot.STALE; the rest of them stand in lost_write.
FIRST_READ, OVERWRITTEN = 0, 5


class Uses(NamedTuple):
    """How often, per ns, a dropped page of a file is used: each of them reads it in or makes it anew."""

    reads: float  # read(), and loads of mappings without a poison entry
    writes: float  # write() of the whole page
    stores: float  # of those mappings


def uses_of(region: Region, page: Page, barred: Container[Vma]) -> Uses:
    """All who use the page but those in ``barred``, whom a poison entry keeps from it."""
    reads = writes = stores = 0.0
    if region.layout.is_file:  # read() and write() by system call
        reads, writes = region.touch_rates(page.pgoff)
    for vma in region.mapping.vmas if region.mapping is not None else ():
        if vma.alive and vma not in barred and vma.covers(page.pgoff):
            load, store = vma.region.touch_rates(page.pgoff)
            reads, stores = reads + load, stores + store
    return Uses(reads, writes, stores)


def dropped(line: BadLine, page: Page) -> None:
    """The page has left the page cache: if it was the last, await the return of each that went before."""
    region, mapping, around = page.region, page.region.mapping, line.around
    assert mapping is not None
    overlay = around.kernel.mem_map.overlay
    if has_cached_pages(region, overlay, around.engine.now_ns):
        return
    gone = dropped_pages(region, overlay)
    for pfn in region.watched:
        other = around.by_pfn[pfn]
        if other.page is not None and other.page.pgoff in gone - mapping.read_again.keys():
            _await(other, other.page)


def _await(line: BadLine, page: Page) -> None:
    """The same draws as for the record of a lost write: who reads old data has read the page in."""
    uses = uses_of(page.region, page, _barred(page))
    now = line.around.engine.now_ns
    start_ns = now if line.in_boot.contained_ns is None else line.in_boot.contained_ns
    draw, error = line.around.draws.extra, line.error
    times = [
        _first_ns(start_ns, uses.reads, draw(error, Slot.STALE, FIRST_READ)),
        _first_ns(start_ns, uses.writes, draw(error, Slot.STALE, OVERWRITTEN)),
        _first_ns(start_ns, uses.stores, draw(error, Slot.READ_AGAIN, 0)),
    ]
    _expect(page, [each for each in times if each is not None])


def sharers_changed(line: BadLine) -> None:
    """Other tasks than before map the file: a page that is not back yet is waited for anew."""
    page, now = line.page, line.around.engine.now_ns
    mapping = page.region.mapping if page is not None else None
    if page is None or mapping is None or not page.region.layout.is_file:
        return
    due_ns = mapping.read_again.get(page.pgoff)
    if has_cached_pages(page.region, line.around.kernel.mem_map.overlay, now) and due_ns is None:
        return
    if page.mapping is None and (due_ns is None or due_ns > now):
        u = line.around.draws.extra(line.error, Slot.READ_AGAIN, now)
        time = _first_ns(now, added(uses_of(page.region, page, _barred(page))), u)
        _expect(page, [] if time is None else [time])
        line.around.kernel.files.readers_changed(mapping)


def _barred(page: Page) -> list[Vma]:
    mapping = page.region.mapping
    vmas = mapping.vmas if mapping is not None else []
    entries = [vma.ptes.get(page.pgoff) for vma in vmas]
    return [pte.vma for pte in entries if pte is not None and pte.page is page and meets_poison(pte)]


def _expect(page: Page, times: list[int]) -> None:
    mapping = page.region.mapping
    assert mapping is not None
    mapping.read_again.pop(page.pgoff, None)
    if times:
        mapping.read_again[page.pgoff] = min(times)


def _first_ns(start_ns: int, rate_per_ns: float, u: float) -> int | None:
    return start_ns + int(-log1p(-u) / rate_per_ns) + 1 if rate_per_ns > 0.0 else None
