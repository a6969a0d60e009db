"""What has become of a page since the last look, with draws that the test chooses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hwsim.bad_lines.bad_line import Candidate, LateTouches
from hwsim.bad_lines.late_touch import remapped
from hwsim.bad_lines.read_again import Uses, _barred, uses_of
from hwsim.kernel import page_flags as pg
from hwsim.kernel.frames import Layout, Layouts
from hwsim.kernel.mem_map import MemMap
from hwsim.kernel.mm_types import POISON, AddressSpace, Page, Vma
from hwsim.kernel.writeback import Flusher, Inode
from hwsim.memory.advance_state import quiet_rates, settle, store_meanwhile
from hwsim.spec import Touch

S = 1_000_000_000


def shared(
    kind: str, store_per_s: float, filesystem: str = "tmpfs", load_per_s: float = 0.0
) -> tuple[Page, Vma, Vma]:
    """Page 0 of eight that two tasks may store to, and their mappings of it; nobody has touched it yet."""
    touch, huge = (Touch(1.0, load_per_s, store_per_s),), kind == "hugetlb"
    layout = Layout("data", kind, 0, 8, touch, filesystem=filesystem, is_file=kind == "file", is_hugetlb=huge)
    region = MemMap(Layouts((layout,)), 8).regions[0]
    region.mapping = AddressSpace("data", filesystem)
    task: Any = None
    more: dict[str, Any] = {"since_ns": 0, "shared": True, "mapping": region.mapping, "populated": False}
    one, other = (Vma(task, name, region, 0, 8, **more) for name in ("one", "other"))
    one.number, other.number = 1, 2
    page = Page(0, region, 0, 0)
    page.mapping = region.mapping
    return page, one, other


@pytest.mark.parametrize(("seconds", "mapped"), [(10, ["one", "other"]), (0.1, [])])
def test_stores_to_a_page_that_is_dirty_already_map_it(seconds: float, mapped: list[str]) -> None:
    page, *_ = shared("shm", 1.0)
    page.flags = pg.DIRTY
    settle(page, int(seconds * S), False, lambda _: 0.5)
    assert [vma.name for vma in page.ptes] == mapped


@pytest.mark.parametrize(("kind", "cached"), [("shm", False), ("hugetlb", True)])
def test_a_page_outside_the_cache_and_a_huge_one_stay_as_they_are(kind: str, cached: bool) -> None:
    page, *_ = shared(kind, 1.0)
    page.mapping = page.mapping if cached else None
    settle(page, 10 * S, False, lambda _: 0.5)
    assert (page.flags, page.ptes, page.looks) == (0, {}, 0)


@pytest.mark.parametrize(("permanent", "stores"), [(False, 0.75), (True, 0.8125)])
def test_a_touch_is_quiet_unless_it_reads_the_bad_line_or_heals_it(permanent: bool, stores: float) -> None:
    """A touch is of 16 of 64 lines; one in four stores writes them whole, which heals what is transient."""
    layout = Layout("r", "anon", 0, 8, (Touch(1.0, 2e9, 1e9),), lines_per_touch=16.0, full_line=0.25)
    region: Any = MemMap(Layouts((layout,)), 8).regions[0]
    task: Any = None
    found = quiet_rates(Vma(task, "r", region, 0, 8, since_ns=0), 0, permanent)
    assert found == pytest.approx((1.5, stores))


@pytest.mark.parametrize(("u", "dirty"), [(0.4, [True, False]), (0.6, [False, True])])
def test_who_stores_during_the_wait_is_drawn_by_the_rates(u: float, dirty: list[bool]) -> None:
    page, one, other = shared("shm", 1.0)
    for vma in (one, other):
        page.map(vma, dirty=False, writable=True)
    assert store_meanwhile(page, 0, 10 * S, False, lambda k: u if k == 1 else 0.5) == []
    assert [page.ptes[vma].dirty for vma in (one, other)] == dirty


def test_a_store_during_the_wait_dirties_the_inode() -> None:
    page, one, _ = shared("file", 1e-3, "ext4")
    assert page.mapping is not None
    inode = page.mapping.host = Inode(page.region, Flusher(S, 5 * S, 30 * S), 0, lambda *_: 1 - 1e-9)
    page.map(one, dirty=False, writable=True)
    store_meanwhile(page, 0, 10 * S, False, lambda _: 0.5)
    assert inode.dirtied_when(10 * S) is None  # a store in a thousand seconds does not come at once
    store_meanwhile(page, 0, 10 * S, False, lambda _: 1e-6)
    assert (page.flags & pg.DIRTY, inode.dirtied_when(10 * S)) == (pg.DIRTY, 10 * S)


@pytest.mark.parametrize(("kind", "by_call"), [("file", (2e-9, 1e-9)), ("shm", (0.0, 0.0))])
def test_who_uses_a_dropped_page_is_counted_by_mapping(kind: str, by_call: tuple[float, float]) -> None:
    page, one, _ = shared(kind, 1.0, load_per_s=2.0)
    reads, writes = by_call
    for barred, mappings in ((), 2), ((one,), 1):
        expected = Uses(reads + 2e-9 * mappings, writes, 1e-9 * mappings)
        assert uses_of(page.region, page, barred) == pytest.approx(expected)


def test_a_poison_entry_bars_its_task_from_the_page() -> None:
    page, one, other = shared("file", 1.0, "ext4")
    assert _barred(page) == []
    page.map(one).kind = POISON
    page.map(other)
    assert _barred(page) == [one]


def test_a_fresh_page_in_one_place_leaves_the_other_touches() -> None:
    page, one, other = shared("shm", 1.0)
    touches = LateTouches()
    line: Any = SimpleNamespace(arm=lambda: None, touches=touches)
    mine, others = page.map(one, dirty=False, writable=False), page.map(other, dirty=False, writable=False)
    truncated, later = Candidate(5, 0, "truncated", print), Candidate(7, 1, "touch", print)
    touches.to_come = {None: truncated, mine: Candidate(6, 1, "touch", print), others: later}
    remapped(line, one)
    assert touches.to_come == {None: truncated, others: later}
