"""From machine check to process context: the per-CPU ring and the two who empty it.

arch/x86/kernel/cpu/mcheck/mce.c of 2.6.32: a ring of 16 slots of which 15 can be used, dropped
silently when full.  It is drained when the interrupted CPU returns to user space, in the context of
whatever task that is, and, as an insurance, by a work item on the CPU's shared workqueue.
"""

from __future__ import annotations

from collections import deque

from hwsim.engine import HANDLER_STEP, Sleeper, Steps
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.ports import Halted
from hwsim.kernel.profile import FailureQueue
from hwsim.record import Context
from hwsim.rng import Slot


def mce_notify_irq(kernel: Kernel) -> None:
    """Tell user space that something was logged.  printk limits how often the line is printed."""
    kernel.printk("logged")


class _Drainer(Sleeper):
    """What Cpu and Worker have in common: mce_process_work(), which empties one CPU's ring.

    It may block in memory_failure() without bound; then only the other one of the CPU takes entries out.
    """

    context = Context.NONE

    def __init__(
        self, kernel: Kernel, number: int, ring: deque[MemoryFailure], helper: Worker | None
    ) -> None:
        super().__init__(kernel.engine)
        self.kernel = kernel
        self.number = number
        self.ring = ring
        self._helper = helper

    def kick(self, delay_ns: int) -> None:
        """Empty the ring after ``delay_ns``, unless that is under way or about to be."""
        if self.wakes_ns is None:
            self.wake_at(self.engine.now_ns + delay_ns, HANDLER_STEP | self.number)

    def life(self) -> Steps:
        """memory_failure() for one entry after another."""
        kernel, ring, profile = self.kernel, self.ring, self.kernel.profile
        try:
            while True:
                if kernel.halted or kernel.stalled_until_ns > self.engine.now_ns:
                    yield from kernel.stalled()
                while ring:
                    failure = ring.popleft()
                    if ring and self._helper is not None:
                        self._helper.schedule_work(failure)
                    failure.context = self.context
                    failure.cpu = self.number
                    yield from profile.memory_failure(kernel, failure.pfn, profile.trapno, failure, 0)
                    for watcher in kernel.handler_watchers:
                        watcher.done(failure)
                yield self.sleep()
        except Halted:
            return


class Worker(_Drainer):
    """The shared workqueue of one CPU.

    Life: asleep -> :meth:`kick` queues the work item -> awake when it runs: memory_failure() for one entry
    after another -> asleep.
    """

    context = Context.WORKQUEUE

    def schedule_work(self, failure: MemoryFailure) -> None:
        """The work item that takes this page out of the ring runs some time from now."""
        self.kick(self.kernel.times.workqueue.draw(failure.draw(Slot.NOTIFY)))


class Cpu(_Drainer, FailureQueue):
    """One CPU: its ring of page frame numbers, and its way back to user space.

    Life: asleep -> :meth:`kick` when a machine check has interrupted user space -> awake on the way back:
    memory_failure() for one entry after another, with the worker asked to help if there are more -> asleep.
    """

    context = Context.RETURN_TO_USER

    def __init__(self, kernel: Kernel, number: int) -> None:
        ring: deque[MemoryFailure] = deque()
        self.worker = Worker(kernel, number, ring, None)
        self.slots = kernel.profile.ring_slots
        super().__init__(kernel, number, ring, self.worker)

    def tear_down(self) -> None:
        """The boot is over: nobody rings for the two any more."""
        self.ring.clear()
        self.worker.tear_down()
        super().tear_down()

    def add(self, failure: MemoryFailure) -> bool:
        """mce_ring_add(): queue a page; False if the ring is full, and nobody is told."""
        if len(self.ring) >= self.slots:
            return False
        self.ring.append(failure)
        return True

    def notify(self, failure: MemoryFailure, *, from_user: bool) -> None:
        """TIF_MCE_NOTIFY, where a way back to user space is near; else the work item."""
        if from_user and self.wakes_ns is None:
            self.kick(self.kernel.times.return_to_user.draw(failure.draw(Slot.NOTIFY)))
        else:
            self.worker.schedule_work(failure)
