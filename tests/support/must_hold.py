"""What must hold of a live machine at any moment: asked of what stands around a page, not of its count."""

from __future__ import annotations

from itertools import pairwise

from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm_types import (
    BUFFERS,
    CACHE,
    HANDLER,
    INJECTOR,
    ISOLATED,
    OWNER,
    PAGEVEC,
    PIN,
    PRESENT,
    Page,
    Pte,
    Vma,
)
from hwsim.machine import Machine

POOLS = {"slab", "slab_multi", "page_table", "kernel_stack", "high_order", "reserved"}
HOLDERS = {CACHE, BUFFERS, PAGEVEC, PIN, OWNER, HANDLER, INJECTOR}


def is_current(page: Page) -> bool:
    """Whether the struct page speaks for its frame; otherwise it is looked at anew before anybody uses it."""
    region = page.region
    return page.epoch == region.epoch or bool(page.flags & pg.HWPOISON) or page.pfn in region.watched


def states(page: Page) -> list[str]:
    """Every state that something says the frame is in."""
    found = []
    mapping = page.mapping
    if page.flags & pg.BUDDY:
        found.append("free")
    if mapping is not None and (page.head or mapping.pages.get(page.pgoff) is page):
        found.append("shm" if page.region.kind == "shm" else "file cache")
    if page.flags & pg.SWAPCACHE:
        found.append("swap cache")
    elif page.flags & pg.ANON and page.ptes:
        found.append("anon")
    layout = page.region.layout
    tail = layout.order and page.pgoff % (1 << layout.order)
    if OWNER in (page.head or page).holders or (page.region.kind in POOLS and page.region.alive and tail):
        found.append("kernel")
    if not found and page.flags & pg.HWPOISON:
        found.append("isolated")
    if not found and (PIN in page.holders or PAGEVEC in page.holders):
        found.append("held")  # nobody's any more, but somebody has a reference
    return found


def entries(machine: Machine) -> list[tuple[Vma, int, Pte]]:
    """Every page-table entry of every living task that leads anywhere."""
    return [
        (vma, pgoff, pte)
        for member in machine.processes.members()
        if member.alive and member.task is not None
        for vma in member.task.vmas.values()
        for pgoff, pte in vma.ptes.items()
    ]


def check_ledger(machine: Machine) -> None:
    """Each holder's references are those that what stands around the page asks for."""
    overlay = machine.kernel.mem_map.overlay
    for page in overlay.values():
        holders = page.holders
        assert all(count > 0 for count in holders.values()), holders
        assert not is_current(page) or holders.keys() <= HOLDERS, holders
        assert ISOLATED not in holders, "a handler has kept its reference from the LRU"
        assert page.head is None or page.head is page or not holders, "a tail has references of its own"
        if not is_current(page):
            assert not page.ptes, "a frame with another owner is still mapped"
            continue
        in_cache = page.mapping is not None and page.mapping.pages.get(page.pgoff) is page
        if page.region.kind != "hugetlb":
            assert holders.get(CACHE, 0) == in_cache + bool(page.flags & pg.SWAPCACHE), (holders, page.pfn)
        assert holders.get(BUFFERS, 0) == bool(page.flags & pg.PRIVATE)
        assert not (PAGEVEC in holders and page.flags & pg.LRU), "in a pagevec and on an LRU list"
        whole = [page, *(each for each in overlay.values() if each.head is page and each is not page)]
        assert holders.get(HANDLER, 0) <= sum(bool(each.flags & pg.HWPOISON) for each in whole)
        for vma, pte in page.ptes.items():
            assert pte.kind == PRESENT
            assert (pte.page, pte.vma) == (page, vma)
            assert vma.alive, "a dead mapping holds a reference"
            assert vma.ptes.get(page.pgoff) is pte
    for vma, pgoff, pte in entries(machine):
        assert pte.vma is vma
        assert vma.covers(pgoff)
        if pte.kind == PRESENT:
            assert pte.page.ptes.get(vma) is pte, "an entry maps a page that does not know of it"
            assert overlay.get(pte.page.pfn) is pte.page, "mapped, but forgotten"


def check_states(machine: Machine) -> None:
    """Every frame is in exactly one state, and every frame of free memory given away has one owner."""
    mem_map = machine.kernel.mem_map
    for pfn, page in mem_map.overlay.items():
        assert page.pfn == pfn
        if not is_current(page):
            continue
        assert len(states(page)) == 1, (hex(pfn), states(page), pg.names_of(page.flags), page.holders)
        if page.flags & pg.BUDDY:
            assert page.count == 0, "a free frame is held"
            assert page.mapping is None
            assert not page.flags & (pg.LRU | pg.SWAPCACHE | pg.SLAB | pg.DIRTY)
    for runs in (
        [(each.layout.first_pfn, each.layout.pages) for each in mem_map.carved],
        list(mem_map.taken.items()),
    ):
        ends = sorted((first, first + pages) for first, pages in runs)
        for (_, end), (first, _) in pairwise(ends):
            assert end <= first, "two owners of one frame"


class Watched:
    """Remembers the poisoned frames of one boot and sees to it that nobody gets them.

    Life: one for a kernel -> :meth:`check` after every step.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.kernel = machine.kernel
        self.seen: dict[int, tuple[Page, set[Vma], int, int]] = {}
        self.blocks: set[str] = set()

    def check(self) -> None:
        """Who was poisoned is so still, and has no user that it did not have before."""
        mem_map = self.kernel.mem_map
        for pfn, (before, vmas, cached, owned) in self.seen.items():
            page = mem_map.overlay.get(pfn)
            assert page is before, f"pfn {pfn:#x} has another struct page"
            assert page.flags & pg.HWPOISON, f"pfn {pfn:#x} serves somebody again"
            tasks = {vma.task for vma in vmas}
            for vma in set(page.ptes) - vmas:  # a copy of a mapping that was there: fork(), split, mremap()
                assert vma.task in tasks or vma.task.parent in tasks, f"pfn {pfn:#x} was mapped anew"
            assert page.holders.get(CACHE, 0) <= cached, f"pfn {pfn:#x} went into a cache"
            assert page.holders.get(OWNER, 0) <= owned, f"pfn {pfn:#x} has a new owner"
        for region in mem_map.carved:
            first = region.layout.first_pfn
            if region.name not in self.blocks:
                met = self.seen.keys() & set(range(first, first + region.layout.pages))
                assert not met, f"{region.name} got poisoned frames"
        self.blocks = {region.name for region in mem_map.carved}
        poisoned = {pfn: page for pfn, page in mem_map.overlay.items() if page.flags & pg.HWPOISON}
        self.seen = {
            pfn: (page, set(page.ptes), page.holders.get(CACHE, 0), page.holders.get(OWNER, 0))
            for pfn, page in poisoned.items()
        }
        assert len(poisoned) == self.kernel.poisoned_pages
