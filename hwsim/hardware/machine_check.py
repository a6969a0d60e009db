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


class MachineCheck:
    """Serialises machine checks of one machine.

    Life of a check: :meth:`raise_srao` -> all CPUs stalled -> at the end of the rendezvous
    ``graded(find)``.  A check that comes while one is handled waits in its bank; a bank holds one
    record, so a further one overwrites it and is lost until the next sweep.
    """

    __slots__ = ("_busy_until_ns", "_engine", "_timeout_ns", "_waiting", "checks", "tolerant")

    def __init__(self, engine: Engine, timeout_ns: int, tolerant: int) -> None:
        self._engine = engine
        self._timeout_ns = timeout_ns
        self._busy_until_ns = -1
        self._waiting = False
        self.tolerant = tolerant
        self.checks = 0

    def raise_srao(
        self, rendezvous: Delay, u: float, done: Callable[[str], None], stall: Callable[[int], None]
    ) -> bool:
        """An SRAO find: stop the CPUs, then call ``done(graded | timed out | panic)``.

        ``stall(until_ns)`` tells the kernel how long its CPUs stand still.  False: the bank was
        already taken and the record is lost.
        """
        now = self._engine.now
        start = now
        if now < self._busy_until_ns:
            if self._waiting:
                return False
            self._waiting = True
            start = self._busy_until_ns
        self.checks += 1
        duration = rendezvous.draw(u)
        outcome = GRADED
        if duration > self._timeout_ns:
            duration = self._timeout_ns
            outcome = PANIC if self.tolerant < 1 else TIMED_OUT
        end = start + duration
        self._busy_until_ns = end
        stall(end)

        def finish(_event: Any) -> None:
            if start > now:
                self._waiting = False
            done(outcome)

        self._engine.at(end, MACHINE_CHECK, finish)
        return True
