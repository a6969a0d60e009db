"""One event loop on SimPy: integer nanoseconds and a stated rule for ties.

SimPy orders events by (time, priority, running number).  hwsim puts its tie rule into the priority:
the class of the event first, then an id (CPU or task number), so that what happens at one
nanosecond never depends on the order in which code ran.  The classes, first to last: fault onset,
scrub visit, machine check, handler step, signal delivery, kernel or device access, task access,
script step.  The horizon is half-open: an event at the horizon does not happen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import simpy

_CLASS_SHIFT = 24

FAULT_ONSET = 1 << _CLASS_SHIFT
SCRUB_VISIT = 2 << _CLASS_SHIFT
MACHINE_CHECK = 3 << _CLASS_SHIFT
HANDLER_STEP = 4 << _CLASS_SHIFT
SIGNAL_DELIVERY = 5 << _CLASS_SHIFT
KERNEL_ACCESS = 6 << _CLASS_SHIFT
TASK_ACCESS = 7 << _CLASS_SHIFT
SCRIPT_STEP = 8 << _CLASS_SHIFT


class Engine:
    """A SimPy environment with absolute times and explicit priorities.

    ``now`` is an int in ns.  :meth:`at` runs a callback, :meth:`wait` gives an event to yield from
    a process, :meth:`wake` fires an event that a process sleeps on.  ``scheduled`` counts events,
    for the benchmarks that pin exact numbers.
    """

    __slots__ = ("env",)

    def __init__(self) -> None:
        self.env = simpy.Environment(0)

    @property
    def now(self) -> int:
        """Simulated time in ns."""
        return self.env._now  # type: ignore[return-value]  # SimPy types time as float; ours is int

    @property
    def pending(self) -> int:
        """Events that wait in the heap."""
        return len(self.env._queue)

    @property
    def scheduled(self) -> int:
        """Events ever scheduled (reading it uses up one running number)."""
        return next(self.env._eid)

    def at(self, time_ns: int, priority: int, callback: Callable[[Any], None]) -> None:
        """Run ``callback(event)`` at ``time_ns`` (not before now)."""
        event = simpy.Event(self.env)
        event._ok = True
        event._value = None
        event.callbacks.append(callback)
        self.env.schedule(event, priority, time_ns - self.env._now)  # type: ignore[arg-type]

    def wait(self, delay_ns: int, priority: int) -> simpy.Event:
        """An event that fires after ``delay_ns``; for ``yield`` in a process."""
        event = simpy.Event(self.env)
        event._ok = True
        event._value = None
        self.env.schedule(event, priority, delay_ns)  # type: ignore[arg-type]
        return event

    def sleep(self) -> simpy.Event:
        """An event that nobody has scheduled yet: a process sleeps on it until :meth:`wake`."""
        return simpy.Event(self.env)

    def wake(self, event: simpy.Event, delay_ns: int, priority: int, value: Any = None) -> None:
        """Fire ``event`` after ``delay_ns``; a second wake of the same event is an error in the model."""
        if event.triggered:
            raise RuntimeError("a sleeping process was woken twice")
        event._ok = True
        event._value = value
        self.env.schedule(event, priority, delay_ns)  # type: ignore[arg-type]

    def run(self, until_ns: int) -> None:
        """Process every event before ``until_ns``, unless :meth:`stop` comes first."""
        self.env.run(until=until_ns)

    def stop(self) -> None:
        """End :meth:`run` after the current event."""
        raise simpy.core.StopSimulation(None)
