"""What a process does when SIGBUS or SIGKILL arrives."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from hwsim.engine import SIGNAL_DELIVERY, Bell
from hwsim.kernel.fault import do_sigbus
from hwsim.kernel.mm_types import Signal
from hwsim.kernel.mmap import zap_entries
from hwsim.kernel.signals import BUS_MCEERR_AO, unblock
from hwsim.kernel.swap import free_pages_and_swap_cache
from hwsim.rng import Slot

if TYPE_CHECKING:
    from hwsim.bad_lines.bad_line import BadLine
    from hwsim.kernel.mm_types import Task, Vma
    from hwsim.machine import Machine
    from hwsim.userspace.user_task import UserTask

UNCAUGHT = ("default", "ignored", "blocked")  # no handler: what is delivered all the same kills


def take_signal(machine: Machine, member: UserTask, signal: Signal) -> Generator[Any, Any, None]:
    """The process notices ``signal``: default action, or its handler.

    SIGBUS is blocked while its handler runs (handle_signal() in arch/x86/kernel/signal.c, without
    SA_NODEFER): another one waits for its end, and one that is forced kills.
    """
    task = signal.task
    if task.pending is not signal or not _still_there(member, task):
        signal.result = signal.result or "lost"
        return
    task.pending = None
    spec = member.group.spec.sigbus
    action = spec.on_ao if signal.code == BUS_MCEERR_AO else spec.on_ar
    if action in UNCAUGHT:
        _killed(machine, member, signal)
        return
    duration = machine.spec.machine.times.sigbus_handler.draw(
        signal.failure.extra(Slot.SIGBUS_HANDLER, task.number)
    )
    kernel, story = machine.kernel, machine.stories.get(signal.failure.error)
    kernel.event("handler", task=task.name, code=signal.code, action=action)
    task.blocked = True
    if duration:
        task.handler_ends_ns = machine.engine.now_ns + duration
        yield machine.engine.wait(duration, SIGNAL_DELIVERY | member.number)
        task.handler_ends_ns = 0
    if task.sig_dfl or not _still_there(member, task):  # it dies while the handler runs
        signal.result = "lost"
        return
    kernel.reach(f"sigbus:{action}")
    if action == "touch" and _touches_in_handler(machine, signal):
        signal.result = "lost"
        return
    signal.result = "handled"
    signal.done_ns = machine.engine.now_ns
    kernel.event("handled", task=task.name, code=signal.code, action=action)
    if action == "exit":
        kernel.event("exit", task=task.name, pid=task.pid)
        member.group.die(member, None, left=story is not None, by_step=story is None)
        return
    if action == "remap" and signal.vma is not None and story is not None:
        _map_fresh_page(machine, signal.vma, story)
    _sigreturn(machine, member, signal, action)


def _sigreturn(machine: Machine, member: UserTask, signal: Signal, action: str) -> None:
    """The handler returns: SIGBUS is unblocked, what waited comes first, then the access is repeated."""
    task = signal.task
    if action != "remap" and (signal.again is not None or signal.code != BUS_MCEERR_AO):
        member.access = signal
    if task.blocked:
        unblock(task)
    if task.pending is not None:
        return
    access, member.access = member.access, None
    back_in_user_space(member)
    if access is None or access.task is not task:
        return
    if access.again is not None:
        access.again()
    elif (story := machine.stories.get(access.failure.error)) is not None:
        story.touches.again(access)


def wait_for_user_space(member: UserTask) -> Any:
    """An event for ``yield``: no handler runs any more, and no signal waits for one."""
    bell = Bell(member.machine.engine)
    member.returning.append(bell)
    return bell


def back_in_user_space(member: UserTask) -> None:
    """What has waited for the task's handlers goes on."""
    waiting, member.returning = member.returning, []
    for bell in waiting:
        bell.ring(0, SIGNAL_DELIVERY | member.number)


def _touches_in_handler(machine: Machine, signal: Signal) -> bool:
    """The handler touches the page that it is told about: whether that is fatal, as SIGBUS is blocked."""
    story, vma = machine.stories.get(signal.failure.error), signal.vma
    if story is not None:
        return bool(story.touches.by_handler(signal))
    if vma is None or signal.address is None:
        return False
    do_sigbus(machine.kernel, vma, vma.pgoff_of(signal.address), signal.code, signal.failure)
    return True


def _map_fresh_page(machine: Machine, vma: Vma, story: BadLine) -> None:
    """mmap(MAP_FIXED) over the page: whatever the entry led to, a healthy copy too, loses it."""
    if story.page is not None:
        pages = zap_entries(vma, range(story.page.pgoff, story.page.pgoff + 1))
        free_pages_and_swap_cache(machine.kernel, pages)
    story.touches.remapped(vma)


def take_kill(machine: Machine, member: UserTask, signal: Signal) -> None:
    """SIGKILL does not wait for a handler to end, nor does a SIGBUS that was reset to the default action."""
    if _still_there(member, signal.task):
        _killed(machine, member, signal)
    else:
        signal.result = signal.result or "lost"


def _still_there(member: UserTask, task: Task) -> bool:
    return member.task is task and member.alive and not member.kernel.halted


def _killed(machine: Machine, member: UserTask, signal: Signal) -> None:
    task = signal.task
    signal.result = "killed"
    signal.done_ns = machine.engine.now_ns
    by_step = signal.failure.error < 0  # beyond the end of a file: no error has done it
    cause = signal.code if by_step else signal.cause
    machine.kernel.event("killed", task=task.name, pid=task.pid, cause=cause)
    member.group.die(member, None if by_step else signal, by_step=by_step)
