"""The machine-check exception: broadcast, rendezvous, and the bank that holds a find until then.

arch/x86/kernel/cpu/mcheck/mce.c of 2.6.32: every CPU stops; they meet within one second or, with
tolerant 0, panic; the banks are scanned one CPU at a time, so a shared bank is seen once.  A broadcast
stops all CPUs by arithmetic (a stalled-until time), not by one event per CPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from hwsim.engine import MACHINE_CHECK, Engine, Sleeper, Steps
from hwsim.spec import Delay

# What became of a check.
MET, TIMED_OUT, PANIC = "met", "timed out", "panic"

NEVER_PANIC = 3  # the value of tolerant from which bad data is simply used

Done = Callable[[str, bool], None]  # what became of it, and whether the bank had overflowed
Stall = Callable[[int], None]


class _Check(NamedTuple):
    """A machine check under way: when its CPUs have met, or have waited long enough."""

    end_ns: int
    timed_out: bool
    is_srao: bool
    done: Done


class MachineCheckInterrupt(Sleeper):
    """All CPUs stop, they meet, the banks are read out: the machine checks of one boot, one after another.

    Life: asleep -> :meth:`raise_srao` or :meth:`raise_fatal`: all CPUs stand still -> awake at the end of
    the rendezvous: reads the bank out, calls ``done(outcome, overflowed)`` of who raised it -> goes
    on with the check that came meanwhile, or to sleep.  It wakes at the end only, as nobody sees the begin.

    The memory controller's bank holds one record until it is read out: a further find sets its overflow bit,
    mce_severity() grades it "action optional with lost events", and neither page is queued.
    ``cpu_missing`` is set by the first timeout that is tolerated and stays; a later panic says so.
    """

    def __init__(self, engine: Engine, timeout_ns: int, tolerant: int) -> None:
        super().__init__(engine)
        self._timeout_ns = timeout_ns
        self._pending: deque[_Check] = deque()
        self._unread = False
        self._overflowed = False
        self.tolerant = tolerant
        self.cpu_missing = False

    def raise_srao(self, rendezvous: Delay, u: float, done: Done, stall: Stall) -> bool:
        """An SRAO find: stop the CPUs, then call ``done(met | timed out | panic, overflowed)``.

        ``stall(until_ns)`` tells the kernel how long its CPUs stand still.  False: the bank was not read
        out yet, so that this find is lost, and with it the one whose record it spoils.
        """
        if self._unread:
            self._overflowed = True
            return False
        self._unread = True
        self._raise(rendezvous, u, done, stall, is_srao=True)
        return True

    def raise_fatal(self, rendezvous: Delay, u: float, done: Done, stall: Stall) -> None:
        """Bad data was consumed, or the platform gives up: ``done(met | timed out | panic, False)``."""
        self._raise(rendezvous, u, done, stall, is_srao=False)

    def duration_ns(self, rendezvous: Delay, u: float) -> int:
        """How long the CPUs stand still for a check."""
        return min(rendezvous.draw(u), self._timeout_ns)

    def life(self) -> Steps:
        """The CPUs of the first check have met; then those of the next."""
        pending = self._pending
        while True:
            check = pending.popleft()
            outcome, overflowed = MET, False
            if check.timed_out:
                outcome = PANIC if self.tolerant < 1 else TIMED_OUT
                self.cpu_missing = self.cpu_missing or outcome == TIMED_OUT
            if check.is_srao:
                overflowed, self._unread, self._overflowed = self._overflowed, False, False
            check.done(outcome, overflowed)
            yield self.sleep_until(pending[0].end_ns, MACHINE_CHECK) if pending else self.sleep()

    def tear_down(self) -> None:
        """The boot is over: who raised a check hears no more of it."""
        self._pending.clear()
        super().tear_down()

    def _raise(self, rendezvous: Delay, u: float, done: Done, stall: Stall, *, is_srao: bool) -> None:
        needed_ns = rendezvous.draw(u)
        begin_ns = self._pending[-1].end_ns if self._pending else self.engine.now_ns
        end_ns = begin_ns + min(needed_ns, self._timeout_ns)
        stall(end_ns)
        self._pending.append(_Check(end_ns, needed_ns > self._timeout_ns, is_srao, done))
        self.wake_at(end_ns, MACHINE_CHECK)
