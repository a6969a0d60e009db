"""The handler as it was merged: Linux 2.6.32, December 2009.

Source: mm/memory-failure.c, mm/madvise.c, arch/x86/kernel/cpu/mcheck/mce.c and fs/proc/meminfo.c of 2.6.32.
It kills late by default and lets each task ask otherwise, leaves everything alone that is on no LRU list,
asks the file system before it drops a page, and counts a page when it poisons it.  Its madvise() injector
holds a reference besides, so that nothing can be invalidated (mended in 2.6.33: Message-ID
20091208211622.54209B151F@basil.firstfloor.org).
"""

from __future__ import annotations

from hwsim.engine import Steps
from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import ErrorState
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mce import do_machine_check
from hwsim.kernel.mce.delivery import as_platform_says
from hwsim.kernel.mce.ring import Cpu
from hwsim.kernel.mm.filemap import AS_FLAG, filemap_write_and_wait_range, keeps_none, nfs_close_reports
from hwsim.kernel.mm.me_handlers import (
    IGNORED,
    RECOVERED,
    me_free,
    me_huge_page,
    me_ignore,
    me_kernel,
    me_pagecache_clean,
    me_pagecache_dirty,
    me_swapcache_clean,
    me_swapcache_dirty,
    me_unknown,
)
from hwsim.kernel.mm.memory import vmtruncate_range
from hwsim.kernel.mm.memory_failure import (
    BY_TASK,
    ToKill,
    action_result,
    collect_procs_anon,
    collect_procs_file,
    kill_procs_ao,
    mapped_only,
    note_unmapped,
    page_action,
    unmap_in_tries,
)
from hwsim.kernel.mm.page_alloc import leave_to_gatekeeper
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
    page_mapped,
    page_mkclean,
)
from hwsim.kernel.mm.truncate import error_remove_page, invalidate
from hwsim.kernel.mm_types import HANDLER, Page
from hwsim.kernel.ports import Halted
from hwsim.kernel.prctl import sys_prctl
from hwsim.kernel.profile import KERN_DEBUG, KERN_EMERG, KERN_ERR, KERN_INFO, Formats, Profile
from hwsim.kernel.writeback import Flusher
from hwsim.rng import Slot

ERROR_STATES: tuple[ErrorState[Kernel], ...] = (
    ErrorState(1, pg.RESERVED, 0, "reserved kernel", me_ignore),
    ErrorState(2, pg.BUDDY, 0, "free kernel", me_free),
    ErrorState(3, pg.SLAB, 0, "kernel slab", me_kernel),
    ErrorState(4, pg.HEAD, 0, "huge", me_huge_page, "PAGEFLAGS_EXTENDED"),
    ErrorState(5, pg.TAIL, 0, "huge", me_huge_page, "PAGEFLAGS_EXTENDED"),
    ErrorState(4, pg.COMPOUND, 0, "huge", me_huge_page, "!PAGEFLAGS_EXTENDED"),
    ErrorState(6, pg.SWAPCACHE | pg.DIRTY, 0, "swapcache", me_swapcache_dirty),
    ErrorState(7, pg.SWAPCACHE, pg.DIRTY, "swapcache", me_swapcache_clean),
    ErrorState(8, pg.UNEVICTABLE | pg.DIRTY, 0, "unevictable LRU", me_pagecache_dirty),
    ErrorState(9, pg.UNEVICTABLE, 0, "unevictable LRU", me_pagecache_clean),
    ErrorState(10, pg.MLOCKED | pg.DIRTY, 0, "mlocked LRU", me_pagecache_dirty, "HAVE_MLOCKED_PAGE_BIT"),
    ErrorState(11, pg.MLOCKED, 0, "mlocked LRU", me_pagecache_clean, "HAVE_MLOCKED_PAGE_BIT"),
    ErrorState(12, pg.LRU | pg.DIRTY, 0, "LRU", me_pagecache_dirty),
    ErrorState(13, pg.LRU, pg.DIRTY, "clean LRU", me_pagecache_clean),
    ErrorState(14, pg.SWAPBACKED, 0, "anonymous", me_pagecache_clean),
    ErrorState(15, 0, 0, "unknown page state", me_unknown),
)

