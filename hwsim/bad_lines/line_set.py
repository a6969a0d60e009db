"""The latent lines of a wide DRAM fault as a set: which of them somebody meets first, by order statistics.

The lines of a bank are millions, and nothing happens to one of them until somebody meets it.  So the set
waits for the first: the scrubber's next visit to any of its pages is arithmetic over their sorted places, and
what chance brings to any of its lines comes at the sum of their rates, to each in proportion to its own.
These are bounds by the cell that the page is in (``memory/cells``).  The page that it comes to leaves the set
and becomes a :class:`BadLine`, is drawn as it was when the set began to wait, and goes the way of every bad
line (``hasten``).  What a page is and the exponential times of its race are independent of those of all
others, so this is the law of one object a line.

Sets of two faults may have a page in common, and a line: they wait for it with both their bounds, and whoever
meets it meets it for all of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from operator import add, mul

import numpy as np
import numpy.typing as npt

from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.bad_lines import BadLines
from hwsim.bad_lines.discovery import scrub_visit
from hwsim.bad_lines.fault_course import FaultCourse
from hwsim.bad_lines.hasten import hasten, hazard_per_ns
from hwsim.bad_lines.latent import Latent
from hwsim.bad_lines.ruined import Pages, Ruined, is_permanent, read_right_again
from hwsim.elementary import added, log1p
from hwsim.engine import KERNEL_ACCESS, SCRUB_VISIT, Agenda
from hwsim.kernel.mm_types import Region
from hwsim.kernel.writeback import Inode
from hwsim.many_draws import Positions
from hwsim.memory.advance_state import stored
from hwsim.memory.cells import Cells
from hwsim.memory.dirty_share import first_stored, storers
from hwsim.memory.race_each import most_per_ns
from hwsim.units import LINES_PER_PAGE

Due = tuple[int, int]  # time in ns, and its class among ties: a visit of the scrubber, or anything else

_FAR_NS = 1e18


class LineSet(Latent, Ruined):
    """Many lines of one fault.

    Life: made with it -> :meth:`go_bad`, and each boot anew: waits for whoever comes first -> a page leaves,
    the next one, ... -> over, when the fault is repaired, a boot or a new owner heals it, or its window ends
    (:meth:`good_again`), until the next.

    Arrays with one entry a page, in order of frames: ``_pfn``, ``_lines`` (a bit for each line of the page),
    ``_count`` of them, ``_place`` of the first in memory, ``_role`` (the frame whose place in its region it
    has in this boot), ``_cell``, ``_latent`` (still in the set).
    """

    __slots__ = (
        "_agenda", "_apart", "_around", "_bad_lines", "_cell", "_cells", "_chance", "_count", "_is_bad",
        "_is_shared", "_isolated", "_latent", "_lines", "_lines_left", "_met", "_of_cell", "_onset_ns",
        "_owners", "_pages_left", "_permanent", "_pfn", "_place", "_role", "_since_ns", "_to_line",
        "_to_page", "_waits_for_boot",
    )  # fmt: skip

    def __init__(
        self,
        bad_lines: BadLines,
        cells: Cells,
        owners: Sequence[FaultCourse],
        pages: Pages,
        chance: np.random.Generator,
    ) -> None:
        around = bad_lines.around
        self._bad_lines, self._around, self._cells, self._owners = bad_lines, around, cells, owners
        self._chance = chance
        self._permanent = is_permanent(owners)
        self._pfn, self._lines = pages
        self._count = np.bitwise_count(self._lines)
        first = np.bitwise_count((self._lines & -self._lines) - np.uint64(1))  # zeroes below the lowest bit
        self._place = self._pfn * LINES_PER_PAGE + first
        self._role = self._pfn
        self._latent = np.ones(self._pfn.size, dtype=np.bool_)
        self._is_shared = np.zeros(self._pfn.size, dtype=np.bool_)  # an older set has it, too
        self._agenda: Agenda[Due] = Agenda(around.engine, around.horizon_ns, self._happens)
        self._is_bad = self._waits_for_boot = False
        self._onset_ns = 0
        self._met: list[BadLine] = []  # in this window
        self._isolated: set[int] = set()  # pages that no window brings back
        self._apart: dict[int, tuple[Inode, int]] = {}  # cells of files: stores there are drawn here
        # One entry a cell: its pages, how many of them and of their lines are in the set, what can come to a
        # line and to a page at most, and since when they wait.
        self._of_cell: list[npt.NDArray[np.intp]] = []
        self._pages_left: list[int] = []
        self._lines_left: list[int] = []
        self._to_line: list[float] = []
        self._to_page: list[float] = []
        self._since_ns: list[int] = []
        bad_lines.sets.append(self)

    # -- the fault ------------------------------------------------------------------------------------

    def go_bad(self) -> int:
        self._is_bad, self._onset_ns, self._met = True, self._around.engine.now_ns, []
        lines = int(self._count[self._latent].sum())
        self._waits_for_boot = self._around.kernel.halted
        if not self._waits_for_boot:
            self._begin()
        return lines

    def good_again(self) -> bool:
        self._stop()
        for cell, (inode, pgoff) in self._apart.items():
            inode.look_after_many(pgoff, -self._own_pages(cell))
        self._apart = {}
        back = {line.pfn for line in read_right_again(self._bad_lines, self._met)}
        isolated = [line.pfn for line in self._met if line.pfn not in back]
        self._isolated.update(np.searchsorted(self._pfn, isolated).tolist())
        self._latent[:] = True
        self._latent[list(self._isolated)] = False
        return bool(self._latent.any())

    def stand_for(self, pfn: int) -> None:
        at = self._index(pfn)
        if at is not None:
            self._take_out(at)

    def most_at(self, pfn: int) -> float:
        at = self._index(pfn)
        return 0.0 if at is None else self._most(at)

    def roles_of(self, pfns: Positions) -> Positions:
        at = np.minimum(np.searchsorted(self._pfn, pfns), self._pfn.size - 1)
        there = (self._pfn[at] == pfns) & self._latent[at] & self._is_bad
        return np.where(there, self._role[at], -1)

    def _index(self, pfn: int) -> int | None:
        """Where the page stands, if it waits."""
        at = int(np.searchsorted(self._pfn, pfn))
        there = self._is_bad and at < self._pfn.size and self._pfn[at] == pfn and self._latent[at]
        return at if there and not self._waits_for_boot else None

    def _most(self, at: int) -> float:
        cell = int(self._cell[at])
        return int(self._count[at]) * self._to_line[cell] + self._to_page[cell]

    # -- boots and owners -----------------------------------------------------------------------------

    def halt(self) -> None:
        self._agenda.expect(None)

    def go_on(self) -> None:
        """A reboot heals what is transient, and uses each frame for something else."""
        spec = self._around.spec
        repaired = any(each.is_repaired for each in self._owners)
        if repaired or not (self._permanent or self._waits_for_boot):
            self._stop()
        if repaired:
            self._bad_lines.sets.remove(self)
        if not self._is_bad:
            return
        if spec.chance and not self._waits_for_boot:
            roles = self._chance.integers(0, spec.memory_pages, self._pfn.size)
            self._role = np.where(self._pfn < spec.memory_pages, roles, self._pfn)
        self._waits_for_boot = False
        self._begin()

    def revived(self, region: Region) -> None:
        """Frames that are filled at once are overwritten: what is transient is healed, and met by nobody."""
        if not self._is_bad or not region.layout.populate:
            return
        for cell in np.flatnonzero(self._cells.region == region.number).tolist():
            self._since_ns[cell] = self._around.engine.now_ns
            if not self._permanent:
                self._latent[self._of_cell[cell]] = False
                self._pages_left[cell] = self._lines_left[cell] = 0
        self._wait()

    def _stop(self) -> None:
        self._is_bad = False
        self._agenda.expect(None)

    # -- what comes first -----------------------------------------------------------------------------

    def _begin(self) -> None:
        """Wait from now on, in the boot that runs; what cannot wait in a set stands alone from the start."""
        cells, around, spec = self._cells, self._around, self._around.spec
        self._is_shared[:] = False
        for other in self._bad_lines.sets[: self._bad_lines.sets.index(self)]:
            roles = other.roles_of(self._pfn)
            self._is_shared |= roles >= 0
            self._role = np.where(roles >= 0, roles, self._role)
        number = len(cells.first_pfn)  # as that of a cell: memory that the kernel does not see
        self._cell = np.where(self._role < spec.memory_pages, cells.of(self._role), number).astype(np.int32)
        order = np.argsort(self._cell, kind="stable")
        ends = np.searchsorted(self._cell[order], np.arange(number + 2))
        self._of_cell = [order[first:end] for first, end in pairwise(ends.tolist())]
        counts = [self._count[pages[self._latent[pages]]] for pages in self._of_cell]
        self._pages_left = [each.size for each in counts]
        self._lines_left = [int(each.sum()) for each in counts]
        most = most_per_ns(cells, around.allocations_per_ns, permanent=self._permanent)
        self._to_line, self._to_page = [*most.to_line.tolist(), 0.0], [*most.to_page.tolist(), 0.0]
        self._since_ns = [around.engine.now_ns] * (number + 1)
        known = np.fromiter(around.by_pfn, np.int64)
        alone = np.append(cells.unsure | (cells.fact("evict_per_s") > 0.0), False)[self._cell]
        places = np.minimum(np.searchsorted(self._pfn, known), self._pfn.size - 1)
        alone[places[self._pfn[places] == known]] = True
        for at in np.flatnonzero(alone & self._latent).tolist():
            self._take_out(at)
        self._apart = {}
        for cell in np.flatnonzero(cells.has_inode & cells.stored_to).tolist():
            if self._pages_left[cell]:
                self._take_out_dirty(cell)
                self._set_apart(cell)
        self._wait()

    def _wait(self) -> None:
        """For the scrubber's next visit, and for what may come by chance."""
        around = self._around
        due: list[Due] = []
        if self._is_bad and not around.kernel.halted:
            now = around.engine.now_ns
            at = self._ahead(now)
            if at is not None:
                due.append((self._visit_ns(at, now), SCRUB_VISIT))
            *_, total = self._sums()
            if total > 0.0:
                wait_ns = min(-log1p(-self._chance.random()) / total, _FAR_NS)
                due.append((now + int(wait_ns) + 1, KERNEL_ACCESS))
        self._agenda.expect(min(due, default=None))

    def _happens(self, due: Due) -> None:
        if due[1] == SCRUB_VISIT:
            self._visit()
        else:
            self._come()
        self._wait()

    def _ahead(self, after_ns: int) -> int | None:
        """The page that the scrubber reads first after ``after_ns``, if anybody hears of that."""
        scrubber = self._around.scrubber
        if scrubber.signals == "none" or not scrubber.period_ns:
            return None
        ahead = int(np.searchsorted(self._place, scrubber.next_place(after_ns)))
        for first in (ahead, 0):
            rest = self._latent[first:]
            if rest.size and rest[at := int(rest.argmax())]:
                return first + at
        return None

    def _visit_ns(self, at: int, after_ns: int) -> int:
        pfn, line = divmod(int(self._place[at]), LINES_PER_PAGE)
        visit_ns = self._around.scrubber.next_visit_ns(pfn, line, after_ns)
        assert visit_ns is not None
        return visit_ns

    def _visit(self) -> None:
        """The scrubber reads the page, and further ones at the same time if it is that fast."""
        now = self._around.engine.now_ns
        while not self._around.kernel.halted:
            at = self._ahead(now - 1)
            if at is None or self._visit_ns(at, now - 1) != now:
                return
            scrub_visit(self._meet(at))

    def _sums(self) -> Iterator[float]:
        """What may come to the pages of the first cells at most, per ns, one cell more at a time."""
        of_lines, of_pages = (
            map(mul, self._lines_left, self._to_line),
            map(mul, self._pages_left, self._to_page),
        )
        return accumulate(map(add, of_lines, of_pages))

    def _come(self) -> None:
        """Something may come to a page, to each as likely as to it at most; what it is says whether so."""
        chance, sums = self._chance, list(self._sums())
        cell = bisect_right(sums, chance.random() * sums[-1])
        at = self._one_of(cell)
        pfn = int(self._pfn[at])
        most = added(each.most_at(pfn) for each in self._bad_lines.sets)
        line = self._meet(at)
        if chance.random() * most < hazard_per_ns(line):
            hasten(line)

    def _one_of(self, cell: int) -> int:
        """A page of the cell, in proportion to what may come to it at most."""
        chance, tries = self._chance, 0
        largest = LINES_PER_PAGE * self._to_line[cell] + self._to_page[cell]
        while True:
            pages = self._of_cell[cell]
            at = int(pages[int(chance.random() * pages.size)])
            if self._latent[at] and chance.random() * largest < self._most(at):
                return at
            tries += 1
            if tries % 1024 == 0:  # most have left
                self._of_cell[cell] = pages[self._latent[pages]]

    # -- a page leaves --------------------------------------------------------------------------------

    def _meet(self, at: int) -> BadLine:
        """Somebody meets the page: its lines leave all sets, the oldest first; the line that now stands."""
        pfn = int(self._pfn[at])
        for each in self._bad_lines.sets:
            each.stand_for(pfn)
        return self._around.by_pfn[pfn]

    def _take_out(self, at: int, since_ns: int | None = None) -> BadLine:
        """Its lines are errors of their own from now on; the first of them stands for the page."""
        pfn, role, cell, lines = (int(each[at]) for each in (self._pfn, self._role, self._cell, self._lines))
        self._latent[at] = False
        self._pages_left[cell] -= 1
        self._lines_left[cell] -= lines.bit_count()
        if cell in self._apart and not self._is_shared[at]:
            inode, pgoff = self._apart[cell]
            inode.look_after_many(pgoff, -1)
        if role != pfn:
            self._around.kernel.mem_map.moved[pfn] = role
        made = self._bad_lines.add_page(
            self._owners[0].source,
            pfn,
            [number for number in range(LINES_PER_PAGE) if lines >> number & 1],
            self._permanent,
            self._onset_ns,
            self._since_ns[cell] if since_ns is None else since_ns,
        )
        for each in made:
            each.faults, each.record.shown_with = tuple(self._owners), self._around.by_pfn[pfn].record
        self._met += made
        return made[0]

    def _take_out_dirty(self, cell: int) -> None:
        """Pages of a file that are dirty as the set begins to wait: their write-out has a clock."""
        now, pages = self._around.engine.now_ns, self._of_cell[cell]
        region, pgoff = self._begins_at(cell)
        first_pfn = region.layout.first_pfn
        those = storers(region, pgoff, now)
        first = first_stored(region, now)
        for at in pages[self._role[pages] == first_pfn + first].tolist() if first is not None else ():
            if self._latent[at] and not self._is_shared[at]:
                self._take_out(at)
        waiting = pages[self._latent[pages] & ~self._is_shared[pages]]
        have = [self._chance.random(waiting.size) < storer.share for storer in those]
        for nth in np.flatnonzero(np.logical_or.reduce(have)).tolist() if have else ():
            line = self._take_out(int(waiting[nth]), now - 1)  # clean, as nobody has stored since
            assert line.page is not None
            for storer, has in zip(those, have, strict=True):
                if has[nth]:
                    stored(line.page, storer.vma)
            line.draw_race()

    def _set_apart(self, cell: int) -> None:
        """What stores to pages of the set is drawn here, and not with all others of their inode."""
        region, pgoff = self._begins_at(cell)
        assert region.mapping is not None and region.mapping.host is not None
        self._apart[cell] = region.mapping.host, pgoff
        region.mapping.host.look_after_many(pgoff, self._own_pages(cell))

    def _own_pages(self, cell: int) -> int:
        pages = self._of_cell[cell]
        return int(np.count_nonzero(self._latent[pages] & ~self._is_shared[pages]))

    def _begins_at(self, cell: int) -> tuple[Region, int]:
        """The region of the cell, and the page offset of its first page."""
        cells = self._cells
        region = self._around.kernel.mem_map.regions[int(cells.region[cell])]
        return region, int(cells.first_pfn[cell] - cells.region_pfn[cell])
