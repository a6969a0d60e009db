"""From a machine check to somebody who will call memory_failure(): rendezvous, bank, ring, kick.

arch/x86/kernel/cpu/mcheck/mce.c of 2.6.32: do_machine_check() from the broadcast to its end, as far as a
find of one page goes; what a whole log of banks comes to is in :mod:`~hwsim.kernel.mce.do_machine_check`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hwsim.hardware.machine_check_interrupt import NEVER_PANIC, PANIC, TIMED_OUT, MachineCheckInterrupt
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mce.do_machine_check import ON_THIS_CPU
from hwsim.kernel.mce.ring import mce_notify_irq
from hwsim.kernel.profile import FailureQueue
from hwsim.rng import Slot


def as_platform_says(signals: str) -> str:
    """Recovery is on: a find is signalled as the platform signals it."""
    return signals


def always_fatal(_signals: str) -> str:
    """A platform without recovery: every uncorrected error is a fatal machine check."""
    return "fatal"


@dataclass(slots=True, eq=False)
class Delivery:
    """The machine checks of one boot.

    Life: made at boot -> a check is raised, the CPUs meet, the bank is read out -> the page stands in a ring
    and somebody is asked to empty it, or the find is lost, or the kernel panics -> :meth:`tear_down`.
    ``bank_is_taken(failure)`` says whether a corrected error waits in the bank.
    """

    _kernel: Kernel
    interrupt: MachineCheckInterrupt
    _bank_is_taken: Callable[[MemoryFailure], bool]
    _cpus: dict[int, FailureQueue] = field(default_factory=dict)  # made when first needed

    def raise_srao(self, failure: MemoryFailure, *, further: bool = False) -> bool:
        """Raise an SRAO machine check for a bad line; False if its bank was taken.

        ``further``: for another bad line of a page that is being reported; nothing is lost with it.
        """
        kernel = self._kernel
        kernel.event("machine_check", error=failure.error, pfn=failure.pfn)

        def done(outcome: str, overflowed: bool) -> None:
            if self._gave_up(failure, outcome):
                return
            mce_notify_irq(kernel)
            if overflowed or self._bank_is_taken(failure):
                kernel.reach("bank:overflow")
            elif self._queue(failure):
                return
            else:
                kernel.reach("ring:overflow")
            if not further:
                for watcher in kernel.handler_watchers:
                    watcher.lost(failure)

        u = failure.draw(Slot.RENDEZVOUS)
        return self.interrupt.raise_srao(kernel.times.rendezvous, u, done, self._stall)

    def raise_fatal(self, failure: MemoryFailure) -> None:
        """Raise a machine check of panic severity: the CPUs meet, and none of them goes on.

        mce_reign() panics for all of them; if they did not meet, do_machine_check() for its own.  With
        tolerant 3 the bad data is used, and the machine goes on.
        """
        kernel = self._kernel

        def done(outcome: str, _overflowed: bool) -> None:
            if self._gave_up(failure, outcome):
                return
            if self.interrupt.tolerant < NEVER_PANIC:
                met = outcome != TIMED_OUT
                fatal = kernel.profile.machine_checks.fatal
                kernel.panic(fatal if met else ON_THIS_CPU, failure, "")
                return
            mce_notify_irq(kernel)
            for watcher in kernel.handler_watchers:
                watcher.survived(failure)

        u = failure.draw(Slot.RENDEZVOUS)
        self.interrupt.raise_fatal(kernel.times.rendezvous, u, done, self._stall)

    def notified_user(self, failure: MemoryFailure) -> bool:
        """Whether the check interrupts user space, so that the ring is drained on the way back."""
        return failure.draw(Slot.CONTEXT) < self._kernel.spec.user_share

    def tear_down(self) -> None:
        """The boot is over: nobody meets, and no ring is emptied any more."""
        self.interrupt.tear_down()
        for cpu in self._cpus.values():
            cpu.tear_down()

    def _stall(self, until_ns: int) -> None:
        self._kernel.stalled_until_ns = until_ns

    def _gave_up(self, failure: MemoryFailure, outcome: str) -> bool:
        """Whether the end of a rendezvous is the end of the kernel, or comes after it."""
        kernel = self._kernel
        if kernel.halted:
            return True
        if outcome == PANIC:
            kernel.panic(kernel.profile.machine_checks.timeout, failure, "")
            return True
        if outcome == TIMED_OUT:
            kernel.reach("rendezvous:timeout")
        return False

    def _queue(self, failure: MemoryFailure) -> bool:
        """The end of do_machine_check(): into the CPU's ring, and somebody is asked to empty it."""
        kernel = self._kernel
        number = int(failure.draw(Slot.CPU) * kernel.spec.cpus)
        cpu = self._cpus.get(number)
        if cpu is None:
            cpu = self._cpus[number] = kernel.profile.queue(kernel, number)
        if not cpu.add(failure):
            return False
        for watcher in kernel.handler_watchers:
            watcher.queued(failure)
        cpu.notify(failure, from_user=self.notified_user(failure))
        return True
