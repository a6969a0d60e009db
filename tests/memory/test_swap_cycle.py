"""A page's round through the swap cache: which stage it is in, for how long, and which comes next."""

from __future__ import annotations

import pytest

from hwsim.kernel.frames import Layout
from hwsim.kernel.mm_types import Page, Region
from hwsim.kernel.page_flags import ANON, DIRTY, SWAPCACHE
from hwsim.memory.swap_cycle import (
    CLEAN_MAPPED,
    CLEAN_UNMAPPED,
    DIRTY_MAPPED,
    DIRTY_UNMAPPED,
    PLAIN,
    leave_rate,
    next_stages,
    shares,
    stage_at,
    stage_of,
)
from hwsim.spec import SwapCycle

CYCLE = SwapCycle(100_000, 0.125, 0.25, 0.125, 0.0625)  # the rest, 0.4375, outside


def _page(flags: int, *, mapped: bool = False, swap_stage: int = PLAIN) -> Page:
    page = Page(7, Region(0, Layout("r", "anon" if flags & ANON else "shm", 0, 16)), 7, 0)
    page.flags, page.swap_stage = flags, swap_stage
    if mapped:
        page.ptes["a vma"] = None  # type: ignore[index, assignment]
    return page


def test_shares_of_a_round_and_the_stage_of_a_uniform() -> None:
    assert shares(CYCLE) == (0.4375, 0.125, 0.25, 0.125, 0.0625)
    begins = {
        0.0: DIRTY_MAPPED,
        0.125: DIRTY_UNMAPPED,
        0.375: CLEAN_UNMAPPED,
        0.5: CLEAN_MAPPED,
        0.5625: PLAIN,
    }
    for u, stage in begins.items():
        assert stage_at(CYCLE, u) == stage
        assert stage_at(CYCLE, u + 0.06) == stage


@pytest.mark.parametrize(
    ("page", "stage"),
    [
        (_page(ANON), PLAIN),
        (_page(ANON, swap_stage=CLEAN_MAPPED), PLAIN),  # an anonymous page shows it by itself
        (_page(ANON | SWAPCACHE | DIRTY, mapped=True), DIRTY_MAPPED),
        (_page(ANON | SWAPCACHE | DIRTY), DIRTY_UNMAPPED),
        (_page(ANON | SWAPCACHE), CLEAN_UNMAPPED),
        (_page(ANON | SWAPCACHE, mapped=True), CLEAN_MAPPED),
        (_page(0, swap_stage=CLEAN_MAPPED), CLEAN_MAPPED),  # of a segment: mapped from its page cache alone
        (_page(SWAPCACHE | DIRTY, swap_stage=DIRTY_MAPPED), DIRTY_UNMAPPED),
    ],
)
def test_where_a_page_stands_and_how_soon_it_goes_on(page: Page, stage: int) -> None:
    assert stage_of(page) == stage
    assert leave_rate(page, CYCLE) == 1 / (shares(CYCLE)[stage] * 100_000)


def test_stages_without_time_are_passed_at_once() -> None:
    assert [next_stages(_page(0, swap_stage=stage), CYCLE) for stage in range(5)] == [[1], [2], [3], [4], [0]]
    short = SwapCycle(100_000, dirty_mapped=0.0, dirty_unmapped=0.0, clean_unmapped=0.5, clean_mapped=0.0)
    assert next_stages(_page(ANON), short) == [DIRTY_MAPPED, DIRTY_UNMAPPED, CLEAN_UNMAPPED]
    assert next_stages(_page(ANON | SWAPCACHE), short) == [CLEAN_MAPPED, PLAIN]
