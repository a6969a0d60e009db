"""One event loop on SimPy: integer nanoseconds and a stated rule for ties; what sleeps in it, and until when.

SimPy orders events by (time, priority, running number).  hwsim puts its tie rule into the priority:
the class of the event first, then an id (CPU or task number), so that what happens at one
nanosecond never depends on the order in which code ran.  The classes, first to last: fault onset,
scrub visit, machine check, handler step, signal delivery, kernel or device access, task access,
script step.  The horizon is half-open: an event at the horizon does not happen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

import simpy
from simpy.core import StopSimulation
from simpy.events import PENDING

_CLASS_SHIFT = 24

FAULT_ONSET = 1 << _CLASS_SHIFT
SCRUB_VISIT = 2 << _CLASS_SHIFT
MACHINE_CHECK = 3 << _CLASS_SHIFT
HANDLER_STEP = 4 << _CLASS_SHIFT
SIGNAL_DELIVERY = 5 << _CLASS_SHIFT
KERNEL_ACCESS = 6 << _CLASS_SHIFT
TASK_ACCESS = 7 << _CLASS_SHIFT
SCRIPT_STEP = 8 << _CLASS_SHIFT

Steps = Generator[simpy.Event, object, None]  # a process, or a part of one
Due = TypeVar("Due", bound=tuple[int, int, *tuple[object, ...]])


class Engine(simpy.Environment):
    """A SimPy environment with absolute times and explicit priorities.

    Life: made at 0 -> :meth:`run` up to a time, as often as one likes -> the horizon, or :meth:`stop`.
    ``now_ns`` is the simulated time, a plain attribute: it is read many times an error, and SimPy's ``now``
    is a property.
    """

    def __init__(self) -> None:
        super().__init__(0)
        self.now_ns = 0
        self.never = simpy.Event(self)  # nobody schedules it: what sleeps waits for it
        self.owed: list[tuple[int, Callable[[], None]]] = []  # what was put off, and when

    @property
    def pending(self) -> int:
        """Events that wait in the heap."""
        return len(self._queue)

    @property
    def scheduled(self) -> int:
        """Events ever scheduled, for budgets that pin the number (reading it uses one up)."""
        return next(self._eid)

    def at(self, time_ns: int, priority: int, callback: Callable[[Alarm], None]) -> Alarm:
        """Run ``callback(event)`` at ``time_ns`` (not before now)."""
        alarm = Alarm(self, [callback])
        heappush(self._queue, (time_ns, priority, next(self._eid), alarm))  # type: ignore[misc]
        return alarm

    def wait(self, delay_ns: int, priority: int) -> Alarm:
        """An event that happens after ``delay_ns``; for ``yield`` in a process."""
        alarm = Alarm(self, [])
        heappush(self._queue, (self.now_ns + delay_ns, priority, next(self._eid), alarm))  # type: ignore[misc]
        return alarm

    def run(self, until_ns: int) -> None:  # type: ignore[override]  # to a time, never to an event
        """Process every event before ``until_ns``, unless :meth:`stop` comes first."""
        queue, owed = self._queue, self.owed
        try:
            while queue and queue[0][0] < until_ns:
                if owed and not getattr(queue[0][3], "of_agenda", False):
                    self.catch_up()
                time_ns, _, _, event = heappop(queue)
                self.now_ns = self._now = time_ns  # type: ignore[assignment]  # a float only for SimPy's types
                callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
                for callback in callbacks:
                    callback(event)
                if not callbacks and not event.ok:  # a process has failed, and nobody waits for it
                    raise event.value  # type: ignore[misc]  # SimPy has typed it as anything
        except StopSimulation:
            return
        self.now_ns = self._now = until_ns

    def put_off(self, work: Callable[[], None]) -> None:
        """Do ``work`` before the next event, as of now: nothing but what is to come can see it."""
        self.owed.append((self.now_ns, work))

    def catch_up(self) -> None:
        """Do what was put off: :meth:`run` does, and who looks at the machine in between."""
        while self.owed:
            self.as_of(*self.owed.pop(0))

    def as_of(self, time_ns: int, work: Callable[[], None]) -> None:
        """Do now what was put off at ``time_ns`` because nobody could see it: to ``work`` it is that time."""
        now_ns, self.now_ns = self.now_ns, time_ns
        try:
            work()
        finally:
            self.now_ns = now_ns

    def stop(self) -> None:
        """End :meth:`run` here and now: what has called this does not go on."""
        raise StopSimulation(None)


class Alarm(simpy.Event):
    """An event whose time is set when it is made: :meth:`Engine.at`, :meth:`Engine.wait`."""

    _ok = True
    _value = None
    of_agenda = False

    def __init__(self, engine: Engine, callbacks: list[Callable[[Alarm], None]]) -> None:
        self.env = engine
        self.callbacks = callbacks


class Bell(simpy.Event):
    """An event that nobody has scheduled yet: a process sleeps on it until somebody rings, once."""

    def ring(self, delay_ns: int, priority: int) -> None:
        """Wake who sleeps on it after ``delay_ns``; a second ring is an error in the model."""
        if self._value is not PENDING:
            raise RuntimeError("a bell was rung twice")
        self._ok = True
        self._value = None
        self.env.schedule(self, priority, delay_ns)  # type: ignore[arg-type]


class Agenda(Generic[Due]):
    """What is to come for one thing: many times that come and go, and one callback for the earliest.

    Life: :meth:`expect` says what comes first now, as often as that changes -> ``happens(due)`` at its time
    -> nothing, until the next :meth:`expect`.  A due is (time in ns, priority, whatever else).  The callback
    stands at the due or before it: one that comes too early, because what it stood for went away, only
    stands again, which is rarer than times that change while the earliest stays.
    """

    __slots__ = ("_alarm", "_engine", "_happens", "_horizon_ns", "_stands_at", "next")

    def __init__(self, engine: Engine, horizon_ns: int, happens: Callable[[Due], None]) -> None:
        self._engine = engine
        self._horizon_ns = horizon_ns
        self._happens = happens
        self._alarm: Alarm | None = None
        self._stands_at: tuple[int, int] | None = None
        self.next: Due | None = None

    def expect(self, due: Due | None) -> None:
        """From now on this comes first; None, and nothing comes: the callback stays, for what follows."""
        self.next = due
        if due is None or due[0] >= self._horizon_ns:
            return
        if self._stands_at is not None and self._stands_at <= due[:2]:
            return
        self._stands_at = due[:2]
        self._alarm = self._engine.at(max(due[0], self._engine.now_ns), due[1], self._fire)
        self._alarm.of_agenda = True

    def _fire(self, alarm: Alarm) -> None:
        if alarm is not self._alarm:
            return
        self._alarm, stood_at, self._stands_at = None, self._stands_at, None
        due = self.next
        if due is None or stood_at is None:
            return
        if due[:2] > (self._engine.now_ns, stood_at[1]):
            self.expect(due)
        else:
            if self._engine.owed:  # only now is it known that anything happens
                self._engine.catch_up()
            self._happens(due)


def _nothing() -> Steps:
    yield from ()


_OVER: Final = _nothing()  # that of all who are torn down: what still wakes one of them ends it
_OVER.close()


class Sleeper(simpy.Process):
    """A process of SimPy that sleeps unless it has something to do.

    Life: made asleep, which costs no event -> :meth:`wake_at` sets its alarm -> :meth:`life` runs, from its
    start or from where it sleeps -> ``yield self.sleep()``, or :meth:`sleep_until` -> the next alarm -> ...
    -> :meth:`tear_down`.  An alarm goes to the process itself, so that what it yields need never happen.
    """

    def __init__(self, engine: Engine) -> None:
        self.env = self.engine = engine
        self.callbacks = []
        self._generator = self.life()
        self._alarm: Alarm | None = None
        self.wakes_ns: int | None = None  # when its alarm goes off, or went off if it is awake

    def life(self) -> Steps:
        """What it does each time it wakes, and then ``yield self.sleep()``."""
        raise NotImplementedError

    def wake_at(self, time_ns: int, priority: int) -> None:
        """Wake it then, unless it is awake or wakes before that."""
        if self.wakes_ns is not None:
            if self.wakes_ns <= time_ns:
                return
            self._forget_alarm()
        self.wakes_ns = time_ns
        self._alarm = self.engine.at(time_ns, priority, self._resume)

    def sleep(self) -> simpy.Event:
        """What to yield when there is nothing more to do, until somebody calls :meth:`wake_at`."""
        self.wakes_ns = None
        self.engine.never.callbacks.clear()
        return self.engine.never

    def sleep_until(self, time_ns: int, priority: int) -> simpy.Event:
        """What to yield when there is nothing more to do before ``time_ns``."""
        self.wakes_ns = time_ns
        self._alarm = self.engine.at(time_ns, priority, self._resume)
        self.engine.never.callbacks.clear()
        return self.engine.never

    def tear_down(self) -> None:
        """It goes with its boot: nobody wakes it any more, and it holds nothing."""
        self._forget_alarm()
        self.engine.never.callbacks.clear()
        self._generator.close()
        self._generator = _OVER  # closed, that of Python 3.13.0 still holds the process, and so the boot

    def _forget_alarm(self) -> None:
        if self._alarm is not None and self._alarm.callbacks:  # otherwise it has gone off
            self._alarm.callbacks.clear()
