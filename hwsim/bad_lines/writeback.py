"""A page with a bad line and the flusher: made dirty beside the line, and read by DMA when it is written.

While the line is latent the page stands apart from the other pages of its inode: its next store that leaves
the line alone is drawn by itself.  Which wake of the flusher writes it is known once the store has come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.bad_lines import discovery
from hwsim.bad_lines.race import written_back
from hwsim.bad_lines.states import LATENT
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm_types import Page
from hwsim.kernel.page_cache import inode_of, set_page_dirty

if TYPE_CHECKING:
    from hwsim.bad_lines.bad_line import BadLine


def look_after(page: Page) -> None:
    """The page has a bad line."""
    inode = inode_of(page)
    if inode is not None:
        inode.look_after(page.pgoff)


def look_after_no_more(line: BadLine) -> None:
    """The line is good again, or the page is dealt with: stores to it are drawn with all others."""
    inode = None if line.page is None else inode_of(line.page)
    if inode is not None and line.page is not None:
        inode.take_back(line.page.pgoff)


def stored_to(line: BadLine) -> None:
    """A store has overwritten the bad line: it makes the inode dirty, too."""
    if line.page is not None and inode_of(line.page) is not None:
        set_page_dirty(line.page, line.around.engine.now_ns)


def dirtied(line: BadLine) -> None:
    """A store beside the bad line has made the page dirty: a write-out is to come."""
    line.settle()
    page = line.page
    if page is not None and page.flags & pg.DIRTY:
        candidate = written_back(page, line.around.engine.now_ns)
        if candidate is not None:
            line.times.append(candidate)
    line.arm()


def written_out(line: BadLine) -> None:
    """The flusher, or a call by chance, writes the inode, unless somebody did before; the page if dirty."""
    page, now = line.page, line.around.engine.now_ns
    inode = None if page is None else inode_of(page)
    if page is None or inode is None:
        line.arm()
        return
    dirty = page.flags & pg.DIRTY or (page.dirtied_ns is not None and page.dirtied_ns <= now)
    line.settle()
    if dirty and inode.clean_at(now) == now:
        discovery.device_read(line)
    elif line.state == LATENT:
        line.draw_race()
    else:
        line.arm()
