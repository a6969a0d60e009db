"""The HWPOISON v5 handler: the patch of 3 June 2009 on top of 2.6.30.

Source: "[PATCH] [13/16] HWPOISON: The high level memory error handler in the VM v5", Andi Kleen,
linux-mm, Message-ID 20090603184648.2E2131D028F@basil.firstfloor.org, with the other patches of
that series; reviewed by Wu Fengguang, Message-ID 20090604032441.GC5740@localhost.  Machine-check
delivery follows arch/x86/kernel/cpu/mcheck/mce.c of 2.6.32, the first release that has it.
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
from hwsim.kernel.mm.filemap import AS_FLAG, filemap_fdatawait, keeps_none, nfs_close_reports
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
    BY_SYSCTL,
    ToKill,
    action_result,
    anon_vma_wide,
    collect_procs_anon,
    collect_procs_file,
    kill_procs_ao,
    note_unmapped,
    page_action,
    unmap_in_tries,
)
from hwsim.kernel.mm.page_alloc import leave_to_gatekeeper
from hwsim.kernel.mm.page_cache import lru_add_drain, page_mapping
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
from hwsim.kernel.mm.truncate import refuse_above_1, truncate
from hwsim.kernel.mm_types import HANDLER, Page
from hwsim.kernel.prctl import no_mce_kill
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
    ErrorState(8, pg.UNEVICTABLE | pg.DIRTY, 0, "unevictable LRU", me_pagecache_dirty, "UNEVICTABLE_LRU"),
    ErrorState(9, pg.UNEVICTABLE, 0, "unevictable LRU", me_pagecache_clean, "UNEVICTABLE_LRU"),
    ErrorState(10, pg.MLOCKED | pg.DIRTY, 0, "mlocked LRU", me_pagecache_dirty, "HAVE_MLOCKED_PAGE_BIT"),
    ErrorState(11, pg.MLOCKED, 0, "mlocked LRU", me_pagecache_clean, "HAVE_MLOCKED_PAGE_BIT"),
    ErrorState(12, pg.LRU | pg.DIRTY, 0, "LRU", me_pagecache_dirty),
    ErrorState(13, pg.LRU, pg.DIRTY, "clean LRU", me_pagecache_clean),
    ErrorState(14, pg.SWAPBACKED, 0, "anonymous", me_pagecache_clean),
    ErrorState(15, 0, 0, "unknown page state", me_unknown),
)

FORMATS: Formats = {
    # The slots stand in another order than the arguments (pfn, dirty, message, outcome).
    "result": (KERN_ERR, "MCE %#x: %s page recovery: %s%s"),
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
    "metadata": (KERN_ERR, "MCE %#x: page looks like a unsupported file system metadata page"),
    # A second level marker stands inside the text, so the log shows it literally.
    "buffers": (KERN_DEBUG, "<3>MCE %#x: failed to release buffers"),
    "swapcache": (KERN_ERR, "MCE %#x: keeping poisoned page in swap cache"),
    "clean": (KERN_INFO, "MCE %#x: corrupted page was clean: dropped without side effects"),
    "retry": (KERN_DEBUG, "MCE %#x: try_to_unmap retry needed %d"),
    "fault": (KERN_ERR, "MCE: Killing %s:%d due to hardware memory corruption fault at %x"),
    "madvise": (KERN_INFO, "Injecting memory failure for page %x at %x"),
    "inject": (KERN_INFO, "Injecting memory failure at pfn %x"),
    "logged": (KERN_INFO, "Machine check events logged"),
    "cpu_missing": (KERN_EMERG, "Some CPUs didn't answer in synchronization"),
    "panic": (KERN_EMERG, "Kernel panic - not syncing: %s"),
}

EXITS = {
    "exit:outside": "no struct page for this frame [memory_failure]",
    "exit:already": "PG_hwpoison was set before: a second report [memory_failure]",
    "exit:free_or_high_order": "count 0: free, or inside a high-order block [memory_failure]",
    "exit:already_unmapped": "truncated while the handler waited for the page lock [memory_failure]",
    "exit:table": "the error-state table decided [page_action]",
    "mappings:not_mappable": "reserved, compound or slab: never unmapped [hwpoison_user_mappings]",
    "mappings:not_mapped": "no page table maps it [hwpoison_user_mappings]",
    "mappings:clean": "clean file page: dropped, nobody is killed [hwpoison_user_mappings]",
    "mappings:mkclean_dirty": "dirty only in a page table entry [page_mkclean]",
    "unmap:done": "out of all page tables [try_to_unmap]",
    "unmap:retry": "a try failed: a mapping was being moved [try_to_unmap]",
    "unmap:failed": "five tries failed: the page stays mapped [hwpoison_user_mappings]",
}


def memory_failure(kernel: Kernel, pfn: int, trapno: int, failure: MemoryFailure, ref: int = 0) -> Steps:
    """As posted: what is in use is poisoned, locked, unmapped and looked up in the table."""
    failure.started_ns = kernel.engine.now_ns
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
    if page.count == 0:  # get_page_unless_zero(compound_head(p))
        if kernel.profile.free_page_policy(page):
            action_result(kernel, failure, page, "free buddy", RECOVERED, "free_buddy")
        else:
            action_result(kernel, failure, page, "free or high order kernel", IGNORED, "free_or_high_order")
        return
    page.get(HANDLER)  # never dropped again: it keeps the page from the allocator
    failure.mappers = len((page.head or page).ptes)
    yield from lock_page_nosync(kernel, page, failure)
    if page.flags & pg.WRITEBACK:
        yield from wait_on_page_writeback(kernel, page)
    if kernel.engine.now_ns > failure.started_ns:
        for watcher in kernel.handler_watchers:
            watcher.waited(failure, page)
    yield from hwpoison_user_mappings(kernel, page, pfn, failure)
    failure.dirty = bool(page.flags & pg.DIRTY)
    lru = page.flags & pg.LRU
    if lru and not page.flags & pg.SWAPCACHE and page.mapping is None and page.anon_vma is None:
        message = kernel.profile.null_mapping_message
        action_result(kernel, failure, page, message, IGNORED, "already_unmapped")
    else:
        duration = kernel.times.page_handler.draw(failure.draw(Slot.HANDLER))
        if duration:
            yield from kernel.pause(duration)
        page_action(kernel, failure, page, kernel.error_state(page.flags), ref)
        kernel.mce_bad_pages += 1  # in page_action() there: nothing else is counted
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
    note_unmapped(kernel, page, entries, failure)
    kill_procs_ao(kernel, page, to_kill, failure)


def collect_procs(kernel: Kernel, page: Page, to_kill: list[ToKill], failure: MemoryFailure) -> int:
    """Enter every process that could map the page; returns the process x VMA pairs walked.

    One entry is allocated up front with GFP_KERNEL, so that at least one task can be killed; the
    others are atomic and may fail.
    """
    spare = not kernel.failslab.should_fail(failure, 0)
    if page.flags & pg.ANON:
        return collect_procs_anon(kernel, page, to_kill, failure, spare)
    return collect_procs_file(kernel, page, to_kill, failure, spare)


PROFILE = Profile(
    name="v5",
    source="HWPOISON v5, 3 June 2009, Message-ID 20090603184648.2E2131D028F@basil.firstfloor.org",
    released="2009-06-03",
    model_version=7,
    early_kill_default=1,
    sysctls=frozenset({"vm.memory_failure_early_kill"}),
    error_states=ERROR_STATES,
    rows_met=range(1, 16),
    formats=FORMATS,
    exits=EXITS,
    told={
        "counted": "page_action",
        "rejects_non_lru": "False",
        "first_entry_needed": "False",
        "flusher": "pdflush",
    },
    n_unmap_tries=5,
    ring_slots=15,
    trapno=18,
    rendezvous_timeout_ns=1_000_000_000,
    madvise_ref=0,
    memory_failure=memory_failure,
    free_page_policy=leave_to_gatekeeper,
    null_mapping_message="already unmapped LRU",
    dirty_flags=pg.DIRTY | pg.ANON | pg.SWAPBACKED,
    unmap_retry_chance=0.0,
    early_kill=BY_SYSCTL,
    collect_anon=anon_vma_wide,
    pagecache_drop=truncate,
    blockdev_test=refuse_above_1,
    keeps_poisoned=keeps_none,
    eio_mode=AS_FLAG,
    close_reports=nfs_close_reports,
    fsync_asks=filemap_fdatawait,
    set_interval=Flusher.rearm,
    punch_hole=vmtruncate_range,
    prctl=no_mce_kill,
    meminfo="BadPages:       %8d kB",
    signalled=as_platform_says,
    machine_checks=do_machine_check.V2_6_32,
    queue=Cpu,
)
