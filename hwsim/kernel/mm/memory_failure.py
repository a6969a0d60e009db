"""memory_failure() and its helpers, in the kernel's order (mm/memory-failure.c, HWPOISON v5).

Everything here follows "[PATCH] [13/16] HWPOISON: The high level memory error handler in the VM v5",
Message-ID 20090603184648.2E2131D028F@basil.firstfloor.org.  The functions carry the kernel's names.
``yield`` marks the places where the kernel may sleep or takes time; zero waits are skipped.
"""

from __future__ import annotations

from typing import NamedTuple

from hwsim.engine import Steps
from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import ErrorState
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.me_handlers import ACTION_NAME, HANDLERS, IGNORED, RECOVERED
from hwsim.kernel.mm.page_alloc import take_page_off_buddy
from hwsim.kernel.mm.page_cache import (
    isolate_lru_page,
    lru_add_drain,
    lru_add_drain_all,
    page_cache_release,
    page_mapping,
)
from hwsim.kernel.mm.page_lock import lock_page_nosync, unlock_page, wait_on_page_writeback
from hwsim.kernel.mm.rmap import (
    SWAP_SUCCESS,
    TTU_IGNORE_ACCESS,
    TTU_IGNORE_HWPOISON,
    TTU_IGNORE_MLOCK,
    TTU_UNMAP,
    page_address_in_vma,
    page_mapped,
    page_mkclean,
    try_to_unmap,
)
from hwsim.kernel.mm_types import HANDLER, Page, Signal, Task, Vma
from hwsim.kernel.ports import Halted
from hwsim.kernel.signal import BUS_MCEERR_AO, SIGBUS, SIGKILL, force_kill, send_sig_info
from hwsim.record import Cause, Code
from hwsim.rng import Slot


class ToKill(NamedTuple):
    """struct to_kill: a task, the VMA it was found by, and the page's address there (None: -EFAULT)."""

    task: Task
    vma: Vma
    address: int | None


def memory_failure(kernel: Kernel, pfn: int, trapno: int, failure: MemoryFailure, ref: int = 0) -> Steps:
    """Handle the failure of one page in process context; see :class:`MemoryFailure` for what comes out.

    ``ref``: the references that the caller holds, as __memory_failure() of 2.6.32 has it.
    """
    failure.started_ns = kernel.engine.now_ns
    if not kernel.sysctl.recovery:
        kernel.panic(f"Memory failure from trap {trapno} on page {pfn:x}", failure, "Memory failure")
        raise Halted
    traced = kernel.trace is not None
    if traced:
        kernel.event("memory_failure", pfn=pfn, context=failure.context, cpu=failure.cpu)
    if not kernel.mem_map.pfn_valid(pfn):
        action_result(kernel, failure, None, "memory outside kernel control", IGNORED, "outside")
        return
    page = kernel.pfn_to_page(pfn, failure)
    failure.kind, failure.region = page.region.kind, page.region.name
    if page.flags & pg.HWPOISON:  # TestSetPageHWPoison
        action_result(kernel, failure, page, "already hardware poisoned", IGNORED, "already")
        return
    page.flags |= pg.HWPOISON
    failure.poisoned_ns = kernel.engine.now_ns
    kernel.poisoned_pages += 1
    if traced:
        kernel.event("poisoned", pfn=pfn)
    profile, switches = kernel.profile, kernel.switches
    if profile.counted == "poisoned":
        kernel.mce_bad_pages += 1
    if page.count == 0:  # get_page_unless_zero(compound_head(p))
        if switches.free_page_policy == "take_off_buddy" and take_page_off_buddy(page):
            action_result(kernel, failure, page, "free buddy", RECOVERED, "free_buddy")
            return
        action_result(kernel, failure, page, "free or high order kernel", IGNORED, "free_or_high_order")
        return
    page.get(HANDLER)  # never dropped again: it keeps the page from the allocator
    failure.mappers = len((page.head or page).ptes)
    lru = page.flags & pg.LRU
    if profile.rejects_non_lru:
        if not lru:
            lru_add_drain_all(page)
        lru = page.flags & pg.LRU
        if not isolate_lru_page(page):
            action_result(kernel, failure, page, "non LRU", IGNORED, "non_lru")
            page.put(HANDLER)
            return
        page_cache_release(page)
    yield from lock_page_nosync(kernel, page, failure)
    if page.flags & pg.WRITEBACK:
        yield from wait_on_page_writeback(kernel, page)
    if kernel.engine.now_ns > failure.started_ns:
        for watcher in kernel.handler_watchers:
            watcher.waited(failure, page)
    yield from hwpoison_user_mappings(kernel, page, pfn, trapno, failure)
    failure.dirty = bool(page.flags & pg.DIRTY)
    lru = lru if profile.rejects_non_lru else page.flags & pg.LRU  # isolated before, or still on its list
    if lru and not page.flags & pg.SWAPCACHE and page.mapping is None and page.anon_vma is None:
        action_result(kernel, failure, page, switches.null_mapping_message, IGNORED, "already_unmapped")
    else:
        duration = kernel.times.page_handler.draw(failure.draw(Slot.HANDLER))
        if duration:
            yield from kernel.pause(duration)
        page_action(kernel, failure, page, kernel.error_state(page.flags | lru), ref)
    unlock_page(page)


