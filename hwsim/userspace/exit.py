"""How a process ends: its mappings, its frames and its files go."""

from __future__ import annotations

from hwsim.kernel.mm.mmap import exit_mm
from hwsim.kernel.mm.page_alloc import release_region
from hwsim.kernel.mm.swap import free_pages_and_swap_cache
from hwsim.kernel.mm_types import Region, Task
from hwsim.record import Result
from hwsim.userspace.open_files import close_files
from hwsim.userspace.periodic_fsync import end_calls
from hwsim.userspace.user_task import UserTask


def do_exit(member: UserTask, *, killed: bool, by_step: bool) -> None:
    """kernel/exit.c: the process in ``member`` is ``killed`` or leaves; ``by_step``: no error has done it."""
    kernel, task = member.kernel, member.task
    assert task is not None
    task.alive = False
    task.killed = killed
    member.left_ns = member.engine.now_ns
    member.struck = member.struck or not by_step
    if task.pending is not None and not task.pending.result:
        task.pending.result = Result.LOST
    task.pending = None
    member.back_in_user_space()
    kernel.process_count -= 1
    changed = exit_mm(task)
    for region in _orphans(member, task):
        release_region(kernel, region)
    if changed:
        free_pages_and_swap_cache(kernel, changed)
    leave_files(member)
    task.vmas = {}  # they know their task: together they would stay until the run is over


def leave_files(member: UserTask) -> None:
    """exit_files(); and who is gone asks no file for errors."""
    close_files(member)
    end_calls(member)


def _orphans(member: UserTask, task: Task) -> list[Region]:
    """Regions that nobody maps any more; forked children may still map their parent's."""
    regions = [*member.private.values(), *member.copies.values()]
    regions += [vma.region for vma in task.vmas.values() if vma.anon_vma is not None]
    above = member.parent
    while member.once and above is not None and not above.alive:  # it was the heir of these
        regions += above.copies.values()
        above = above.parent
    if not regions:
        return []
    heirs, overlay = any(child.alive for child in member.children), member.kernel.mem_map.overlay
    return [
        each
        for each in dict.fromkeys(regions)
        if each.alive
        and not each.anon_vma
        and not (heirs and any(page.ptes for pfn, page in overlay.items() if each.holds(pfn)))
    ]
