"""A kernel that never was: one file, with in small what the next ones bring.

A mutex, return codes, a table of two rows with a handler of its own, messages and exits, a queue without a
ring, a table of machine checks, and early kill for the first process only.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from hwsim.engine import HANDLER_STEP, Bell, Sleeper, Steps
from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import ErrorState
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mce.do_machine_check import MODERN
from hwsim.kernel.mm.me_handlers import FAILED, RECOVERED, me_kernel
from hwsim.kernel.mm.memory_failure import (
    ToKill,
    collect_procs_anon,
    kill_procs_ao,
    note_unmapped,
    page_action,
)
from hwsim.kernel.mm.rmap import TTU_UNMAP, try_to_unmap
from hwsim.kernel.mm_types import HANDLER, Page, Task
from hwsim.kernel.ports import Halted
from hwsim.kernel.profile import KERN_ERR, EarlyKill, FailureQueue, Handled, Profile
from hwsim.kernel.versions import v5
from hwsim.rng import Slot

EBUSY, EHWPOISON = 16, 133


def me_give_up(kernel: Kernel, page: Page) -> int:
    """Nothing is dropped; what nobody maps any more is as good as gone."""
    kernel.printk("gave_up", page.pfn)
    return FAILED if page.ptes else RECOVERED


ERROR_STATES: tuple[ErrorState[Kernel], ...] = (
    ErrorState(1, pg.SLAB, 0, "toy slab", me_kernel),
    ErrorState(2, 0, 0, "toy page", me_give_up),
)


def memory_failure(kernel: Kernel, pfn: int, trapno: int, failure: MemoryFailure, ref: int = 0) -> Handled:
    """One page at a time: 0, or a negative errno."""
    waiting = kernel.private if isinstance(kernel.private, deque) else deque()
    kernel.private, bell = waiting, Bell(kernel.engine)
    waiting.append(bell)
    if len(waiting) > 1:
        kernel.reach("exit:waited")
        yield bell
    result = yield from _memory_failure(kernel, pfn, failure, ref)
    waiting.popleft()
    if waiting:
        waiting[0].ring(0, HANDLER_STEP)
    return result


def _memory_failure(kernel: Kernel, pfn: int, failure: MemoryFailure, ref: int) -> Handled:
    failure.started_ns = kernel.engine.now_ns
    page = kernel.pfn_to_page(pfn, failure)
    failure.kind, failure.region = page.region.kind, page.region.name
    if page.flags & pg.HWPOISON:
        failure.exit = "already"
        kernel.reach("exit:already")
        return -EHWPOISON
    page.flags |= pg.HWPOISON
    failure.poisoned_ns = kernel.engine.now_ns
    kernel.poisoned_pages += 1
    kernel.mce_bad_pages += 1
    page.get(HANDLER)
    yield from kernel.pause(kernel.times.page_handler.draw(failure.draw(Slot.HANDLER)))
    to_kill: list[ToKill] = []
    if page.flags & pg.ANON:
        collect_procs_anon(kernel, page, to_kill, failure, spare=True)
    entries = list(page.ptes.values())
    try_to_unmap(page, TTU_UNMAP)
    note_unmapped(kernel, page, entries, failure)
    kill_procs_ao(kernel, page, to_kill, failure)
    page_action(kernel, failure, page, kernel.error_state(page.flags), ref)
    return 0 if failure.outcome == RECOVERED else -EBUSY


class Fifo(Sleeper, FailureQueue):
    """Pages of one CPU for one work item, however many."""

    def __init__(self, kernel: Kernel, number: int) -> None:
        super().__init__(kernel.engine)
        self._kernel, self._number = kernel, number
        self._fifo: deque[MemoryFailure] = deque()

    def add(self, failure: MemoryFailure) -> bool:
        self._fifo.append(failure)
        return True

    def notify(self, failure: MemoryFailure, *, from_user: bool) -> None:
        self.wake_at(self.engine.now_ns + 1_000, HANDLER_STEP)

    def life(self) -> Steps:
        kernel = self._kernel
        try:
            while True:
                while self._fifo:
                    failure = self._fifo.popleft()
                    failure.context, failure.cpu = "fifo", self._number
                    yield from memory_failure(kernel, failure.pfn, 18, failure)
                    for watcher in kernel.handler_watchers:
                        watcher.done(failure)
                yield self.sleep()
        except Halted:
            return


def _is_first(kernel: Kernel, task: Task) -> bool:
    return task.number == 0


PROFILE: Profile[Kernel] = replace(
    v5.PROFILE,
    name="toy",
    source="tests/kernel/toy_kernel.py",
    released="2026-11-29",
    early_kill_default=1,
    error_states=ERROR_STATES,
    rows_met=range(1, 3),
    formats={**v5.FORMATS, "gave_up": (KERN_ERR, "toy %#x: gave up")},
    exits={
        "exit:already": "poisoned before [memory_failure]",
        "exit:waited": "another page was being handled [memory_failure]",
        "exit:table": "the table decided [page_action]",
        "unmap:done": "out of all page tables [try_to_unmap]",
    },
    told={"queue": "fifo", "locking": "mutex"},
    memory_failure=memory_failure,
    early_kill=EarlyKill(lambda _kernel: True, _is_first),
    meminfo="ToyPages: %d kB",
    machine_checks=MODERN._replace(name="toy", severities=MODERN.severities[1:]),
    queue=Fifo,
)