FORMATS: Formats = {
    "result": (KERN_ERR, "MCE %#x: %s%s page recovery: %s"),
    "still_referenced": (KERN_ERR, "MCE %#x: %s page still referenced by %d users"),
    "killing_early": (KERN_ERR, "MCE %#x: Killing %s:%d early due to hardware memory corruption"),
    "send_error": (KERN_INFO, "MCE: Error sending signal to %s:%d: %d"),
    "out_of_memory": (KERN_ERR, "MCE: Out of memory while machine check handling"),
    "no_address": (KERN_DEBUG, "MCE: Unable to find user space address %x in %s"),
    "killing_forcibly": (
        KERN_ERR,
        "MCE %#x: forcibly killing %s:%d because of failure to unmap corrupted page",
    ),
    "cannot_send": (KERN_ERR, "MCE %#x: Cannot send advisory machine check signal to %s:%d"),
    "unknown_state": (KERN_ERR, "MCE %#x: Unknown page state"),
    "buffers": (KERN_DEBUG, "MCE %#x: failed to release buffers"),
    "swapcache": (KERN_ERR, "MCE %#x: keeping poisoned page in swap cache"),
    "clean": (KERN_INFO, "MCE %#x: corrupted page was clean: dropped without side effects"),
    "retry": (KERN_DEBUG, "MCE %#x: try_to_unmap retry needed %d"),
    "fault": (KERN_ERR, "MCE: Killing %s:%d due to hardware memory corruption fault at %x"),
    "madvise": (KERN_INFO, "Injecting memory failure for page %x at %x"),
    "inject": (KERN_INFO, "Injecting memory failure at pfn %x"),
    "logged": (KERN_INFO, "Machine check events logged"),
    "cpu_missing": (KERN_EMERG, "Some CPUs didn't answer in synchronization"),
    "panic": (KERN_EMERG, "Kernel panic - not syncing: %s"),
    "not_invalidated": (KERN_INFO, "MCE %#x: Failed to invalidate"),
    "failed_to_unmap": (KERN_ERR, "MCE %#x: failed to unmap page (mapcount=%d)"),
}

EXITS = {
    "exit:outside": "no struct page for this frame [memory_failure]",
    "exit:already": "PG_hwpoison was set before: a second report [memory_failure]",
    "exit:free_or_high_order": "count 0: free, or inside a high-order block [memory_failure]",
    "exit:already_unmapped": "truncated while the handler waited for the page lock [memory_failure]",
    "exit:table": "the error-state table decided [page_action]",
    "exit:non_lru": "on no LRU list after a drain: left alone [memory_failure]",
    "mappings:not_mapped": "no page table maps it [hwpoison_user_mappings]",
    "mappings:clean": "clean file page: dropped, nobody is killed [hwpoison_user_mappings]",
    "mappings:mkclean_dirty": "dirty only in a page table entry [page_mkclean]",
    "unmap:done": "out of all page tables [try_to_unmap]",
    "unmap:retry": "a try failed: a mapping was being moved [try_to_unmap]",
    "unmap:failed": "five tries failed: the page stays mapped [hwpoison_user_mappings]",
    "panic:Memory failure": "vm.memory_failure_recovery is 0 [memory_failure]",
}


