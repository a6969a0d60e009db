"""Processes: who they are, and how they take signals.

A :class:`UserTask` is the place of a process, a member of its group ("postgres.3", or "web.0.2" for a
forked child); the Task in it changes with every restart (see :mod:`~hwsim.userspace.spawn`).
"""

from __future__ import annotations

from collections import deque

from mypy_extensions import trait

from hwsim.elementary import log1p
from hwsim.engine import SIGNAL_DELIVERY, Alarm, Bell, Sleeper, Steps
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import AddressSpace, OpenFile, Region, Signal, Task, UserSpace
from hwsim.kernel.signal import BUS_MCEERR_AO, SIGKILL, unblock
from hwsim.record import Result
from hwsim.rng import Draws, Slot
from hwsim.spec import TaskSpec
from hwsim.userspace.sigbus import UNCAUGHT, action_of, by_step, map_fresh_page, repeat_access, touch_page

_FOR_EVER_NS = 1 << 62  # 146 years: no run is longer, and SQLite can hold it
_EXIT = -3_000_000  # and below, one for each place: names of draws


@trait
class Supervisor:
    """What a task knows of its group, and who is told of its death: answered by a TaskGroup."""

    __slots__ = ()
    spec: TaskSpec
    shared: list[Region]  # segments of the group
    common: dict[str, Region]  # by region name: what all members map alike
    asked: AddressSpace | None  # the file of its fsync table, once anybody has looked at it
    starts: list[int]  # the first virtual page of each region of a process, and of what comes after
    stores_per_ns: float  # of one task, into all of its memory together

    def die(
        self, member: UserTask, signal: Signal | None, *, left: bool = False, by_step: bool = False
    ) -> None:
        """The process in ``member`` is gone.

        Killed by ``signal``, or it ``left`` by its SIGBUS handler, or a step of the script has ended it
        (``by_step``), or (none of these) its life time was over.
        """
        raise NotImplementedError


