"""What a process does when SIGBUS or SIGKILL arrives."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from hwsim.engine import SIGNAL_DELIVERY
from hwsim.kernel.mmap import zap_entries
from hwsim.kernel.signals import BUS_MCEERR_AO, Signal, unblock
from hwsim.rng import Slot
from hwsim.userspace.frames import free_swap_and_cache, put_page

if TYPE_CHECKING:
    from hwsim.kernel.task_struct import Task, Vma
    from hwsim.machine import Machine
    from hwsim.story.page_story import PageStory
    from hwsim.userspace.tasks import Member

LOOP_BOUND = 3  # a handler that returns to the same poisoned access would loop for ever
UNCAUGHT = ("default", "ignored", "blocked")  # no handler: what is delivered all the same kills


def take_signal(machine: Machine, member: Member, signal: Signal) -> Generator[Any, Any, None]:
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
        signal.report.extra(Slot.SIGBUS_HANDLER, task.number)
    )
    kernel, story = machine.kernel, signal.report.story
    kernel.event("handler", task=task.name, code=signal.code, action=action)
    task.blocked = True
    if duration:
        task.handler_ends_ns = machine.engine.now + duration
        yield machine.engine.wait(duration, SIGNAL_DELIVERY | member.number)
        task.handler_ends_ns = 0
    if task.sig_dfl or not _still_there(member, task):  # it dies while the handler runs
        signal.result = "lost"
        return
    kernel.reach(f"sigbus:{action}")
    if action == "touch" and story is not None and story.touches.by_handler(signal):
        signal.result = "lost"
        return
    signal.result = "handled"
    signal.done_ns = machine.engine.now
    kernel.event("handled", task=task.name, code=signal.code, action=action)
    if action == "exit":
        kernel.event("exit", task=task.name, pid=task.pid)
        member.group.die(member, None, left=True)
        return
    if action == "remap" and signal.vma is not None and story is not None:
        _map_fresh_page(machine, signal.vma, story)
    _sigreturn(machine, member, signal, action)


def _sigreturn(machine: Machine, member: Member, signal: Signal, action: str) -> None:
    """The handler returns: SIGBUS is unblocked, what waited comes first, then the access is repeated."""
    task = signal.task
    if action in ("return", "touch") and signal.code != BUS_MCEERR_AO:
        member.access = signal
    if task.blocked:
        unblock(machine.kernel, task)
    access = member.access
    if access is None or task.pending is not None:
        return
    member.access = None
    if access.task is task and access.report.story is not None:
        access.report.story.touches.again(access, LOOP_BOUND)


def _map_fresh_page(machine: Machine, vma: Vma, story: PageStory) -> None:
    """mmap(MAP_FIXED) over the page: whatever the entry led to, a healthy copy too, loses it."""
    if story.page is not None:
        pages = zap_entries(vma, range(story.page.pgoff, story.page.pgoff + 1))
        for page in pages:
            free_swap_and_cache(page)
            if machine.live_story(page.pfn) is None:
                put_page(machine, page)
        machine.entries_dropped(pages)
    story.touches.remapped(vma)


def take_kill(machine: Machine, member: Member, signal: Signal) -> None:
    """SIGKILL does not wait for a handler to end, nor does a SIGBUS that was reset to the default action."""
    if _still_there(member, signal.task):
        _killed(machine, member, signal)
    else:
        signal.result = signal.result or "lost"


def _still_there(member: Member, task: Task) -> bool:
    return member.task is task and member.alive and not member.kernel.halted


def _killed(machine: Machine, member: Member, signal: Signal) -> None:
    task = signal.task
    signal.result = "killed"
    signal.done_ns = machine.engine.now
    machine.kernel.event("killed", task=task.name, pid=task.pid, cause=signal.cause)
    member.group.die(member, signal)
