"""Touches of the entries that lead to a poisoned page: when they come, and what they come to.

After unmapping any touch of the *page* counts.  The touches of a task are a Poisson stream that starts
at the detection and is the same under every policy, so the kill that early_kill = 1 brings forward and
the kill suffered under 0 are the same touch, to the nanosecond.
"""

from __future__ import annotations

from math import log1p
from typing import TYPE_CHECKING

from hwsim.engine import TASK_ACCESS
from hwsim.kernel.fault import KILLED_AR, do_page_fault
from hwsim.kernel.signals import Signal
from hwsim.kernel.struct_page import Pte
from hwsim.kernel.task_struct import Vma
from hwsim.rng import Slot

if TYPE_CHECKING:
    from hwsim.page_story import PageStory
    from hwsim.race import Candidate

_TRIES = 64  # touches looked at between detection and now, before a fresh draw (exponential all the same)


class LateTouches:
    """The touches to come, one for each entry that leads to the poison.

    Life of one: :meth:`expect` -> :meth:`happens` (late kill), or :meth:`forget`, :meth:`remapped`,
    :meth:`drop_the_dead`.  A handler that returns to the same access comes back through :meth:`again`.
    """

    __slots__ = ("_loops", "_story", "candidates")

    def __init__(self, story: PageStory) -> None:
        self._story = story
        self._loops = 0
        self.candidates: list[Candidate] = []

    def expect(self, pte: Pte, anchor_ns: int) -> None:
        """Await the task's next touch of this entry, if it comes before the task ends and the run does."""
        machine = self._story.machine
        time = self.time(pte.vma, anchor_ns)
        last = min(machine.horizon_ns, machine.next_exit_ns(pte.vma.task.behaviour))
        if time is not None and time < last:
            self.candidates.append((time, TASK_ACCESS | pte.vma.task.number, "touch", pte))

    def time(self, vma: Vma, anchor_ns: int) -> int | None:
        """When the task next touches the page, after now, in ns: None if never."""
        story = self._story
        load, store = vma.region.touch_rates(story.page.pgoff if story.page else 0)
        rate = load + store
        if rate <= 0.0:
            return None
        extra, error, now = story.machine.draws.extra, story.error, story.machine.engine.now
        time = float(anchor_ns)
        base = vma.task.pid << 28 | (vma.number & 63) << 20
        for k in range(_TRIES):
            time -= log1p(-extra(error, Slot.TOUCH, base + k)) / rate
            if time > now:
                return int(time) + 1
        return now + int(-log1p(-extra(error, Slot.TOUCH, base + _TRIES)) / rate) + 1

    def happens(self, pte: Pte) -> None:
        """A task touches the entry that replaced the page."""
        story = self._story
        self._remove(pte)
        if pte.vma.alive and story.report is not None:
            kernel = story.machine.kernel
            kernel.event("touch", task=pte.vma.task.name, pfn=story.pfn)
            if do_page_fault(kernel, pte.vma, pte, story.report) != KILLED_AR:
                pte.vma.ptes.pop(pte.page.pgoff, None)
        story.arm()

    def again(self, signal: Signal, bound: int) -> None:
        """A handler returned to the access that faulted: it repeats, for ever in the end."""
        story, vma = self._story, signal.vma
        assert vma is not None and story.page is not None
        pte = vma.ptes.get(story.page.pgoff)
        self._loops += 1
        if pte is None or story.report is None:
            return
        if self._loops >= bound:
            signal.result = "looping"
            return
        do_page_fault(story.machine.kernel, vma, pte, story.report)

    def forget(self, pte: Pte) -> None:
        """A script has touched the entry: the touch that was drawn for it is not needed any more."""
        self._remove(pte)
        self._story.arm()

    def remapped(self, vma: Vma) -> None:
        """A handler dropped the page and mapped a fresh one there."""
        if self._story.page is not None:
            vma.ptes.pop(self._story.page.pgoff, None)
        self.candidates = [each for each in self.candidates if each[3].vma is not vma]
        self._story.arm()

    def drop_the_dead(self) -> None:
        """Tasks that are gone touch nothing."""
        if self.candidates:
            self.candidates = [each for each in self.candidates if each[3].vma.alive]

    def clear(self) -> None:
        """A new boot: no entry is left."""
        self.candidates = []
        self._loops = 0

    def _remove(self, pte: Pte) -> None:
        self.candidates = [each for each in self.candidates if each[3] is not pte]
