"""Memory of the kernel itself: slabs, page tables, stacks, blocks of several pages, and what is reserved."""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import OWNER, Page
from hwsim.many_draws import Positions
from hwsim.memory.drawing import head_of, used_lines
from hwsim.memory.kinds.behaviour import Behaviour, Structure
from hwsim.memory.page_array import PageArray


def _plain(kernel: Kernel, page: Page, chance: Chance) -> None:
    """Not compound: the pages of an allocation that are not its first have count 0."""
    if page.pgoff % (1 << page.region.layout.order) == 0:
        page.get(OWNER)


def _reserved(kernel: Kernel, page: Page, chance: Chance) -> None:
    page.flags = pg.RESERVED
    _plain(kernel, page, chance)


def _slab(kernel: Kernel, page: Page, chance: Chance) -> None:
    """SLUB sets PG_slab on the first page only; the others are compound tails."""
    order = page.region.layout.order
    offset = page.pgoff % (1 << order)
    if offset:
        page.flags = pg.TAIL
        page.head = head_of(kernel, page, offset, chance, _slab)
        return
    page.flags = pg.SLAB | (pg.HEAD if order else 0)
    page.get(OWNER)


def _all_lines(page: Page) -> tuple[float, float]:
    """Pages with count 0 are in use, too."""
    return page.region.line_rates(page.pgoff)


def _plain_each(pages: PageArray, at: Positions) -> None:
    pages.use(at[pages.is_first(at)], 0)


def _reserved_each(pages: PageArray, at: Positions) -> None:
    _plain_each(pages, at)
    pages.flags[at] = pg.RESERVED


def _slab_each(pages: PageArray, at: Positions) -> None:
    """Tails count the references of their head."""
    pages.use(at, pg.TAIL)
    of_one = pages.fact("order", at) == 0
    pages.flags[at[pages.is_first(at)]] = pg.SLAB | pg.HEAD
    pages.flags[at[of_one]] = pg.SLAB


_BLOCKS = Behaviour(Structure(0), _plain, draw_each=_plain_each, kernel_access=_all_lines)
BEHAVIOURS = {
    "slab": Behaviour(Structure(pg.SLAB), _slab, draw_each=_slab_each, kernel_access=used_lines),
    "slab_multi": Behaviour(
        Structure(pg.SLAB | pg.HEAD, tail=pg.TAIL), _slab, draw_each=_slab_each, kernel_access=used_lines
    ),
    "page_table": Behaviour(Structure(0), _plain, draw_each=_plain_each, kernel_access=used_lines),
    "kernel_stack": _BLOCKS,
    "high_order": _BLOCKS,
    "reserved": Behaviour(
        Structure(pg.RESERVED), _reserved, draw_each=_reserved_each, kernel_access=used_lines
    ),
}