def hwpoison_user_mappings(
    kernel: Kernel, page: Page, pfn: int, trapno: int, failure: MemoryFailure
) -> Steps:
    """Unmap the page from every process; signal them if dirty data was lost and early kill is on."""
    ttu = TTU_UNMAP | TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS
    switches = kernel.switches
    kill = kernel.sysctl.early_kill if switches.early_kill_scheme == "sysctl" else 1  # else task by task
    if page.flags & (pg.RESERVED | pg.HEAD | pg.TAIL | pg.COMPOUND | pg.SLAB):
        kernel.reach("mappings:not_mappable")
        return
    if not page.flags & pg.LRU:
        lru_add_drain(page, failure.cpu)
    if not page_mapped(page):
        kernel.reach("mappings:not_mapped")
        return
    if page.flags & pg.SWAPCACHE:
        kernel.printk("swapcache", pfn)
        ttu |= TTU_IGNORE_HWPOISON
    # Only file pages with dirty accounting can be known to be clean: the rest goes as dirty.
    mapping = page_mapping(kernel, page)
    if (
        not page.flags & (pg.DIRTY | (pg.ANON | pg.SWAPBACKED if switches.anon_test == "kept" else 0))
        and mapping is not None
        and mapping.accounts_dirty
    ):
        if page_mkclean(page):
            page.flags |= pg.DIRTY
            kernel.reach("mappings:mkclean_dirty")
        else:
            kill = 0
            ttu |= TTU_IGNORE_HWPOISON
            kernel.printk("clean", pfn)
            kernel.reach("mappings:clean")
    to_kill: list[ToKill] = []
    walked = collect_procs(kernel, page, to_kill, failure) if kill else 0
    duration = walked * kernel.times.rmap_per_vma.draw(failure.draw(Slot.RMAP))
    duration += len(page.ptes) * kernel.times.unmap.draw(failure.draw(Slot.UNMAP))
    if duration:
        yield from kernel.pause(duration)
    entries = list(page.ptes.values())
    fail = max((vma.region.layout.unmap_fail for vma in page.ptes), default=0.0)
    fail = max(fail, switches.unmap_retry_chance)
    result = SWAP_SUCCESS
    for attempt in range(kernel.profile.n_unmap_tries):
        if fail and failure.extra(Slot.UNMAP_FAIL, attempt) < fail and page.unmap_failures == 0:
            page.unmap_failures = 1
        result = try_to_unmap(page, ttu)
        if result == SWAP_SUCCESS:
            break
        kernel.printk("retry", pfn, result)
        kernel.reach("unmap:retry")
    failure.unmap_failed = result != SWAP_SUCCESS
    if failure.unmap_failed and "failed_to_unmap" in kernel.profile.formats:
        kernel.printk("failed_to_unmap", pfn, len(page.ptes))
    kernel.reach("unmap:failed" if failure.unmap_failed else "unmap:done")
    kind = _pte_kind(page)
    for pte in entries:
        kernel.reach(f"pte:{kind}->{pte.kind}")
        if kernel.trace is not None:
            kernel.event("unmapped", pfn=pfn, task=pte.vma.task.name, pte=pte.kind)
    for watcher in kernel.handler_watchers:
        watcher.unmapped(failure, page, entries)
    kill_procs_ao(kernel, page, to_kill, trapno, failure)


