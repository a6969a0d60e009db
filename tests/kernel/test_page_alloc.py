"""The page allocator as the gatekeeper: which block it hands out, and which it drops."""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_alloc import alloc_pages, lose_block, take_page_off_buddy
from hwsim.kernel.mm_types import Page
from hwsim.machine import Machine, MemoryLayout
from hwsim.rng import ROW
from tests.support.worlds import MEMORY, PFN, world

FREE = PFN + 8  # behind the heap of the only task


def _kernel() -> Kernel:
    spec = world()
    return Machine(spec, 0, MemoryLayout(spec)).kernel


def _poisoned(kernel: Kernel, pfn: int) -> Page:
    page = kernel.pfn_to_page(pfn, MemoryFailure(0, pfn, [0.5] * ROW, lambda *_: 0.5))
    page.flags |= pg.HWPOISON
    return page


def test_the_lowest_block_that_is_aligned_and_free() -> None:
    kernel = _kernel()
    orders = (0, 0, 3, 1, 0, 9)
    assert [alloc_pages(kernel, order) for order in orders] == [
        *(FREE, FREE + 1, FREE + 4),  # 0x123c, 0x123d; of order 3 from 0x1240 on
        *(FREE + 2, FREE + 12, 0x1400),
    ]


def test_until_nothing_is_left() -> None:
    kernel = _kernel()
    blocks = range(0x1400, MEMORY, 512)
    assert [alloc_pages(kernel, 9) for _ in range(len(blocks) + 1)] == [*blocks, None]
    assert alloc_pages(kernel, 0) == FREE  # below the first block that is aligned


def test_a_block_with_a_poisoned_page_is_dropped_whole_and_never_looked_at_again() -> None:
    kernel = _kernel()
    _poisoned(kernel, FREE + 6)
    assert alloc_pages(kernel, 1) == FREE
    assert alloc_pages(kernel, 2) == FREE + 8  # 0x1240 to 0x1243 are dropped
    assert kernel.mem_map.taken[FREE + 4] == 4
    assert alloc_pages(kernel, 0) == FREE + 2


def test_a_page_that_was_taken_off_its_list_leaves_its_neighbours() -> None:
    kernel = _kernel()
    page = _poisoned(kernel, FREE + 6)
    assert [take_page_off_buddy(page), take_page_off_buddy(page)] == [True, False]
    assert alloc_pages(kernel, 2) == FREE  # not a block of this order any more
    assert [alloc_pages(kernel, 0) for _ in range(3)] == [FREE + 4, FREE + 5, FREE + 7]


def test_a_block_is_lost_once() -> None:
    kernel = _kernel()
    assert [lose_block(kernel, pfn, 3) for pfn in (0x1240, 0x1247, 0x1248)] == [8, 0, 8]
    assert [lose_block(kernel, pfn, 0) for pfn in (0x1240, 0x1240)] == [1, 0]
