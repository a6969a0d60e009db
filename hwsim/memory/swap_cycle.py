"""The round of a page through the swap cache by chance, at the rates of a :class:`hwsim.spec.SwapCycle`.

The stages follow one another, and each lasts an exponential time.  Touches of a page that is out wait for
the swap-in, which maps it again for all who had it.  Pages of a shared segment are mapped from their
page cache only (mm/shmem.c of 2.6.30), so for them the two mapped stages are time spent there.
"""

from __future__ import annotations

from hwsim.elementary import added
from hwsim.kernel.mm.page_cache import clear_page_dirty_for_io, delete_from_swap_cache
from hwsim.kernel.mm.swap import (
    add_to_swap,
    end_swap_writepage,
    reclaim,
    shmem_getpage,
)
from hwsim.kernel.mm_types import NONE, SWAP, Page
from hwsim.kernel.page_flags import ANON, DIRTY, SWAPCACHE
from hwsim.spec import SwapCycle

PLAIN, DIRTY_MAPPED, DIRTY_UNMAPPED, CLEAN_UNMAPPED, CLEAN_MAPPED = range(5)
STAGE_NAMES = ("plain", "dirty, mapped", "dirty, unmapped", "clean, unmapped", "clean, mapped")
_STAGES = 5


def shares(cycle: SwapCycle) -> tuple[float, ...]:
    """Of a round's time, the share of each stage."""
    cached = (cycle.dirty_mapped, cycle.dirty_unmapped, cycle.clean_unmapped, cycle.clean_mapped)
    return (max(0.0, 1.0 - added(cached)), *cached)


def stage_at(cycle: SwapCycle, u: float) -> int:
    """The stage that belongs to the uniform ``u``: rounds begin at random."""
    for stage, share in enumerate(shares(cycle)[1:], 1):
        if u < share:
            return stage
        u -= share
    return PLAIN


def stage_of(page: Page) -> int:
    """Where the page stands in its round."""
    if not page.flags & SWAPCACHE:
        return PLAIN if page.flags & ANON else page.swap_stage
    if page.flags & DIRTY:
        return DIRTY_MAPPED if page.ptes else DIRTY_UNMAPPED
    return CLEAN_MAPPED if page.ptes else CLEAN_UNMAPPED


def leave_rate(page: Page, cycle: SwapCycle) -> float:
    """How often the page would leave its stage, per ns."""
    return 1.0 / max(1.0, shares(cycle)[stage_of(page)] * cycle.period_ns)


def next_stages(page: Page, cycle: SwapCycle) -> list[int]:
    """The stages the page goes on to at once: the next one in which it spends any time is the last."""
    stage, part = stage_of(page), shares(cycle)
    stages = []
    while True:
        stage = (stage + 1) % _STAGES
        stages.append(stage)
        if part[stage] > 0.0:
            return stages


def enter(page: Page, stage: int) -> None:
    """The page goes on from the stage before; what a device does with the frame is the caller's."""
    anon = page.flags & ANON
    if stage == DIRTY_MAPPED:
        if anon:
            add_to_swap(page)
    elif stage == DIRTY_UNMAPPED:
        reclaim(page)
    elif stage == CLEAN_UNMAPPED:
        clear_page_dirty_for_io(page)
        end_swap_writepage(page)
    elif stage == CLEAN_MAPPED:
        if anon or shmem_getpage(page):
            _map_again(page, SWAP if anon else NONE)
    elif anon:  # a store by the only user, or pressure on the slots: the swap cache lets go
        delete_from_swap_cache(page)
        page.swap_entry = False
        for pte in page.ptes.values():
            pte.dirty = pte.writable = True
    page.swap_stage = stage


def _map_again(page: Page, kind: str) -> None:
    sharers = page.anon_vma if page.anon_vma is not None else page.mapping.vmas if page.mapping else []
    for vma in sharers:
        pte = vma.ptes.get(page.pgoff)
        if pte is not None and pte.kind == kind and pte.page is page:
            page.map(vma, dirty=False, writable=False)
