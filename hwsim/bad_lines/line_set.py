"""The latent lines of a wide DRAM fault as a set: which of them somebody meets first, by order statistics.

The lines of a bank are millions, and nothing happens to one of them until somebody meets it.  So the set waits for
the first: the scrubber's next visit to any of its pages is arithmetic over their sorted addresses, and what chance
brings to any of its lines comes at the sum of the rates, to each in proportion to its own.  These are bounds by
the run of frames the page is in (``memory/runs``): the page that it comes to leaves the set and becomes a
:class:`BadLine`, is drawn as it was when the set began to wait, and then goes the way of every bad line
(``hasten``).  What it is and the exponential times of its race are independent of those of all others, so this
is the same law as one object a line.

Left out: pages that two sets would share stand in the first of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import mul

import numpy as np
import numpy.typing as npt

from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.bad_lines import BadLines
from hwsim.bad_lines.discovery import scrub_visit
from hwsim.bad_lines.fault_course import FaultCourse
from hwsim.bad_lines.hasten import hasten, hazard_per_ns
from hwsim.bad_lines.latent import Latent
from hwsim.bad_lines.ruined import Ruined, is_permanent, read_right_again
from hwsim.engine import KERNEL_ACCESS, SCRUB_VISIT, Agenda
from hwsim.kernel.mm_types import Region
from hwsim.memory.advance_state import stored
from hwsim.memory.dirty_share import first_stored, storers
from hwsim.memory.runs import Runs
from hwsim.units import LINES_PER_PAGE

Int64Array = npt.NDArray[np.int64]
Due = tuple[int, int]  # time in ns, and its class among ties, which says what it is


class LineSet(Latent, Ruined):
    """Life: made with its fault -> :meth:`go_bad`, and each boot anew: waits for whoever comes first -> a page leaves,
    and so on -> repaired, healed by a boot or an owner, or :meth:`good_again` until the next window.

    Arrays with one entry a page, ascending: ``_pfn``, ``_lines`` (a bit each of its 64), ``_latent`` (still in the
    set) and ``_run``, the number of its run of frames.
    """

    __slots__ = (
        "_agenda", "_around", "_bad_lines", "_chance", "_count", "_is_bad", "_isolated", "_latent", "_left", "_lines",
        "_met", "_most", "_of_run", "_onset_ns", "_owners", "_permanent", "_pfn", "_places", "_roles", "_run", "_runs",
        "_since_ns", "_waits_for_boot",
    )  # fmt: skip

    def __init__(
        self,
        bad_lines: BadLines,
        runs: Runs,
        owners: Sequence[FaultCourse],
        pages: tuple[Int64Array, npt.NDArray[np.uint64]],
        chance: np.random.Generator,
    ) -> None:
        around = bad_lines.around
        self._bad_lines, self._around, self._runs, self._owners = bad_lines, around, runs, owners
        self._chance = chance
        self._permanent = is_permanent(owners)
        self._pfn, self._lines = pages
        self._count = np.bitwise_count(self._lines)
        first = np.bitwise_count((self._lines & -self._lines) - np.uint64(1))  # trailing zeroes
        self._places = self._pfn * LINES_PER_PAGE + first
        self._roles = self._pfn  # the frame whose place each has in this boot
        self._latent = np.ones(self._pfn.size, dtype=np.bool_)
        self._agenda: Agenda[Due] = Agenda(around.engine, around.horizon_ns, self._happens)
        self._is_bad = self._waits_for_boot = False
        self._onset_ns = 0
        self._met: list[BadLine] = []  # in this window
        self._isolated: set[int] = set()  # pages that no window brings back
        # By run of frames: its pages, lines that nobody has met, what can come to each at most, and since when.
        self._of_run: list[npt.NDArray[np.intp]] = []
        self._left: list[int] = []
        self._most: list[float] = []
        self._since_ns: list[int] = []
        bad_lines.sets.append(self)

    # -- the fault --------------------------------------------------------------------------------------

    def go_bad(self) -> int:
        for other in self._bad_lines.sets:
            if other is not self:
                self._latent &= ~other.has_latent(self._pfn)
        self._is_bad, self._onset_ns, self._met = True, self._around.engine.now_ns, []
        self._waits_for_boot = self._around.kernel.halted
        if not self._waits_for_boot:
            self._begin()
        return int(self._count[self._latent].sum()) + len(self._met)

    def good_again(self) -> None:
        self._stop()
        back = {line.pfn for line in read_right_again(self._bad_lines, self._met)}
        isolated = [line.pfn for line in self._met if line.pfn not in back]
        self._isolated.update(np.searchsorted(self._pfn, isolated).tolist())
        self._latent[:] = True
        self._latent[list(self._isolated)] = False

    def has_latent(self, pfns: Int64Array) -> npt.NDArray[np.bool_]:
        at = np.minimum(np.searchsorted(self._pfn, pfns), self._pfn.size - 1)
        found: npt.NDArray[np.bool_] = (self._pfn[at] == pfns) & self._latent[at] & self._is_bad
        return found

    def stand_for(self, pfn: int) -> None:
        at = int(np.searchsorted(self._pfn, pfn))
        if self._is_bad and at < self._pfn.size and self._pfn[at] == pfn and self._latent[at]:
            self._take_out(at)

    # -- boots and owners -------------------------------------------------------------------------------

    def halt(self) -> None:
        self._agenda.expect(None)

    def go_on(self) -> None:
        """A reboot heals what is transient, and uses each frame for something else."""
        spec = self._around.spec
        if any(each.is_repaired for each in self._owners) or not (self._permanent or self._waits_for_boot):
            self._stop()
        if not self._is_bad:
            return
        if spec.chance and not self._waits_for_boot:
            roles = self._chance.integers(0, spec.memory_pages, self._pfn.size)
            self._roles = np.where(self._pfn < spec.memory_pages, roles, self._pfn)
        self._waits_for_boot = False
        self._begin()

    def revived(self, region: Region) -> None:
        """Frames that are filled at once are overwritten: what is transient is healed, and met by nobody."""
        if not self._is_bad or not region.layout.populate:
            return
        for run, each in enumerate(self._runs.all):
            if each.layout is region.layout:
                self._since_ns[run] = self._around.engine.now_ns
                if not self._permanent:
                    self._latent[self._of_run[run]] = False
                    self._left[run] = 0
        self._wait()

    def _stop(self) -> None:
        self._is_bad = False
        self._agenda.expect(None)

    # -- what comes first ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Wait from now on, in the boot that runs; pages that cannot wait in a set stand alone from the start."""
        runs, around = self._runs.all, self._around
        self._run = np.searchsorted(self._runs.firsts, self._roles, side="right").astype(np.int32) - 1
        order = np.argsort(self._run, kind="stable")
        ends = np.searchsorted(self._run[order], np.arange(len(runs) + 1))
        self._of_run = [order[first:end] for first, end in pairwise(ends.tolist())]
        self._left = [int(self._count[pages][self._latent[pages]].sum()) for pages in self._of_run]
        self._most = [run.most_per_ns + around.allocations_per_ns * run.can_be_free for run in runs]
        self._since_ns = [around.engine.now_ns] * len(runs)
        known = np.array(sorted(around.by_pfn), dtype=np.int64)
        alone = np.isin(self._pfn, known) if known.size else np.zeros(self._pfn.size, dtype=np.bool_)
        alone |= np.array([run.one_by_one for run in runs])[self._run]
        for at in np.flatnonzero(alone & self._latent).tolist():
            self._take_out(at)
        self._dirty_pages()
        self._wait()

    def _wait(self) -> None:
        """For the scrubber's next visit, or for what may come by chance."""
        around = self._around
        due: list[Due] = []
        if self._is_bad and not around.kernel.halted:
            now, total = around.engine.now_ns, sum(map(mul, self._left, self._most))
            at = self._ahead(now)
            visit = None if at is None else self._visit_ns(at, now)
            if visit is not None:
                due.append((visit, SCRUB_VISIT))
            if total > 0.0:
                wait_ns = min(float(self._chance.standard_exponential()) / total, 1e18)
                due.append((now + int(wait_ns) + 1, KERNEL_ACCESS))
        self._agenda.expect(min(due, default=None))

    def _happens(self, due: Due) -> None:
        if due[1] == SCRUB_VISIT:
            self._visit(due[0])
        else:
            self._come()
        self._wait()

    def _ahead(self, after_ns: int) -> int | None:
        """The page that the scrubber reads first after ``after_ns``, if anybody hears of that."""
        scrubber = self._around.scrubber
        if scrubber.signals == "none" or not scrubber.period_ns:
            return None
        ahead = int(np.searchsorted(self._places, scrubber.next_place(after_ns)))
        for first in (ahead, 0):
            rest = self._latent[first:]
            if rest.size and rest[at := int(rest.argmax())]:
                return first + at
        return None

    def _visit_ns(self, at: int, after_ns: int) -> int | None:
        pfn, line = divmod(int(self._places[at]), LINES_PER_PAGE)
        return self._around.scrubber.next_visit_ns(pfn, line, after_ns)

    def _visit(self, now_ns: int) -> None:
        """The scrubber reads the page, and further ones at the same time if it is that fast."""
        while not self._around.kernel.halted:
            at = self._ahead(now_ns - 1)
            if at is None or self._visit_ns(at, now_ns - 1) != now_ns:
                return
            scrub_visit(self._take_out(at))

    def _come(self) -> None:
        """Something may come to a line, to each as likely as to it at most: its page says whether it does."""
        chance = self._chance
        sums = list(accumulate(map(mul, self._left, self._most)))
        run = bisect_right(sums, chance.random() * sums[-1])
        at = self._one_of(run)
        most = int(self._count[at]) * self._most[run]
        line = self._take_out(at)
        if chance.random() * most < hazard_per_ns(line):
            hasten(line)

    def _one_of(self, run: int) -> int:
        """A page of the run, as likely as it has lines."""
        chance, tries = self._chance, 0
        while True:
            pages = self._of_run[run]
            at = int(pages[int(chance.random() * pages.size)])
            if self._latent[at] and chance.random() * LINES_PER_PAGE < self._count[at]:
                return at
            tries += 1
            if tries % 1024 == 0:  # most have left
                self._of_run[run] = pages[self._latent[pages]]

    # -- a page leaves --------------------------------------------------------------------------------------

    def _take_out(self, at: int, since_ns: int | None = None) -> BadLine:
        """Its lines are errors of their own from now on; the first of them stands for the page."""
        run, pfn, role, lines = (int(array[at]) for array in (self._run, self._pfn, self._roles, self._lines))
        self._latent[at] = False
        self._left[run] -= lines.bit_count()
        if role != pfn:
            self._around.kernel.mem_map.moved[pfn] = role
        made = self._bad_lines.add_page(
            self._owners[0].source,
            pfn,
            [number for number in range(LINES_PER_PAGE) if lines >> number & 1],
            self._permanent,
            self._onset_ns,
            self._since_ns[run] if since_ns is None else since_ns,
        )
        for each in made:
            each.faults, each.shown_with = tuple(self._owners), made[0]
        self._met += made
        return made[0]

    def _dirty_pages(self) -> None:
        """Pages of files that are dirty as the set begins to wait: their write-out has a clock."""
        now, mem_map = self._around.engine.now_ns, self._around.kernel.mem_map
        for run, (each, pages) in enumerate(zip(self._runs.all, self._of_run, strict=True)):
            if each.layout is None or not each.layout.is_file or not self._left[run]:
                continue
            region = mem_map.by_name[each.layout.name]
            first = first_stored(region, now)
            for at in pages[self._roles[pages] - each.layout.first_pfn == first].tolist() if first else ():
                self._take_out(at)
            those = storers(region, each.first_pfn - each.layout.first_pfn, now)
            waiting = pages[self._latent[pages]]
            have = [self._chance.random(waiting.size) < storer.share for storer in those]
            for nth in np.flatnonzero(np.logical_or.reduce(have)).tolist() if have else ():
                line = self._take_out(int(waiting[nth]), now - 1)  # clean, as nobody has stored since
                assert line.page is not None
                for storer, has in zip(those, have, strict=True):
                    if has[nth]:
                        stored(line.page, storer.vma)
                line.draw_race()
