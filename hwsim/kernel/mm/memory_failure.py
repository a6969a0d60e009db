"""What memory_failure() of every kernel is made of (mm/memory-failure.c).

The functions carry the kernel's names, and follow "[PATCH] [13/16] HWPOISON: The high level memory error
handler in the VM v5", Message-ID 20090603184648.2E2131D028F@basil.firstfloor.org, where nothing else is said.
memory_failure() itself, and what else a kernel has in its own way, is in ``kernel/versions``.
"""

from __future__ import annotations

from typing import NamedTuple

from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import ErrorState
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.me_handlers import ACTION_NAME
from hwsim.kernel.mm.page_cache import page_mapping
from hwsim.kernel.mm.rmap import SWAP_SUCCESS, page_address_in_vma, try_to_unmap
from hwsim.kernel.mm_types import Page, Pte, Signal, Task, Vma
from hwsim.kernel.profile import EarlyKill
from hwsim.kernel.signal import BUS_MCEERR_AO, SIGBUS, SIGKILL, force_kill, send_sig_info
from hwsim.record import Cause, Code
from hwsim.rng import Slot


class ToKill(NamedTuple):
    """struct to_kill: a task, the VMA it was found by, and the page's address there (None: -EFAULT)."""

    task: Task
    vma: Vma
    address: int | None


# -- whom an early kill tells: who is asked at all, and each task ------------------------------------------


def _as_sysctl_says(kernel: Kernel, _task: Task | None = None) -> bool:
    return bool(kernel.sysctl.early_kill)


def _all_are_asked(_kernel: Kernel) -> bool:
    return True


def task_early_kill(kernel: Kernel, task: Task) -> bool:
    """As the task has asked with prctl(), or else as the sysctl says (2.6.32)."""
    return bool(kernel.sysctl.early_kill) if task.mce_kill == "default" else task.mce_kill == "early"


def _catches(_kernel: Kernel, task: Task) -> bool:
    return task.caught


BY_SYSCTL: EarlyKill[Kernel] = EarlyKill(_as_sysctl_says, _as_sysctl_says)
BY_TASK: EarlyKill[Kernel] = EarlyKill(_all_are_asked, task_early_kill)
BY_HANDLER: EarlyKill[Kernel] = EarlyKill(_all_are_asked, _catches)


def anon_vma_wide(page: Page) -> list[Vma]:
    """Every relative, whether or not it maps the page (v5)."""
    return page.anon_vma or []


def mapped_only(page: Page) -> list[Vma]:
    """Relatives that map the page, page_mapped_in_vma(): Message-ID 20090615031254.434000201@intel.com."""
    return [vma for vma in page.anon_vma or () if vma in page.ptes]


# -- unmapping ---------------------------------------------------------------------------------------------


def unmap_in_tries(kernel: Kernel, page: Page, ttu: int, failure: MemoryFailure) -> int:
    """The loop around try_to_unmap() of v5 and 2.6.32, which can meet an mremap() each time."""
    fail = max((vma.region.layout.unmap_fail for vma in page.ptes), default=0.0)
    fail = max(fail, kernel.profile.unmap_retry_chance)
    result = SWAP_SUCCESS
    for attempt in range(kernel.profile.n_unmap_tries):
        if fail and failure.extra(Slot.UNMAP_FAIL, attempt) < fail and page.unmap_failures == 0:
            page.unmap_failures = 1
        result = try_to_unmap(page, ttu)
        if result == SWAP_SUCCESS:
            break
        kernel.printk("retry", failure.pfn, result)
        kernel.reach("unmap:retry")
    return result


def note_unmapped(kernel: Kernel, page: Page, entries: list[Pte], failure: MemoryFailure) -> None:
    """No act of the kernel: what became of the entries that mapped the page, for those who watch."""
    kernel.reach("unmap:failed" if failure.unmap_failed else "unmap:done")
    kind = _pte_kind(page)
    for pte in entries:
        kernel.reach(f"pte:{kind}->{pte.kind}")
        if kernel.trace is not None:
            kernel.event("unmapped", pfn=page.pfn, task=pte.vma.task.name, pte=pte.kind)
    for watcher in kernel.handler_watchers:
        watcher.unmapped(failure, page, entries)


def _pte_kind(page: Page) -> str:
    if page.flags & pg.SWAPCACHE:
        return "swapcache"
    if page.flags & pg.ANON:
        return "anon"
    return "file_dirty" if page.flags & pg.DIRTY else "file_clean"


# -- collecting and killing ----------------------------------------------------------------------------------


def collect_procs_anon(
    kernel: Kernel, page: Page, to_kill: list[ToKill], failure: MemoryFailure, spare: bool
) -> int:
    """Who counts as mapping the page by its anon_vma; returns the process x VMA pairs walked."""
    early_kill = kernel.profile.early_kill.task_early_kill
    for vma in sorted(kernel.profile.collect_anon(page), key=_task_number):
        if early_kill(kernel, vma.task):
            spare = add_to_kill(kernel, page, vma, to_kill, failure, spare)
    return kernel.process_count * len(page.anon_vma or ())


