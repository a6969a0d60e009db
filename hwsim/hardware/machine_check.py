"""The machine-check exception: broadcast, rendezvous, and what the platform does with a find.

arch/x86/kernel/cpu/mcheck/mce.c of 2.6.32: every CPU stops; they meet within one second or, with
tolerant 0, panic; the banks are scanned one CPU at a time, so a shared bank is seen once.  A broadcast
stops all CPUs by arithmetic (a stalled-until time), not by one event per CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hwsim.engine import MACHINE_CHECK, Engine
from hwsim.spec import Delay

# What became of a check.
GRADED, TIMED_OUT, PANIC = "graded", "timed out", "panic"

NEVER_PANIC = 3  # the value of tolerant from which bad data is simply used

Done = Callable[[str, bool], None]  # what became of it, and whether the bank had overflowed
Stall = Callable[[int], None]


class MachineCheck:
    """Serialises machine checks of one machine.

    Life of a check: :meth:`raise_srao` or :meth:`raise_fatal` -> all CPUs stalled -> at the end of the
    rendezvous ``done(outcome, overflowed)``; one that comes while another is handled waits for its end.
    The memory controller's bank holds one record until it is read out there: a further find sets its
    overflow bit, mce_severity() grades it "action optional with lost events", and neither page is queued.

    ``cpu_missing`` is set by the first timeout that is tolerated and stays; a later panic says so.
    """

    __slots__ = (
        "_busy_until_ns",
        "_engine",
        "_overflowed",
        "_timeout_ns",
        "_unread",
        "cpu_missing",
        "tolerant",
    )

    def __init__(self, engine: Engine, timeout_ns: int, tolerant: int) -> None:
        self._engine = engine
        self._timeout_ns = timeout_ns
        self._busy_until_ns = -1
        self._unread = False
        self._overflowed = False
        self.tolerant = tolerant
        self.cpu_missing = False

    def raise_srao(self, rendezvous: Delay, u: float, done: Done, stall: Stall) -> bool:
        """An SRAO find: stop the CPUs, then call ``done(graded | timed out | panic, overflowed)``.

        ``stall(until_ns)`` tells the kernel how long its CPUs stand still.  False: the bank was not read
        out yet, so that this find is lost, and with it the one whose record it spoils.
        """
        if self._unread:
            self._overflowed = True
            return False
        self._unread = True

        def read_out(outcome: str, _overflowed: bool) -> None:
            overflowed = self._overflowed
            self._unread = self._overflowed = False
            done(outcome, overflowed)

        self._raise(rendezvous, u, read_out, stall)
        return True

    def raise_fatal(self, rendezvous: Delay, u: float, done: Done, stall: Stall) -> None:
        """Bad data was consumed, or the platform gives up: ``done(graded | timed out | panic, False)``."""
        self._raise(rendezvous, u, done, stall)

    def duration_ns(self, rendezvous: Delay, u: float) -> int:
        """How long the CPUs stand still for a check."""
        return min(rendezvous.draw(u), self._timeout_ns)

    def _raise(self, rendezvous: Delay, u: float, done: Done, stall: Stall) -> None:
        timed_out = rendezvous.draw(u) > self._timeout_ns
        end = max(self._engine.now_ns, self._busy_until_ns) + self.duration_ns(rendezvous, u)
        self._busy_until_ns = end
        stall(end)

        def finish(_event: Any) -> None:
            if not timed_out:
                done(GRADED, False)
            elif self.tolerant < 1:
                done(PANIC, False)
            else:
                self.cpu_missing = True
                done(TIMED_OUT, False)

        self._engine.at(end, MACHINE_CHECK, finish)
