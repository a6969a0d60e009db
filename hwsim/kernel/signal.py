"""Signals as hwpoison sends them (kernel/signal.c, 2.6.30; codes from patch 4 of the v5 series).

SIGBUS is not queued: one at most is pending, a second merges into it.  A normal signal can be
blocked or ignored; a forced one resets the disposition to default when it meets either, and then the one
that is pending kills, with its own siginfo (legacy_queue()).
"""

from __future__ import annotations

from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import Signal, Task
from hwsim.record import Code, Result, Sent

SIGBUS, SIGKILL = Sent.SIGBUS, Sent.SIGKILL
BUS_MCEERR_AR, BUS_MCEERR_AO, BUS_ADRERR = Code.BUS_MCEERR_AR, Code.BUS_MCEERR_AO, Code.BUS_ADRERR
ESRCH = 3
LOOP_BOUND = 3  # a handler that returns to the same fatal access would loop for ever


def send_sig_info(kernel: Kernel, signal: Signal) -> int:
    """Send a normal signal; 0, or -ESRCH for a task that is gone."""
    task = signal.task
    _note(kernel, signal)
    if not task.alive:
        signal.result = Result.LOST
        return -ESRCH
    if task.ignored and not task.blocked:
        signal.result = Result.IGNORED
        kernel.event("ignored", task=task.name, signal=signal.signal)
    elif task.pending is not None:
        signal.result = Result.MERGED
        kernel.event("merged", task=task.name, signal=signal.signal)
    else:
        task.pending = signal
        if task.blocked:
            kernel.event("pending", task=task.name, signal=signal.signal)
        task.user.deliver(signal, default=False)
    return 0


def force_sig_info(kernel: Kernel, signal: Signal) -> None:
    """Send a signal that cannot be escaped: blocked or ignored becomes default, and that is death.

    specific_send_sig_info() adds nothing to a SIGBUS that is pending, not even its siginfo: a task that had
    blocked the first one dies of that.
    """
    task = signal.task
    _note(kernel, signal)
    escaped = task.blocked or task.ignored
    if escaped:
        task.blocked = task.ignored = False
        task.sig_dfl = True
        kernel.event("disposition_reset", task=task.name)
        kernel.reach("signal:AR forced on blocked or ignored")
    if task.pending is None:
        task.pending = signal
    else:
        signal.result = Result.MERGED
        kernel.event("merged", task=task.name, signal=signal.signal)
    if escaped or task.pending is signal:
        task.user.deliver(task.pending, default=escaped)


def force_kill(kernel: Kernel, signal: Signal) -> None:
    """SIGKILL: cannot be caught, blocked or ignored."""
    _note(kernel, signal)
    if signal.task.alive:
        signal.task.user.deliver(signal, default=True)
    else:
        signal.result = Result.LOST


def unblock(task: Task) -> None:
    """sigprocmask(SIG_UNBLOCK): a pending signal is delivered now."""
    task.blocked = False
    signal = task.pending
    if signal is None:
        return
    if task.ignored:
        signal.result = Result.IGNORED
        task.pending = None
    else:
        task.user.deliver(signal, default=False)


def _note(kernel: Kernel, signal: Signal) -> None:
    signal.sent_ns = kernel.engine.now_ns
    if kernel.trace is not None:  # building the facts costs more than a test
        kernel.event(
            "signal",
            task=signal.task.name,
            pid=signal.task.pid,
            signal=signal.signal,
            code=signal.code,
            cause=signal.cause,
            address=signal.address,
        )
    for watcher in kernel.handler_watchers:
        watcher.signalled(signal)
