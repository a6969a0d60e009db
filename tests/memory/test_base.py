"""Base, regions and overlay against an eager dictionary twin, and the cost of a kill."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hwsim.kernel import page_flags as pg
from hwsim.kernel.frames import Layout, Layouts
from hwsim.kernel.mem_map import MemMap
from hwsim.kernel.mm_types import CACHE, PIN, Page
from hwsim.memory.base import Base

LAYOUTS = (
    Layout("kernel:reserved", "reserved", 0, 3),
    Layout("kernel:slab_multi", "slab_multi", 3, 8, order=2),
    Layout("a.0/heap", "anon", 11, 13),
    Layout("a.1/heap", "anon", 24, 5, mlock=True),
    Layout("a/shm", "shm", 29, 7),
    Layout("file:log", "file", 36, 11, filesystem="ext4", buffers="idle"),
    Layout("free", "free", 47, 6, is_free=True),
    Layout("file:disk", "blockdev", 53, 4),
)
PAGES = 57
BASE = Base(LAYOUTS, PAGES)
MORTAL = ("a.0/heap", "a.1/heap", "a/shm", "file:log")


class EagerTwin:
    """What MemMap must look like, held page by page in dictionaries and changed at once."""

    def __init__(self) -> None:
        self.flags: dict[int, int] = {}
        self.count: dict[int, int] = {}
        self.epoch: dict[int, int] = {}
        self.owner: dict[int, str] = {}
        for layout in LAYOUTS:
            for index in range(layout.pages):
                pfn = layout.first_pfn + index
                self.owner[pfn] = layout.name
                self.epoch[pfn] = 0
                self.flags[pfn], self.count[pfn] = self._born(layout, index)

    @staticmethod
    def _born(layout: Layout, index: int) -> tuple[int, int]:
        lru = pg.LRU | pg.UPTODATE
        if layout.kind == "slab_multi":
            return (pg.SLAB | pg.HEAD, 1) if index % 4 == 0 else (pg.TAIL, 0)
        if layout.kind == "anon":
            locked = pg.MLOCKED | pg.UNEVICTABLE if layout.mlock else 0
            return lru | pg.SWAPBACKED | pg.ANON | locked, 1
        if layout.kind == "shm":
            return lru | pg.SWAPBACKED | pg.DIRTY, 2
        if layout.kind == "file":
            return lru | pg.PRIVATE, 2  # the cache's reference, and the buffers'
        if layout.kind == "blockdev":
            return lru, 1
        return (pg.RESERVED, 1) if layout.kind == "reserved" else (pg.BUDDY, 0)

    def _pages(self, name: str) -> list[int]:
        return [pfn for pfn, owner in self.owner.items() if owner == name]

    def release(self, name: str) -> None:
        for pfn in self._pages(name):
            self.flags[pfn], self.count[pfn] = pg.BUDDY, 0
            self.epoch[pfn] += 1

    def revive(self, name: str) -> None:
        layout = next(each for each in LAYOUTS if each.name == name)
        for pfn in self._pages(name):
            self.flags[pfn], self.count[pfn] = self._born(layout, pfn - layout.first_pfn)
            self.epoch[pfn] += 1

    def look(self, pfn: int, flags: int, count: int) -> None:
        self.flags[pfn], self.count[pfn] = flags, count


steps = st.lists(
    st.one_of(
        st.tuples(st.just("kill"), st.sampled_from(MORTAL)),
        st.tuples(st.just("restart"), st.sampled_from(MORTAL)),
        st.tuples(st.just("poison"), st.integers(0, PAGES - 1)),
    ),
    max_size=30,
)


def _materialised(real: MemMap) -> dict[str, np.ndarray]:
    """The whole machine now: the base, then regions by their epoch and life, then the overlay."""
    flags, refcount, epoch = BASE.flags.copy(), BASE.refcount.copy(), np.zeros(PAGES, np.uint32)
    for region in real.regions:
        here = slice(region.layout.first_pfn, region.layout.first_pfn + region.layout.pages)
        epoch[here] = region.epoch
        if not region.alive:
            flags[here], refcount[here] = pg.BUDDY, 0
    for pfn, page in real.overlay.items():
        flags[pfn], refcount[pfn] = page.flags, page.count
    return {"flags": flags, "refcount": refcount, "epoch": epoch}


@given(steps)
def test_materialised_equals_the_eager_twin(history: list[tuple[str, object]]) -> None:
    real, twin = MemMap(Layouts(LAYOUTS), PAGES), EagerTwin()
    poisoned: dict[int, tuple[int, int]] = {}
    for verb, what in history:
        if verb == "poison":
            pfn = int(what)  # type: ignore[call-overload]
            region, index = real.region_of(pfn)
            page = Page(pfn, region, index, region.epoch)
            page.flags = pg.HWPOISON | pg.LRU
            page.get(CACHE)
            page.get(PIN)
            real.overlay[pfn] = page
            poisoned[pfn] = (page.flags, 2)
            continue
        region = real.by_name[str(what)]
        if verb == "kill" and region.alive:
            region.release()
            twin.release(str(what))
        elif verb == "restart" and not region.alive:
            region.revive(1)
            twin.revive(str(what))
    for pfn, (flags, count) in poisoned.items():  # a bad line's page is what the overlay says
        twin.look(pfn, flags, count)
    dense = _materialised(real)
    assert dense["flags"].tolist() == [twin.flags[pfn] for pfn in range(PAGES)]
    assert dense["refcount"].tolist() == [twin.count[pfn] for pfn in range(PAGES)]
    assert dense["epoch"].tolist() == [twin.epoch[pfn] for pfn in range(PAGES)]


def test_the_base_is_read_only_and_sixteen_bytes_a_page() -> None:
    base = BASE
    arrays = [getattr(base, name) for name in Base.__slots__]
    assert sum(each.nbytes for each in arrays) == 16 * PAGES
    assert not base.flags.flags.writeable
    names = [LAYOUTS[number].name for number in base.region.tolist()]
    assert (names[10], names[11], names[52]) == ("kernel:slab_multi", "a.0/heap", "free")
    assert base.index[36:47].tolist() == list(range(11))


def test_every_frame_belongs_to_the_region_that_holds_it() -> None:
    mem_map = MemMap(Layouts(LAYOUTS), PAGES)
    for pfn in range(PAGES):
        region, index = mem_map.region_of(pfn)
        assert region.layout.first_pfn + index == pfn
        assert region.number == BASE.region[pfn]
    assert not mem_map.pfn_valid(PAGES)
    assert not mem_map.pfn_valid(-1)


def test_a_new_owner_begins_when_it_takes_the_frames() -> None:
    region = MemMap(Layouts(LAYOUTS), PAGES).by_name["a.0/heap"]
    assert (region.alive, region.epoch, region.since_ns) == (True, 0, 0)
    region.release()
    assert (region.alive, region.epoch, region.since_ns) == (False, 1, 0)
    region.revive(700)
    assert (region.alive, region.epoch, region.since_ns) == (True, 2, 700)
