"""Touches of the entries that lead to a poisoned page: when they come, and what they come to.

After unmapping any touch of the *page* counts.  The touches of a task are a Poisson stream that starts
at the detection and is the same under every policy, so the kill that early_kill = 1 brings forward and
the kill suffered under 0 are the same touch, to the nanosecond.
"""

from __future__ import annotations

from math import log1p
from typing import TYPE_CHECKING

from hwsim.engine import KERNEL_ACCESS, TASK_ACCESS
from hwsim.kernel.fault import FATAL, do_page_fault, is_fatal
from hwsim.kernel.mm_types import NONE, Pte, Signal, Vma
from hwsim.kernel.signals import BUS_MCEERR_AO, LOOP_BOUND
from hwsim.kernel.swap import has_no_contents
from hwsim.rng import Slot

if TYPE_CHECKING:
    from hwsim.bad_lines.bad_line import BadLine
    from hwsim.bad_lines.race import Candidate
    from hwsim.kernel.failure import MemoryFailure

_SPAN = 16  # expected touches in a span of the stream


class LateTouches:
    """The touches to come, one for each entry that leads to the poison.

    Life of one: :meth:`expect` -> :meth:`happens` (late kill), or :meth:`forget`, :meth:`remapped`,
    :meth:`drop_the_dead`.  A handler that returns to the same access comes back through :meth:`again`.
    """

    __slots__ = ("_gone", "_line", "_loops", "_remapped", "_seen", "_touched", "candidates")

    def __init__(self, line: BadLine) -> None:
        self._line = line
        self._loops = 0
        self._seen: dict[int, list[Vma]] | None = None  # made with the first touch: most have none
        self._gone: dict[int, int] | None = None  # how many mappings of earlier boots stood in a place
        self._touched: list[Pte] = []
        self._remapped: list[Vma] = []
        self.candidates: list[Candidate] = []

    def expect(self, pte: Pte, anchor_ns: int) -> None:
        """Await the task's next touch of this entry, if it comes before the task ends and the run does."""
        around = self._line.around
        time = self.time(pte.vma, anchor_ns)
        last = min(around.horizon_ns, pte.vma.task.user.next_exit_ns())
        if time is not None and time < last:
            self.candidates.append((time, TASK_ACCESS | pte.vma.task.number, "touch", pte))

    def expect_sharers(self, anchor_ns: int) -> None:
        """Shared memory that has lost its contents is SIGBUS for every task that maps it, now or later."""
        page = self._line.page
        mapping = page.region.mapping if page is not None else None
        if page is None or mapping is None or not has_no_contents(mapping, page):
            return
        for vma in mapping.vmas:
            if not vma.covers(page.pgoff) or vma in self._remapped:
                continue
            pte = vma.ptes.get(page.pgoff)
            if pte is None:
                pte = vma.ptes[page.pgoff] = Pte(vma, page)
                pte.kind = NONE
            if is_fatal(pte) and not self.awaits(pte):
                self.expect(pte, max(anchor_ns, vma.since_ns))
        self._line.arm()

    def time(self, vma: Vma, anchor_ns: int) -> int | None:
        """When the task next touches the page, after now, in ns: None if never."""
        line = self._line
        load, store = vma.region.touch_rates(line.page.pgoff if line.page else 0)
        rate = load + store
        if rate <= 0.0:
            return None
        extra, error, now = line.around.draws.extra, line.error, line.around.engine.now_ns
        # The stream is cut into spans of _SPAN expected touches, each with draws of its own: so a late
        # look need not walk through all touches since the detection, and finds the same ones.
        span = _SPAN / rate
        number = int(max(0, now - anchor_ns) / span)
        key = self._turn(vma) << 40 | vma.number << 16
        while True:
            time, end = anchor_ns + number * span, anchor_ns + (number + 1) * span
            for k in range(1 << 16):
                time -= log1p(-extra(error, Slot.TOUCH | number << 8, key + k)) / rate
                if time >= end:
                    break
                if time > now:
                    return int(time) + 1
            number += 1

    def _turn(self, vma: Vma) -> int:
        """Which of the successive mappings in this place it is; no pid, as pids follow the policy."""
        if self._seen is None:
            self._seen = {}
        seen = self._seen.setdefault(vma.number, [])
        if vma not in seen:
            seen.append(vma)
        return seen.index(vma) + (self._gone.get(vma.number, 0) if self._gone is not None else 0)

    def awaits(self, pte: Pte) -> bool:
        """Whether a touch of this entry is drawn, or has come: who waits for SIGBUS touches nothing."""
        return pte in self._touched or any(each[3] is pte for each in self.candidates)

    def happens(self, pte: Pte) -> None:
        """A task touches the entry that replaced the page; nothing by chance while its handler runs."""
        line, task = self._line, pte.vma.task
        self._remove(pte)
        if task.handler_ends_ns > line.around.engine.now_ns:
            self.candidates.append((task.handler_ends_ns, TASK_ACCESS | task.number, "touch", pte))
            line.arm()
            return
        self._touched.append(pte)
        if pte.vma.alive and line.report is not None:
            if self._touch(pte, line.report) not in FATAL:
                pte.vma.ptes.pop(pte.page.pgoff, None)
        line.arm()

    def unlocked(self, vma: Vma) -> None:
        """A store that has waited for the page lock is made again, now or when its task's handler returns."""
        page, task = self._line.page, vma.task
        pte = vma.ptes.get(page.pgoff) if page is not None and vma.alive else None
        if pte is None or not is_fatal(pte):
            return
        self._remove(pte)
        if task.pending is not None and not task.blocked:  # signals come before user space goes on
            self._repeats_after(task.pending, pte)
            return
        now = self._line.around.engine.now_ns
        self.candidates.append((now, TASK_ACCESS | task.number, "touch", pte))

    def expect_truncation(self, rate_per_ns: float) -> None:
        """The file will be cut, by chance, and the entries dropped with the page that they stand for."""
        line, now = self._line, self._line.around.engine.now_ns
        u = line.around.draws.extra(line.error, Slot.TRUNCATED, line.attempts)
        self.candidates.append((now + int(-log1p(-u) / rate_per_ns) + 1, KERNEL_ACCESS, "truncated", None))

    def _repeats_after(self, signal: Signal, pte: Pte) -> None:
        signal.again = lambda: self.again(signal)
        self._touched.append(pte)

    def _touch(self, pte: Pte, report: MemoryFailure) -> str:
        kernel, task = self._line.around.kernel, pte.vma.task
        kernel.event("touch", task=task.name, pfn=self._line.pfn)
        result = do_page_fault(kernel, pte.vma, pte, report)
        if result in FATAL and task.pending is not None and task.pending.code == BUS_MCEERR_AO:
            self._repeats_after(task.pending, pte)  # the new signal has merged into that one
        return result

    def by_handler(self, signal: Signal) -> bool:
        """A handler touches the page that it is told about; whether that is fatal."""
        pte = self._entry(signal)
        if pte is None:
            return False
        self._remove(pte)
        self._touched.append(pte)
        result = self._touch(pte, signal.failure)
        self._line.arm()
        return result in FATAL

    def again(self, signal: Signal) -> None:
        """A handler returned to the access that faulted: it repeats, for ever in the end."""
        pte = self._entry(signal)
        self._loops += 1
        if pte is None:
            return
        if self._loops >= LOOP_BOUND:
            signal.result = "looping"
            return
        do_page_fault(self._line.around.kernel, pte.vma, pte, signal.failure)

    def _entry(self, signal: Signal) -> Pte | None:
        """What the signal's mapping has in place of the page."""
        page, vma = self._line.page, signal.vma
        return vma.ptes.get(page.pgoff) if page is not None and vma is not None else None

    def forget(self, pte: Pte) -> None:
        """A script has touched the entry: the touch that was drawn for it is not needed any more."""
        self._remove(pte)
        self._line.arm()

    def remapped(self, vma: Vma) -> None:
        """A handler mapped a fresh page there: nobody will touch this one through the mapping."""
        self._remapped.append(vma)
        self.candidates = [each for each in self.candidates if each[3] is None or each[3].vma is not vma]
        self._line.arm()

    def drop_the_dead(self) -> None:
        """Tasks that are gone touch nothing, and an entry that was dropped leads nowhere."""
        if self.candidates:
            self.candidates = [each for each in self.candidates if each[3] is None or _still_stands(each[3])]

    def clear(self) -> None:
        """A boot is over: no entry is left."""
        if self._seen:
            gone = self._gone = self._gone or {}
            for place, mappings in self._seen.items():
                gone[place] = gone.get(place, 0) + len(mappings)
        self._seen = None
        self.candidates = []
        self._touched = []
        self._remapped = []
        self._loops = 0

    def _remove(self, pte: Pte) -> None:
        self.candidates = [each for each in self.candidates if each[3] is not pte]


def _still_stands(pte: Pte) -> bool:
    return pte.vma.alive and pte.vma.ptes.get(pte.page.pgoff) is pte
