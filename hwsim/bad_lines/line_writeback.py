"""A page with a bad line and the flusher: made dirty beside the line, and read by DMA when it is written.

While the line is latent the page stands apart from the other pages of its inode: its next store that leaves
the line alone is drawn by itself.  Which wake of the flusher writes it is known once the store has come.
"""

from __future__ import annotations

from hwsim.bad_lines import discovery
from hwsim.bad_lines.bad_line import BadLine, Candidate
from hwsim.bad_lines.looks import settle
from hwsim.bad_lines.states import LATENT
from hwsim.engine import KERNEL_ACCESS
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.page_cache import inode_of, set_page_dirty
from hwsim.kernel.mm_types import Page
from hwsim.record import Found


def look_after_no_more(line: BadLine) -> None:
    """The line is good again, or the page is dealt with: stores to it are drawn with all others."""
    inode = None if line.page is None else inode_of(line.page)
    if inode is not None and line.page is not None:
        inode.take_back(line.page.pgoff)


def dirties_inode(line: BadLine) -> None:
    """A store has overwritten the bad line: it makes the inode dirty, too."""
    if line.page is not None and inode_of(line.page) is not None:
        set_page_dirty(line.page, line.around.engine.now_ns)


def dirtied(time_ns: int) -> Candidate:
    """A store beside the bad line will make the page dirty."""
    return Candidate(time_ns, KERNEL_ACCESS, "dirtied", _dirtied, needs_cpu=False)


def _dirtied(line: BadLine) -> None:
    """It has: a write-out is to come."""
    settle(line)
    page = line.page
    if page is not None and page.flags & pg.DIRTY:
        candidate = written_back(page, line.around.engine.now_ns)
        if candidate is not None:
            line.times = [*line.times, candidate]
    line.arm()


def written_back(page: Page, now: int) -> Candidate | None:
    """The page, dirty and up to now, will be written."""
    inode = inode_of(page)
    time_ns = None if inode is None else inode.next_writeout_ns(now)
    return None if time_ns is None else written_at(time_ns)


def written_at(time_ns: int) -> Candidate:
    """A device will read the page, if it is dirty then."""
    return Candidate(time_ns, KERNEL_ACCESS, Found.DEVICE_READ, _written_out, needs_cpu=False)


def _written_out(line: BadLine) -> None:
    """The flusher, or a call by chance, writes the inode, unless somebody did before; the page if dirty."""
    page, now = line.page, line.around.engine.now_ns
    inode = None if page is None else inode_of(page)
    if page is None or inode is None:
        line.arm()
        return
    dirty = page.flags & pg.DIRTY or (page.dirtied_ns is not None and page.dirtied_ns <= now)
    settle(line)
    if dirty and inode.clean_at(now) == now:
        discovery.device_read(line)
    elif line.state == LATENT:
        line.draw_race()
    else:
        line.arm()
