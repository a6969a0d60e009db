"""Looks at the page of a bad line: a first one for each owner, later ones for what has changed since."""

from __future__ import annotations

from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.states import CHECKING, LATENT
from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.mm.page_cache import inode_of
from hwsim.kernel.mm_types import Page
from hwsim.memory import advance_state
from hwsim.rng import Slot


def begin(line: BadLine) -> None:
    """Look at the page and start the race."""
    line.around.kernel.event("onset", error=line.error, pfn=line.pfn, line=line.number_in_page)
    look(line)
    line.draw_race()


def look(line: BadLine) -> None:
    """Find the page and join those that are told what becomes of its region."""
    around = line.around
    if not around.kernel.mem_map.pfn_valid(line.pfn):
        return
    since_ns, line.in_boot.since_ns = line.in_boot.since_ns, None
    chance = Chance(line.error, line.pfn, line.u, around.draws.extra, line.attempts, since_ns)
    line.page = page = around.kernel.pfn_to_page(line.pfn, chance)
    page.region.watched[line.pfn] = None
    inode = inode_of(page)
    if inode is not None:
        inode.look_after(page.pgoff)
    if line.record.boot < 0:
        line.record.name_owner(around.boot, page)


def settle(line: BadLine) -> None:
    """Bring the page's volatile state up to now, unless the handler has it already."""
    page, around = line.page, line.around
    if page is not None and page.mapping is not None and line.state in (LATENT, CHECKING):
        extra, error = around.draws.extra, line.error
        now, since, was = around.engine.now_ns, page.looked_ns, page.flags
        advance_state.settle(page, now, line.permanent, lambda k: extra(error, Slot.LATER_LOOK, k))
        if around.kernel.trace is not None and now > since:
            _tell_what_changed(line, page, since, was)


def _tell_what_changed(line: BadLine, page: Page, since_ns: int, was: int) -> None:
    """For the event log: what the flusher and the tasks have done to the page since the last look."""
    kernel, host = line.around.kernel, None if page.mapping is None else page.mapping.host
    cleaned = bool(was & pg.DIRTY) and host is not None and host.clean_ns > since_ns
    if cleaned and host is not None:
        kernel.event("written_back", pfn=page.pfn, at_ns=host.clean_ns)
    if page.flags & pg.DIRTY and (cleaned or not was & pg.DIRTY):
        kernel.event("dirtied", pfn=page.pfn)