def _pte_kind(page: Page) -> str:
    if page.flags & pg.SWAPCACHE:
        return "swapcache"
    if page.flags & pg.ANON:
        return "anon"
    return "file_dirty" if page.flags & pg.DIRTY else "file_clean"


def collect_procs(kernel: Kernel, page: Page, to_kill: list[ToKill], failure: MemoryFailure) -> int:
    """Enter every process that could map the page; returns the process x VMA pairs walked.

    One entry is allocated up front with GFP_KERNEL, so that at least one task can be killed; the
    others are atomic and may fail.
    """
    spare = not kernel.failslab.should_fail(failure, 0)
    if not spare and kernel.profile.first_entry_needed:
        return 0
    if page.flags & pg.ANON:
        return collect_procs_anon(kernel, page, to_kill, failure, spare)
    return collect_procs_file(kernel, page, to_kill, failure, spare)


def collect_procs_anon(
    kernel: Kernel, page: Page, to_kill: list[ToKill], failure: MemoryFailure, spare: bool
) -> int:
    """Every process with a VMA on the page's anon_vma, whether or not the page is mapped there."""
    vmas = page.anon_vma or []
    wide = kernel.switches.collect_anon == "anon_vma_wide"
    for vma in sorted(vmas, key=_task_number):
        if (wide or vma in page.ptes) and task_early_kill(kernel, vma.task):
            spare = add_to_kill(kernel, page, vma, to_kill, failure, spare)
    return kernel.process_count * len(vmas)


def collect_procs_file(
    kernel: Kernel, page: Page, to_kill: list[ToKill], failure: MemoryFailure, spare: bool
) -> int:
    """Every process with a VMA that covers the page's offset in the file, touched or not."""
    mapping = page_mapping(kernel, page)  # of a shmem page in swap cache the swapper, which nobody maps
    vmas = [vma for vma in mapping.vmas if vma.covers(page.pgoff)] if mapping is not None else []
    for vma in sorted(vmas, key=_task_number):
        if task_early_kill(kernel, vma.task):
            spare = add_to_kill(kernel, page, vma, to_kill, failure, spare)
    return kernel.process_count * len(vmas)


def task_early_kill(kernel: Kernel, task: Task) -> bool:
    """Whether the task is told at once; in v5 the sysctl speaks for all, later a task speaks for itself."""
    scheme = kernel.switches.early_kill_scheme
    if scheme == "has_handler":
        return task.caught
    if scheme == "prctl" and task.mce_kill != "default":
        return task.mce_kill == "early"
    return bool(kernel.sysctl.early_kill)


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


def kill_procs_ao(
    kernel: Kernel, page: Page, to_kill: list[ToKill], trapno: int, failure: MemoryFailure
) -> None:
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
        elif kill_proc_ao(kernel, task, vma, address, trapno, pfn, failure, innocent) < 0:
            kernel.printk("cannot_send", pfn, task.comm, task.pid)
            kernel.reach("signal:AO not sent")


def kill_proc_ao(
    kernel: Kernel,
    task: Task,
    vma: Vma,
    address: int,
    trapno: int,
    pfn: int,
    failure: MemoryFailure,
    innocent: bool,
) -> int:
    """Send the advisory signal: not forced, so it can be blocked or ignored; 0 or a negative errno."""
    kernel.printk("killing_early", pfn, task.comm, task.pid)
    signal = Signal(task, SIGBUS, BUS_MCEERR_AO, Cause.EARLY, failure, address, innocent, vma)
    result = send_sig_info(kernel, signal)
    if result < 0:
        kernel.printk("send_error", task.comm, task.pid, result)
    else:
        kernel.reach("signal:AO")
    return result


def page_action(kernel: Kernel, failure: MemoryFailure, page: Page, state: ErrorState, ref: int) -> None:
    """Run the row's handler, print its result, report odd references, count the page."""
    kernel.reach(f"row:{state.row}")
    failure.row = state.row
    result = HANDLERS[state.handler](kernel, page)
    action_result(kernel, failure, page, state.message, result, "table")
    users = page.count - 1 - ref
    if users:
        kernel.printk("still_referenced", page.pfn, state.message, users)
    if kernel.profile.counted == "page_action":
        kernel.mce_bad_pages += 1


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