def collect_procs_file(
    kernel: Kernel, page: Page, to_kill: list[ToKill], failure: MemoryFailure, spare: bool
) -> int:
    """Every process with a VMA that covers the page's offset in the file, touched or not."""
    mapping = page_mapping(kernel, page)  # of a shmem page in swap cache the swapper, which nobody maps
    vmas = [vma for vma in mapping.vmas if vma.covers(page.pgoff)] if mapping is not None else []
    for vma in sorted(vmas, key=_task_number):
        if kernel.profile.early_kill.task_early_kill(kernel, vma.task):
            spare = add_to_kill(kernel, page, vma, to_kill, failure, spare)
    return kernel.process_count * len(vmas)


def _task_number(vma: Vma) -> tuple[int, int]:
    return vma.task.pid, vma.number


def add_to_kill(
    kernel: Kernel, page: Page, vma: Vma, to_kill: list[ToKill], failure: MemoryFailure, spare: bool
) -> bool:
    """Enter one pair of task and VMA; returns whether the entry allocated up front is still there."""
    if not spare and kernel.failslab.should_fail(failure, 1 + len(to_kill)):
        kernel.printk("out_of_memory")
        kernel.reach("collect:out_of_memory")
        return False
    address = page_address_in_vma(page, vma)
    if address is None:
        kernel.printk("no_address", page.pfn, vma.task.comm)
        kernel.reach("collect:no_address")
    to_kill.append(ToKill(vma.task, vma, address))
    return False


def kill_procs_ao(kernel: Kernel, page: Page, to_kill: list[ToKill], failure: MemoryFailure) -> None:
    """SIGBUS BUS_MCEERR_AO to each collected task; SIGKILL if unmapping failed or it has no address."""
    if not page.flags & pg.DIRTY:
        return
    pfn, fail = failure.pfn, failure.unmap_failed
    for task, vma, address in to_kill:
        entry = vma.ptes.get(page.pgoff)
        innocent = entry is None or entry.page is not page
        if fail or address is None:
            kernel.printk("killing_forcibly", pfn, task.comm, task.pid)
            kernel.reach("signal:SIGKILL unmap failed" if fail else "signal:SIGKILL no address")
            force_kill(
                kernel, Signal(task, SIGKILL, Code.NONE, Cause.FORCED, failure, address, innocent, vma)
            )
        elif kill_proc_ao(kernel, task, vma, address, failure, innocent) < 0:
            kernel.printk("cannot_send", pfn, task.comm, task.pid)
            kernel.reach("signal:AO not sent")


def kill_proc_ao(
    kernel: Kernel, task: Task, vma: Vma, address: int, failure: MemoryFailure, innocent: bool
) -> int:
    """Send the advisory signal: not forced, so it can be blocked or ignored; 0 or a negative errno.

    Its si_trapno is left out: x86 has none.
    """
    kernel.printk("killing_early", failure.pfn, task.comm, task.pid)
    signal = Signal(task, SIGBUS, BUS_MCEERR_AO, Cause.EARLY, failure, address, innocent, vma)
    result = send_sig_info(kernel, signal)
    if result < 0:
        kernel.printk("send_error", task.comm, task.pid, result)
    else:
        kernel.reach("signal:AO")
    return result


# -- the table ---------------------------------------------------------------------------------------------


def page_action(
    kernel: Kernel, failure: MemoryFailure, page: Page, state: ErrorState[Kernel], ref: int
) -> None:
    """Run the row's handler, print its result, report odd references."""
    kernel.reach(f"row:{state.row}")
    failure.row = state.row
    failure.kernels_own = bool(state.must_set & (pg.RESERVED | pg.BUDDY | pg.SLAB))
    action_result(kernel, failure, page, state.message, state.handler(kernel, page), "table")
    users = page.count - 1 - ref
    if users:
        kernel.printk("still_referenced", page.pfn, state.message, users)


def action_result(
    kernel: Kernel, failure: MemoryFailure, page: Page | None, message: str, result: int, exit_name: str
) -> None:
    """Print the result line and note the outcome.

    v5 reads PG_dirty of the struct page even of a pfn that has none, which may oops; here such a
    pfn prints as not dirty.
    """
    dirty = "dirty " if page is not None and page.flags & pg.DIRTY else ""
    kernel.printk("result", failure.pfn, dirty, message, ACTION_NAME[result])
    if kernel.trace is not None:  # here and above: building the facts costs more than a test
        kernel.event("result", pfn=failure.pfn, exit=exit_name, message=message, outcome=ACTION_NAME[result])
    kernel.reach(f"exit:{exit_name}")
    failure.exit = exit_name
    failure.message = message
    failure.outcome = result