class UserTask(Sleeper, UserSpace):
    """One place for a process in a group, and the process of the simulation that takes its signals.

    Life: asleep and empty -> a Task moves in (:meth:`become`) -> :meth:`deliver` has a signal noticed when
    the task next returns to user space: default action or handler -> asleep -> the death of the Task empties
    the place -> the supervisor starts it again -> :meth:`tear_down` with the boot.
    """

    name = ""  # of the place: SimPy's is that of a function

    # What a place has until something happens in it.
    task: Task | None = None
    access: Signal | None = None  # of the access that a handler is about to return to
    file: OpenFile | None = None  # of its fsync table: one session after another
    fsync_ns = 0  # phase of its periodic fsync
    fsync_call: tuple[int, int] | None = None  # as the inode knows of it: who is gone calls nothing
    once = False  # forked by a script: no supervisor brings it back
    left_ns = 0  # when a process last ended here
    struck = False  # an error, or its own end, has ended a process here in this boot
    _exit_ns: int | None = None  # when it ends by itself, once that is drawn

    def __init__(
        self, kernel: Kernel, draws: Draws, group: Supervisor, name: str, number: int, parent: UserTask | None
    ) -> None:
        super().__init__(kernel.engine)
        self.kernel = kernel  # of this boot: a member does not outlive it
        self.group = group
        self.name = name
        self.number = number
        self.parent = parent
        self.children: list[UserTask] = []
        self.private: dict[str, Region] = {}  # region name -> frames of its own
        self.copies: dict[str, Region] = {}  # of a child: region name -> copy-on-write frames
        self.lifetime_ns = group.spec.lifetime_ns
        self.stores_per_ns = group.stores_per_ns
        self._draws = draws
        self._inbox: deque[Signal] = deque()
        self._returning: list[Bell] = []  # accesses that wait for the handlers to be through

    @property
    def alive(self) -> bool:
        return self.task is not None and self.task.alive

    def become(self, task: Task) -> None:
        """A new process takes the place."""
        self.task = task
        self._exit_ns = None

    def next_exit_ns(self) -> int:
        life = self.lifetime_ns
        if life is None:
            return _FOR_EVER_NS
        now = self.engine.now_ns
        if self._exit_ns is None or self._exit_ns <= now:
            u = self._draws.extra(_EXIT - self.number, Slot.LIFETIME, now)
            self._exit_ns = now + int(-log1p(-u) * life) + 1
        return self._exit_ns

    def exit(self) -> None:
        self._exit_ns = None
        self.kernel.event("exit", task=self.name)
        self.group.die(self, None)

    def dies_with(self, other: Task) -> bool:
        return self.group.spec.group_death and user_task(other).group is self.group

    def tear_down(self) -> None:
        """The boot is over: what is made of the place lets go of one another."""
        super().tear_down()
        task, self.task, self.parent = self.task, None, None
        self.children, self.private, self.copies, self.access = [], {}, {}, None
        self._inbox.clear()
        self._returning.clear()
        if task is not None:
            task.pending = None
            for vma in task.vmas.values():
                vma.ptes.clear()
            task.vmas.clear()

    # -- signals ------------------------------------------------------------------------------------

    def deliver(self, signal: Signal, *, default: bool) -> None:
        """A signal is on its way: the process notices it when it next returns to user space."""
        if signal.task.blocked and not default:
            self._hold_back(signal)
            return
        u = signal.failure.extra(Slot.DELIVERY, self.number)
        due_ns = self.engine.now_ns + self.kernel.times.signal_delivery.draw(u)
        if signal.signal == SIGKILL or default:
            self.engine.at(due_ns, SIGNAL_DELIVERY | self.number, lambda _alarm: self._take_kill(signal))
            return
        self._inbox.append(signal)
        if self.wakes_ns is None:
            self.wake_at(due_ns, SIGNAL_DELIVERY | self.number)

    def _hold_back(self, signal: Signal) -> None:
        """SIGBUS is blocked: by the task, which unblocks it one day, or by a handler, whose end does."""
        task, delay_ns = signal.task, self.group.spec.sigbus.unblock_ns
        if delay_ns is None or task.handler_ends_ns:
            return

        def later(_alarm: Alarm) -> None:
            if task.alive and not self.kernel.halted and task.pending is signal:
                unblock(task)

        self.engine.at(self.engine.now_ns + delay_ns, SIGNAL_DELIVERY | self.number, later)

    def life(self) -> Steps:
        """Take one signal after another."""
        while True:
            while self._inbox:
                yield from self._take_signal(self._inbox.popleft())
            yield self.sleep()

    def _take_signal(self, signal: Signal) -> Steps:
        """The process notices ``signal``: default action, or its handler.

        SIGBUS is blocked while its handler runs (handle_signal() in arch/x86/kernel/signal.c, without
        SA_NODEFER): another one waits for its end, and one that is forced kills.
        """
        task, kernel = signal.task, self.kernel
        if task.pending is not signal or not self._runs(task):
            signal.result = signal.result or Result.LOST
            return
        task.pending = None
        action = action_of(self.group.spec.sigbus, signal)
        if action in UNCAUGHT:
            self._killed(signal)
            return
        u = signal.failure.extra(Slot.SIGBUS_HANDLER, task.number)
        duration_ns = kernel.times.sigbus_handler.draw(u)
        kernel.event("handler", task=task.name, code=signal.code, action=action)
        task.blocked = True
        if duration_ns:
            task.handler_ends_ns = self.engine.now_ns + duration_ns
            yield self.sleep_until(task.handler_ends_ns, SIGNAL_DELIVERY | self.number)
            task.handler_ends_ns = 0
        if task.sig_dfl or not self._runs(task):  # it dies while the handler runs
            signal.result = Result.LOST
            return
        kernel.reach(f"sigbus:{action}")
        if action == "touch" and touch_page(kernel, signal):
            signal.result = Result.LOST
            return
        signal.result = Result.HANDLED
        signal.done_ns = self.engine.now_ns
        kernel.event("handled", task=task.name, code=signal.code, action=action)
        if action == "exit":
            kernel.event("exit", task=task.name, pid=task.pid)
            self.group.die(self, None, left=not by_step(signal), by_step=by_step(signal))
            return
        if action == "remap":
            map_fresh_page(kernel, signal)
        elif signal.again is not None or signal.code != BUS_MCEERR_AO:
            self.access = signal
        self._sigreturn(task)

    def _sigreturn(self, task: Task) -> None:
        """The handler returns: SIGBUS is unblocked, what waited comes first, then the access is repeated."""
        if task.blocked:
            unblock(task)
        if task.pending is not None:
            return
        access, self.access = self.access, None
        self.back_in_user_space()
        if access is not None and access.task is task:
            repeat_access(self.kernel, access)

    def wait_for_user_space(self) -> Bell:
        """An event for ``yield``: no handler runs any more, and no signal waits for one."""
        bell = Bell(self.engine)
        self._returning.append(bell)
        return bell

    def back_in_user_space(self) -> None:
        """What has waited for the task's handlers goes on; after a death it finds the task dead."""
        waiting, self._returning = self._returning, []
        for bell in waiting:
            bell.ring(0, SIGNAL_DELIVERY | self.number)

    def _take_kill(self, signal: Signal) -> None:
        """SIGKILL waits for no handler to end, nor does a SIGBUS that was reset to the default action."""
        if self._runs(signal.task):
            self._killed(signal)
        else:
            signal.result = signal.result or Result.LOST

    def _runs(self, task: Task) -> bool:
        return self.task is task and task.alive and not self.kernel.halted

    def _killed(self, signal: Signal) -> None:
        task, beyond_file = signal.task, by_step(signal)  # beyond the end of a file: no error has done it
        signal.result = Result.KILLED
        signal.done_ns = self.engine.now_ns
        cause = signal.code if beyond_file else signal.cause
        self.kernel.event("killed", task=task.name, pid=task.pid, cause=cause)
        self.group.die(self, None if beyond_file else signal, by_step=beyond_file)


def user_task(task: Task) -> UserTask:
    """What runs in the task."""
    assert isinstance(task.user, UserTask)
    return task.user
