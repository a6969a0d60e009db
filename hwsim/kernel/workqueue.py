"""From machine check to process context: the per-CPU ring and the two ways it is drained.

arch/x86/kernel/cpu/mcheck/mce.c of 2.6.32: a ring of 16 slots of which 15 can be used, dropped
silently when full.  It is drained when the interrupted CPU returns to user space, in the context of
whatever task that is, and, as an insurance, by a work item on the CPU's shared workqueue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from hwsim.engine import HANDLER_STEP, Bell
from hwsim.kernel.memory_failure import Report, memory_failure
from hwsim.kernel.panic import Halted

if TYPE_CHECKING:
    from hwsim.kernel.system import Kernel


def mce_notify_irq(kernel: Kernel) -> None:
    """Tell user space that something was logged.  printk limits how often the line is printed."""
    kernel.printk("logged")


class Drainer:
    """A SimPy process that empties one CPU's ring; asleep unless there is something in it.

    Life: asleep -> :meth:`kick` -> awake after a delay, calls memory_failure() for one entry after
    another -> asleep.  It may block in memory_failure() without bound; then only the other drainer
    of the CPU takes entries out.
    """

    __slots__ = ("bell", "busy", "cpu", "kernel", "name", "other", "ring", "started")

    def __init__(self, kernel: Kernel, cpu: int, ring: deque[Report], name: str) -> None:
        self.kernel = kernel
        self.cpu = cpu
        self.ring = ring
        self.name = name
        self.busy = False
        self.started = False
        self.bell = Bell(kernel.engine)
        self.other: Drainer | None = None

    def kick(self, delay_ns: int) -> None:
        """Wake up after ``delay_ns`` unless already awake."""
        if self.busy:
            return
        self.busy = True
        if not self.started:
            self.started = True
            self.kernel.engine.process(self._run())
        self.bell.ring(delay_ns, HANDLER_STEP | self.cpu)

    def _run(self) -> Generator[Any, Any, None]:
        kernel, ring = self.kernel, self.ring
        try:
            while True:
                yield self.bell
                if kernel.halted or kernel.stalled_until_ns > kernel.engine.now_ns:
                    yield from kernel.stalled()
                while ring:
                    report = ring.popleft()
                    if ring and self.other is not None:
                        self.other.kick(kernel.workqueue_delay(report))
                    report.context = self.name
                    report.cpu = self.cpu
                    yield from memory_failure(kernel, report.pfn, kernel.profile.trapno, report)
                    kernel.reported(report)
                self.bell = Bell(kernel.engine)
                self.busy = False
        except Halted:
            return


class Cpu:
    """One CPU: its ring of page frame numbers and its two drainers."""

    __slots__ = ("number", "ring", "slots", "user", "worker")

    def __init__(self, kernel: Kernel, number: int) -> None:
        self.number = number
        self.ring: deque[Report] = deque()
        self.slots = kernel.profile.ring_slots
        self.user = Drainer(kernel, number, self.ring, "return_to_user")
        self.worker = Drainer(kernel, number, self.ring, "workqueue")
        self.user.other = self.worker

    def tear_down(self) -> None:
        """The boot is over: nobody rings for the drainers any more."""
        self.ring.clear()
        for drainer in (self.user, self.worker):
            if drainer.bell.callbacks:
                drainer.bell.callbacks.clear()

    def mce_ring_add(self, report: Report) -> bool:
        """Queue a page; False if the ring is full, and nobody is told."""
        if len(self.ring) >= self.slots:
            return False
        self.ring.append(report)
        return True
