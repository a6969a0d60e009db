"""The flusher's wakes and an inode's age: the clock by itself, and the law of the age at a first look.

The law of the age at a first look is checked in closed form; seeds are fixed, and a correct model fails one
of those tests with a chance of 1 in 1,000.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare, ks_2samp, kstest

from hwsim.kernel.frames import Layout, Layouts
from hwsim.kernel.mem_map import MemMap
from hwsim.kernel.mm.page_cache import truncate_inode_page
from hwsim.kernel.mm_types import CACHE, AddressSpace, Page
from hwsim.kernel.writeback import Flusher, Inode
from hwsim.rng import Draws
from hwsim.scenario import load
from hwsim.spec import Touch
from tests.support.closed_forms import ALPHA, dirty_pages

MS, S = 1_000_000, 1_000_000_000
EXPIRE, WAKE = 30 * S, 5 * S


# -- the wakes ------------------------------------------------------------------------------------------


def test_wakes_are_arithmetic() -> None:
    flusher = Flusher(3, 10, 60)
    assert [flusher.wake_ns(at) for at in (0, 3, 4, 13, 14, 1_000)] == [3, 3, 13, 13, 23, 1_003]
    assert Flusher(3, 0, 60).wake_ns(0) is None


@pytest.mark.parametrize(
    ("write", "interval", "wakes"),
    [
        (Flusher.rearm, 20, [35, 35, 55]),  # pdflush's timer is set anew ...
        (Flusher.rearm, 0, [None, None, None]),  # ... or deleted
        (Flusher.sleep_on, 20, [23, 43, 63]),  # the thread sleeps to the end of its 10
        (Flusher.sleep_on, 0, [23, None, None]),
    ],
)
def test_writing_the_interval(
    write: Callable[[Flusher, int, int], None], interval: int, wakes: list[int | None]
) -> None:
    flusher = Flusher(3, 10, 60)
    write(flusher, 15, interval)
    assert [flusher.wake_ns(at) for at in (15, 24, 45)] == wakes


# -- the clock of one inode, without chance ---------------------------------------------------------------


def uniforms(seed: int, index: int) -> Callable[[int, int], float]:
    """The draws of one inode of one machine."""
    return partial(Draws(seed, index).extra, -3)


def inode(
    stores_per_s: float = 0.0,
    pages: int = 8,
    flush_every_ns: int | None = None,
    flusher: Flusher | None = None,
    draws: Callable[[int, int], float] | None = None,
) -> Inode:
    """A file of some pages that is stored to this often altogether; the flusher wakes at 1, 6, 11 s ..."""
    layout = Layout(
        "f", "file", 0, pages, (Touch(1.0, 0.0, stores_per_s / pages),), filesystem="ext4",
        flush_every_ns=flush_every_ns,
    )  # fmt: skip
    region = MemMap(Layouts((layout,)), pages).regions[0]
    region.mapping = AddressSpace("f", "ext4")
    clock = Flusher(S, WAKE, EXPIRE) if flusher is None else flusher
    return Inode(region, clock, 0, uniforms(1, 0) if draws is None else draws)


def test_a_quiet_inode_is_written_at_the_first_wake_that_finds_it_old_enough() -> None:
    for stored_s, written_s in ((0.5, 31), (1, 31), (1.001, 36), (5.9, 36), (6, 36), (7, 41)):
        quiet = inode()
        quiet.mark_dirty(int(stored_s * S))
        quiet.mark_dirty(12 * S)  # a later store changes nothing
        assert quiet.next_writeout_ns(12 * S) == written_s * S
        assert quiet.clean_at(written_s * S - 1) == 0
        assert quiet.dirtied_when(written_s * S - 1) == int(stored_s * S)
        assert quiet.clean_at(written_s * S) == written_s * S
        assert quiet.dirtied_when(written_s * S) is None


def test_a_call_writes_it_before_and_its_age_starts_anew() -> None:
    called = inode()
    called.calls = [(10 * S, 1_000 * S)]
    called.mark_dirty(2 * S)
    assert called.next_writeout_ns(2 * S) == 10 * S
    assert called.clean_at(11 * S) == 10 * S
    called.mark_dirty(12 * S)
    assert called.next_writeout_ns(12 * S) == 46 * S


def test_a_store_after_write_outs_that_nobody_has_looked_at_makes_it_dirty_again() -> None:
    """The inode is brought up to now only when somebody looks: what it is told meanwhile still counts."""
    busy = inode()
    busy.mark_dirty(2 * S)
    busy.mark_dirty(100 * S)  # it was written at 36 s
    assert busy.clean_at(100 * S) == 36 * S
    assert busy.next_writeout_ns(100 * S) == 131 * S


def test_a_file_that_is_never_flushed_stays_dirty_however_long() -> None:
    assert inode(1.0, flush_every_ns=0).clean_at(1_000_000 * S) == 0
    assert inode(1.0, flusher=Flusher(S, 0, EXPIRE)).clean_at(1_000_000 * S) == 0


def test_a_long_time_is_one_draw_not_its_write_outs() -> None:
    """A million seconds are some 30,000 write-outs."""
    drawn = []

    def draws(slot: int, at: int) -> float:
        drawn.append(at)
        return uniforms(1, 0)(slot, at)

    assert 999_960 * S < inode(8.0, draws=draws).clean_at(1_000_000 * S) <= 1_000_000 * S
    assert len(drawn) < 5


def test_what_is_written_without_the_inode_keeps_its_age() -> None:
    kept = inode()
    kept.mark_dirty(2 * S)
    kept.written(20 * S, whole_inode=False)
    assert (kept.clean_at(21 * S), kept.next_writeout_ns(21 * S)) == (20 * S, 36 * S)


@pytest.mark.parametrize(("own", "written"), [(None, 36 * S), (2 * S, 6 * S), (0, None)])
def test_a_file_may_have_its_own_age_and_the_machine_its_wakes(own: int | None, written: int | None) -> None:
    file = inode(flush_every_ns=own)
    file.mark_dirty(3 * S)
    assert file.next_writeout_ns(3 * S) == written


@pytest.mark.parametrize(
    ("flush_every_ns", "period_s", "span_s"),
    [(None, None, 32.5), (None, 7, 7), (None, 50, 32.5), (2 * S, 7, 4.5), (0, 50, 50), (0, None, 40)],
)
def test_a_page_is_dirty_until_the_flusher_or_a_call_comes(
    flush_every_ns: int | None, period_s: int | None, span_s: float
) -> None:
    """The age and half the time between two wakes; of a file that nobody writes, since it came to be."""
    file = inode(flush_every_ns=flush_every_ns)
    if period_s is not None:
        file.calls = [(60 * S, period_s * S)]
    file.written(40 * S)
    assert file.dirty_span_ns() == span_s * S


def test_without_wakes_nothing_is_written() -> None:
    still = inode(flusher=Flusher(0, 0, EXPIRE))
    still.mark_dirty(3 * S)
    assert still.next_writeout_ns(3 * S) is None
    assert still.clean_at(10**9 * S) == 0


def test_a_constant_writer_is_written_every_seventh_wake() -> None:
    """At the sixth wake after it was cleaned the inode is a moment younger than 30 s."""
    busy, seen = inode(stores_per_s=1e6), set()
    for at in range(600):
        seen.add(busy.clean_at(at * S))
    assert sorted(seen) == [0, *range(31 * S, 600 * S, 35 * S)]


def test_a_page_stands_apart_until_it_leaves_the_cache() -> None:
    """The only page of a file: nobody else dirties the inode while its stores are drawn by themselves."""
    one = inode(stores_per_s=1.0, pages=1)
    region: Any = one._region
    region.mapping.host = one
    page = Page(0, region, 0, 0, mapping=region.mapping)
    page.get(CACHE)
    one.look_after(0)
    assert (one.clean_at(1_000 * S), one.first_store_ns(1_000 * S)) == (0, None)
    truncate_inode_page(region.mapping, page)  # what is read in its place is a page like any other
    one.advance(1_000 * S)
    assert 1_900 * S < one.clean_at(2_000 * S) < 2_000 * S


def test_where_the_age_is_no_multiple_of_the_wakes_it_is_the_next_wake() -> None:
    busy = inode(stores_per_s=1e6, flush_every_ns=12 * S)
    assert sorted({busy.clean_at(at * S) for at in range(100)}) == [0, *range(16 * S, 100 * S, 15 * S)]


def test_the_path_does_not_depend_on_who_looks_when() -> None:
    """Calls leave the inode clean, so that what comes after them is a function of their time alone."""
    often, seldom = inode(stores_per_s=0.05), inode(stores_per_s=0.05)
    for clock in (often, seldom):
        clock.calls = [(7 * S, 400 * S)]
    for at in range(3_000):
        often.advance(at * S)
        if at % 307 == 0:
            seldom.advance(at * S)
            assert (seldom.clean_ns, seldom.dirtied_when(at * S)) == (
                often.clean_ns,
                often.dirtied_when(at * S),
            )


# -- the law of the age, looked at late ---------------------------------------------------------------------


def cycle_s(stores_per_s: float, expire_s: float = 30.0, wake_s: float = 5.0) -> float:
    """Mean time between two write-outs, by summing P(N > j) instead of the closed form."""
    total, j = 0.0, 0
    while True:
        p = 1.0 if j * wake_s < expire_s else exp(-stores_per_s * (j * wake_s - expire_s))
        if p < 1e-12:
            return total * wake_s
        total, j = total + p, j + 1


@pytest.mark.parametrize("stores_per_s", [1 / 3_600, 1 / 60, 0.3, 5.0])
def test_share_of_time_an_inode_is_dirty(stores_per_s: float) -> None:
    share = 1.0 - 1.0 / (stores_per_s * cycle_s(stores_per_s))
    if stores_per_s < 1e-3:
        assert share == pytest.approx(32.5 / (32.5 + 1 / stores_per_s), rel=1e-4)
    looks = 4_000
    dirty, ages = 0, []
    for number in range(looks):
        late = inode(stores_per_s, draws=uniforms(7, number))
        at = (10**6 + number * 12_347) * S + number * 1_237 * MS  # anywhere between two wakes
        late.advance(at)
        since = late.dirtied_when(at)
        if since is not None:
            dirty += 1
            ages.append((at - since) / S)
            assert at - since < EXPIRE + WAKE
    assert binomtest(dirty, looks, share).pvalue > ALPHA
    if stores_per_s < 1e-3:  # a rare writer's age is uniform up to 30 s, and falls to nothing at 35 s
        assert kstest(ages, _age_of_a_quiet_file).pvalue > ALPHA


def test_an_age_of_nothing_has_the_same_law() -> None:
    """vm.dirty_expire_centisecs = 0: whatever is dirty at a wake is written."""
    rate, looks, dirty = 0.2, 2_000, 0
    for number in range(looks):
        late = inode(rate, flusher=Flusher(S, WAKE, 0), draws=uniforms(8, number))
        at = (10**6 + number * 12_347) * S + number * 1_237 * MS
        late.advance(at)
        since = late.dirtied_when(at)
        dirty += since is not None
        assert since is None or at - since < WAKE
    assert binomtest(dirty, looks, 1.0 - 1.0 / (rate * cycle_s(rate, expire_s=0.0))).pvalue > ALPHA


def _age_of_a_quiet_file(age_s: Any) -> Any:
    beyond = (age_s - 30.0).clip(0.0, 5.0)
    return (age_s.clip(0.0, 30.0) + beyond - beyond**2 / 10.0) / 32.5


def test_the_law_and_the_steps_agree() -> None:
    """Ages of an inode stepped from look to look, and of inodes looked at once, long after the start."""
    stepped, once = [], []
    clock = inode(0.02)
    for number in range(3_000):
        at = (1_000_000 + number * 487) * S + number * 911 * MS
        clock.advance(at)
        stepped.append(at - (clock.dirtied_when(at) or at))
        fresh = inode(0.02, draws=uniforms(9, number))
        fresh.advance(at)
        once.append(at - (fresh.dirtied_when(at) or at))
    assert ks_2samp(stepped, once).pvalue > ALPHA


@pytest.mark.parametrize(
    ("stores_per_s", "others_per_s"), [((0.02, 0.01), 0.0), ((0.01, 0.002), 0.05), ((1e-3, 1e-3), 2.0)]
)
def test_pages_are_dirty_by_their_own_stores_and_agree_on_the_first(
    stores_per_s: tuple[float, float], others_per_s: float
) -> None:
    """Without other pages one of the two is dirty whenever the inode is."""
    seen, shares = dirty_pages(1_500, stores_per_s, others_per_s)
    cases = [case for case in shares if shares[case] * 1_500 >= 8]
    rest = 1_500 - sum(seen[case] for case in cases), 1.0 - sum(shares[case] for case in cases)
    found, expected = [seen[case] for case in cases], [1_500 * shares[case] for case in cases]
    if rest[1] * 1_500 >= 1:
        found, expected = [*found, rest[0]], [*expected, 1_500 * rest[1]]
    assert chisquare(found, np.array(expected) * sum(found) / sum(expected)).pvalue > ALPHA


# -- scenario files -----------------------------------------------------------------------------------------


def test_the_flusher_follows_the_sysctls_and_a_file_its_own_age(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(SCENARIO)
    made = load(path).spec
    assert (made.machine.dirty_expire_ns, made.machine.dirty_writeback_ns) == (5 * S, 0)
    assert [file.flush_every_ns for file in made.files] == [None, 60 * S, 0]


SCENARIO = """
name = "flusher"
horizon = "1 h"
machine.memory = "1 GiB"
machine.sysctl.vm.dirty_expire_centisecs = 500
machine.sysctl.vm.dirty_writeback_centisecs = 0
errors = [{ kind = "uncorrected", rate = "1 / h" }]
[[file]]
name = "as-machine"
size = "4 KiB"
[[file]]
name = "own"
size = "4 KiB"
flush_every = "1 min"
[[file]]
name = "by-hand"
size = "4 KiB"
flush_every = "never"
"""