def memory_failure(kernel: Kernel, pfn: int, trapno: int, failure: MemoryFailure, ref: int = 0) -> Steps:
    """__memory_failure(): what is on an LRU list is poisoned, isolated, locked, unmapped and looked up.

    ``ref``: the references that the caller holds.
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
    kernel.mce_bad_pages += 1
    if page.count == 0:  # get_page_unless_zero(compound_head(p))
        if kernel.profile.free_page_policy(page):
            action_result(kernel, failure, page, "free buddy", RECOVERED, "free_buddy")
        else:
            action_result(kernel, failure, page, "free or high order kernel", IGNORED, "free_or_high_order")
        return
    page.get(HANDLER)  # once the page is isolated never dropped again: it keeps it from the allocator
    failure.mappers = len((page.head or page).ptes)
    if not page.flags & pg.LRU:
        lru_add_drain_all(page)
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
    yield from hwpoison_user_mappings(kernel, page, pfn, failure)
    failure.dirty = bool(page.flags & pg.DIRTY)
    if not page.flags & pg.SWAPCACHE and page.mapping is None and page.anon_vma is None:
        message = kernel.profile.null_mapping_message
        action_result(kernel, failure, page, message, IGNORED, "already_unmapped")
    else:
        duration = kernel.times.page_handler.draw(failure.draw(Slot.HANDLER))
        if duration:
            yield from kernel.pause(duration)
        page_action(kernel, failure, page, kernel.error_state(page.flags | pg.LRU), ref)
    unlock_page(page)


def hwpoison_user_mappings(kernel: Kernel, page: Page, pfn: int, failure: MemoryFailure) -> Steps:
    """Unmap the page from every process; signal them if dirty data was lost and early kill is on."""
    ttu = TTU_UNMAP | TTU_IGNORE_MLOCK | TTU_IGNORE_ACCESS
    kill = True
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
    if not page.flags & kernel.profile.dirty_flags and mapping is not None and mapping.accounts_dirty:
        if page_mkclean(page):
            page.flags |= pg.DIRTY
            kernel.reach("mappings:mkclean_dirty")
        else:
            kill = False
            ttu |= TTU_IGNORE_HWPOISON
            kernel.printk("clean", pfn)
            kernel.reach("mappings:clean")
    to_kill: list[ToKill] = []
    kill = kill and kernel.profile.early_kill.collects(kernel)
    walked = collect_procs(kernel, page, to_kill, failure) if kill else 0
    duration = walked * kernel.times.rmap_per_vma.draw(failure.draw(Slot.RMAP))
    duration += len(page.ptes) * kernel.times.unmap.draw(failure.draw(Slot.UNMAP))
    if duration:
        yield from kernel.pause(duration)
    entries = list(page.ptes.values())
    failure.unmap_failed = unmap_in_tries(kernel, page, ttu, failure) != SWAP_SUCCESS
    if failure.unmap_failed:
        kernel.printk("failed_to_unmap", pfn, len(page.ptes))
    note_unmapped(kernel, page, entries, failure)
    kill_procs_ao(kernel, page, to_kill, failure)


def collect_procs(kernel: Kernel, page: Page, to_kill: list[ToKill], failure: MemoryFailure) -> int:
    """Enter every process that could map the page; returns the process x VMA pairs walked.

    One entry is allocated up front with GFP_NOIO: without it nobody is collected.  The others are
    atomic and may fail.
    """
    spare = not kernel.failslab.should_fail(failure, 0)
    if not spare:
        return 0
    if page.flags & pg.ANON:
        return collect_procs_anon(kernel, page, to_kill, failure, spare)
    return collect_procs_file(kernel, page, to_kill, failure, spare)


PROFILE = Profile(
    name="2.6.32",
    source="mm/memory-failure.c, Linux 2.6.32",
    released="2009-12-03",
    model_version=7,
    early_kill_default=0,
    sysctls=frozenset({"vm.memory_failure_early_kill", "vm.memory_failure_recovery"}),
    error_states=ERROR_STATES,
    rows_met=range(6, 14),
    formats=FORMATS,
    exits=EXITS,
    told={
        "counted": "poisoned",
        "rejects_non_lru": "True",
        "first_entry_needed": "True",
        "flusher": "flusher thread",
    },
    n_unmap_tries=5,
    ring_slots=15,
    trapno=18,
    rendezvous_timeout_ns=1_000_000_000,
    madvise_ref=1,
    memory_failure=memory_failure,
    free_page_policy=leave_to_gatekeeper,
    null_mapping_message="already truncated LRU",
    dirty_flags=pg.DIRTY,
    unmap_retry_chance=0.0,
    early_kill=BY_TASK,
    collect_anon=mapped_only,
    pagecache_drop=error_remove_page,
    blockdev_test=invalidate,
    keeps_poisoned=keeps_none,
    eio_mode=AS_FLAG,
    close_reports=nfs_close_reports,
    fsync_asks=filemap_write_and_wait_range,
    set_interval=Flusher.sleep_on,
    punch_hole=vmtruncate_range,
    prctl=sys_prctl,
    meminfo="HardwareCorrupted: %5d kB",
    signalled=as_platform_says,
    machine_checks=do_machine_check.V2_6_32,
    queue=Cpu,
)
