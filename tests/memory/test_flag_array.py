"""Flag array, regions and overlay against an eager dictionary twin, and which region a frame belongs to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.kernel import page_flags as pg
from hwsim.kernel.frames import Layout, Layouts
from hwsim.kernel.mem_map import MemMap
from hwsim.kernel.mm_types import CACHE, PIN, Page
from hwsim.machine.machine import Machine
from hwsim.memory.flag_array import flag_array
from hwsim.memory.layout import MemoryLayout
from hwsim.memory.page_law import MAPPED, PTE_DIRTY, USED
from hwsim.rng import Draws
from hwsim.spec import FileSpec, KernelPoolSpec, MachineSpec, RegionSpec, Spec, TaskSpec, Touch

LAYOUTS = (
    Layout("kernel:reserved", "reserved", 0, 3),
    Layout("kernel:slab_multi", "slab_multi", 3, 8, order=2),
    Layout("a.0/heap", "anon", 11, 13),
    Layout("a.1/heap", "anon", 24, 5, mlock=True),
    Layout("free", "free", 29, 6, is_free=True),
    Layout("file:disk", "blockdev", 35, 4),
)
PAGES = 39
SPEC = Spec(
    "all kinds",
    1_000,
    1,
    1,
    MachineSpec(64),
    (),
    (FileSpec("log", 11, buffers="idle"), FileSpec("disk", 4, filesystem="blockdev")),
    (
        TaskSpec("a", 1, regions=(RegionSpec("heap", "anon", 13), RegionSpec("shm", "shm", 7))),
        TaskSpec("b", 1, regions=(RegionSpec("heap", "anon", 5, mlock=True),)),
    ),
    (KernelPoolSpec("reserved", 3), KernelPoolSpec("slab_multi", 10, order=2)),
)
PLAN = MemoryLayout(SPEC)
MORTAL = ("a.0/heap", "b.0/heap", "a/shm", "file:log")
LRU = pg.LRU | pg.UPTODATE | USED
HEAP = LRU | pg.SWAPBACKED | pg.ANON | MAPPED | PTE_DIRTY


class EagerTwin:
    """What a machine must look like, held page by page in dictionaries and changed at once."""

    def __init__(self) -> None:
        self.state: dict[int, int] = {}
        self.owner: dict[int, str] = {}
        for layout in PLAN.layouts:
            for pfn in range(
                layout.first_pfn, 64
            ):  # what is left out for alignment counts to who is before it
                self.owner[pfn] = layout.name
                self.state[pfn] = self._born(layout.name, pfn - layout.first_pfn)

    @staticmethod
    def _born(name: str, index: int) -> int:
        if name == "kernel:slab_multi":  # the last allocation has no more than two pages
            return pg.SLAB | pg.HEAD | USED if index % 4 == 0 else pg.TAIL | USED
        return {
            "kernel:reserved": pg.RESERVED | USED,
            "a.0/heap": HEAP,
            "b.0/heap": HEAP | pg.MLOCKED | pg.UNEVICTABLE,
            "a/shm": LRU | pg.SWAPBACKED | pg.DIRTY | MAPPED,
            "file:log": LRU | pg.PRIVATE,
            "file:disk": LRU,
            "free": pg.BUDDY,
        }[name]

    def release(self, name: str) -> None:
        for pfn, owner in self.owner.items():
            if owner == name:
                self.state[pfn] = pg.BUDDY

    def revive(self, name: str) -> None:
        for pfn, owner in self.owner.items():
            if owner == name:
                self.state[pfn] = self._born(name, 0)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("kill"), st.sampled_from(MORTAL)),
        st.tuples(st.just("restart"), st.sampled_from(MORTAL)),
        st.tuples(st.just("poison"), st.integers(0, 63)),
    ),
    max_size=30,
)


@given(steps)
def test_the_array_equals_the_eager_twin(history: list[tuple[str, object]]) -> None:
    machine, twin = Machine(SPEC, 0, PLAN), EagerTwin()
    real = machine.kernel.mem_map
    poisoned = set()
    for verb, what in history:
        if verb == "poison":
            pfn = int(what)  # type: ignore[call-overload]
            region, index = real.region_of(pfn)
            page = Page(pfn, region, index, region.epoch)
            page.flags = pg.HWPOISON | pg.LRU
            page.get(CACHE)
            page.get(PIN)
            real.overlay[pfn] = page
            poisoned.add(pfn)
            continue
        region = real.by_name[str(what)]
        if verb == "kill" and region.alive:
            region.release()
            twin.release(str(what))
        elif verb == "restart" and not region.alive:
            region.revive(1)
            twin.revive(str(what))
    for pfn in poisoned:  # a bad line's page is what the overlay says
        twin.state[pfn] = pg.HWPOISON | pg.LRU | USED
    flags = flag_array(machine.kernel, 1, machine.draws)
    assert flags.tolist() == [twin.state[pfn] for pfn in range(64)]


def test_what_a_script_has_cut_out_of_a_file_is_free() -> None:
    machine = Machine(SPEC, 0, PLAN)
    region = machine.kernel.mem_map.by_name["file:log"]
    assert region.mapping is not None
    region.mapping.gone.add(range(2, 5))
    flags = flag_array(machine.kernel, 1, machine.draws)
    log = flags[region.layout.first_pfn :][:11].tolist()
    assert log == [LRU | pg.PRIVATE] * 2 + [pg.BUDDY] * 3 + [LRU | pg.PRIVATE] * 6


def test_the_array_is_read_only_and_four_bytes_a_page() -> None:
    machine = Machine(SPEC, 0, PLAN)
    flags = flag_array(machine.kernel, 1, machine.draws)
    assert (flags.dtype, flags.nbytes) == (np.dtype(np.uint32), 4 * 64)
    with pytest.raises(ValueError, match="read-only"):
        flags[0] = 1


def test_pages_are_drawn_by_their_law_and_by_name() -> None:
    """A third of the huge pages is free in the pool; each is one, or in use, as a whole."""
    pool = RegionSpec("pool", "hugetlb", 512 * 3_000, huge_free=1 / 3)
    spec = Spec("x", 10, 1, 1, MachineSpec(512 * 3_000), (), (), (TaskSpec("t", regions=(pool,)),))
    machine = Machine(spec, 0, MemoryLayout(spec))
    flags = flag_array(machine.kernel, 1, Draws(1, 0)).reshape(-1, 512)
    free = flags[:, 0] == pg.HEAD
    assert abs(int(free.sum()) - 1_000) < 4.5 * (3_000 * 2 / 9) ** 0.5  # false alarm: 7e-6
    assert ((flags[:, 1:] == pg.TAIL) == free[:, None]).all()
    assert (flag_array(machine.kernel, 1, Draws(1, 0)).reshape(-1, 512) == flags).all()
    assert (flag_array(machine.kernel, 1, Draws(1, 1)).reshape(-1, 512) != flags).any()


def test_a_frame_of_a_partly_touched_region_is_free_until_it_is_touched() -> None:
    region = RegionSpec("heap", "anon", 10_000, (Touch(0.5, load_per_s=1.0), Touch(0.5)), populate=False)
    spec = Spec("x", 10**10, 1, 1, MachineSpec(10_000), (), (), (TaskSpec("t", regions=(region,)),))
    machine = Machine(spec, 0, MemoryLayout(spec))
    flags = flag_array(machine.kernel, 10**9, machine.draws)
    touched = int((flags[:5_000] == HEAP).sum())
    assert abs(touched - 5_000 * (1 - np.exp(-1))) < 4.5 * (5_000 * 0.632 * 0.368) ** 0.5
    assert (flags[5_000:] == pg.BUDDY).all()


def test_every_frame_belongs_to_the_region_that_holds_it() -> None:
    mem_map = MemMap(Layouts(LAYOUTS), PAGES)
    for pfn in range(PAGES):
        region, index = mem_map.region_of(pfn)
        assert region.layout.first_pfn + index == pfn
        assert 0 <= index < region.layout.pages
    assert not mem_map.pfn_valid(PAGES)
    assert not mem_map.pfn_valid(-1)


def test_a_new_owner_begins_when_it_takes_the_frames() -> None:
    region = MemMap(Layouts(LAYOUTS), PAGES).by_name["a.0/heap"]
    assert (region.alive, region.epoch, region.since_ns) == (True, 0, 0)
    region.release()
    assert (region.alive, region.epoch, region.since_ns) == (False, 1, 0)
    region.revive(700)
    assert (region.alive, region.epoch, region.since_ns) == (True, 2, 700)
