"""What a process does when SIGBUS or SIGKILL arrives."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from hwsim.engine import SIGNAL_DELIVERY
from hwsim.kernel.mmap import zap_entries
from hwsim.kernel.signals import BUS_MCEERR_AR, SIGBUS, Signal
from hwsim.rng import Slot
from hwsim.userspace.frames import free_swap_and_cache, put_page

if TYPE_CHECKING:
    from hwsim.kernel.task_struct import Task, Vma
    from hwsim.machine import Machine
    from hwsim.story.page_story import PageStory
    from hwsim.userspace.tasks import Member

LOOP_BOUND = 3  # a handler that returns to the same poisoned access would loop for ever


def take_signal(machine: Machine, member: Member, signal: Signal, default: bool) -> Generator[Any, Any, None]:
    """The process notices ``signal``: default action, or its handler.

    ``default`` is set for SIGKILL and for a forced signal that met a blocked or ignored SIGBUS.
    """
    task = signal.task
    if task.pending is signal:
        task.pending = None
    if not _still_there(member, task):
        signal.result = "lost"
        return
    spec = member.group.spec.sigbus
    action = spec.on_ar if signal.code == BUS_MCEERR_AR else spec.on_ao
    if default or signal.signal != SIGBUS or action in ("default", "ignored", "blocked"):
        _killed(machine, member, signal)
        return
    duration = machine.spec.machine.times.sigbus_handler.draw(
        signal.report.extra(Slot.SIGBUS_HANDLER, task.number)
    )
    machine.kernel.event("handler", task=task.name, code=signal.code, action=action)
    if duration:
        yield machine.engine.wait(duration, SIGNAL_DELIVERY | member.number)
    if not _still_there(member, task):  # it died while the handler ran
        signal.result = "lost"
        return
    signal.result = "handled"
    signal.done_ns = machine.engine.now
    machine.kernel.reach(f"sigbus:{action}")
    machine.kernel.event("handled", task=task.name, code=signal.code, action=action)
    story = signal.report.story
    if action == "exit":
        machine.kernel.event("exit", task=task.name, pid=task.pid)
        member.group.die(member, None)
    elif action == "remap":
        if signal.vma is not None and story is not None:
            _map_fresh_page(machine, signal.vma, story)
    elif signal.code == BUS_MCEERR_AR and story is not None:
        story.touches.again(signal, LOOP_BOUND)


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
    """SIGKILL does not wait for a handler to end."""
    if _still_there(member, signal.task):
        _killed(machine, member, signal)
    else:
        signal.result = "lost"


def _still_there(member: Member, task: Task) -> bool:
    return member.task is task and member.alive and not member.kernel.halted


def _killed(machine: Machine, member: Member, signal: Signal) -> None:
    task = signal.task
    signal.result = "killed"
    signal.done_ns = machine.engine.now
    machine.kernel.event("killed", task=task.name, pid=task.pid, cause=signal.cause)
    member.group.die(member, signal)
