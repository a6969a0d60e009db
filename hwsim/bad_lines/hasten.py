"""The race of a line that was latent in a set, and to which something may be coming now.

A set waits for as much as can come to its lines at most (``memory/race_each``).  Once it has come to a line,
the page is drawn, and with it how much truly comes: with that share the first of its candidates is now.
Which of them that is does not depend on when, and the others are as far behind it as they were: exponential
times have no memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.bad_lines import line_writeback
from hwsim.bad_lines.bad_line import BadLine, Candidate
from hwsim.bad_lines.race import candidates
from hwsim.elementary import added, exp
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.page_cache import inode_of
from hwsim.kernel.mm_types import Page
from hwsim.record import Found
from hwsim.rng import Slot

_BY_CLOCK = ("exit", Found.DEVICE_READ, "dirtied")


def hazard_per_ns(line: BadLine) -> float:
    """How often something comes to the line that no clock brings, its page being what it is."""
    page, now = line.page, line.around.engine.now_ns
    if page is None:
        return 0.0
    dirtied_ns = page.dirtied_ns
    waits = [each.time_ns - now - 1 for each in _by_chance(page, candidates(line, page, _mean))]
    page.dirtied_ns = dirtied_ns
    return added(1.0 / max(1, wait) for wait in waits)


def hasten(line: BadLine) -> None:
    """The first of its candidates comes now."""
    page = line.page
    assert page is not None
    times = _by_chance(page, line.times)
    early_ns = min(each.time_ns for each in times) - line.around.engine.now_ns - 1
    line.times = [each._replace(time_ns=each.time_ns - early_ns) for each in times]
    if page.dirtied_ns is not None:
        page.dirtied_ns -= early_ns
    line.arm()


def _mean(_slot: Slot) -> float:
    """The uniform of which an exponential time comes out as its mean."""
    return 1.0 - exp(-1.0)


def _by_chance(page: Page, times: Sequence[Candidate]) -> list[Candidate]:
    """Those with exponential times; a clean page of a file is made dirty before it is written."""
    found = [each for each in times if each.what not in _BY_CLOCK]
    if page.dirtied_ns is not None and not page.flags & pg.DIRTY and inode_of(page) is not None:
        found.append(line_writeback.dirtied(page.dirtied_ns))
    return found
