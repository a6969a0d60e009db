"""The HWPOISON v5 handler: the patch of 3 June 2009 on top of 2.6.30.

Source: "[PATCH] [13/16] HWPOISON: The high level memory error handler in the VM v5", Andi Kleen,
linux-mm, Message-ID 20090603184648.2E2131D028F@basil.firstfloor.org, with the other patches of
that series; reviewed by Wu Fengguang, Message-ID 20090604032441.GC5740@localhost.  Machine-check
delivery follows arch/x86/kernel/cpu/mcheck/mce.c of 2.6.32, the first release that has it.
"""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import ErrorState
from hwsim.kernel.mce import do_machine_check
from hwsim.kernel.mm.filemap import filemap_fdatawait
from hwsim.kernel.mm.memory import vmtruncate_range
from hwsim.kernel.profile import (
    KERN_DEBUG,
    KERN_EMERG,
    KERN_ERR,
    KERN_INFO,
    SWITCH_FORMATS,
    Formats,
    Profile,
)
from hwsim.kernel.switches import Switches

ERROR_STATES: tuple[ErrorState, ...] = (
    ErrorState(1, pg.RESERVED, 0, "reserved kernel", "me_ignore"),
    ErrorState(2, pg.BUDDY, 0, "free kernel", "me_free"),
    ErrorState(3, pg.SLAB, 0, "kernel slab", "me_kernel"),
    ErrorState(4, pg.HEAD, 0, "huge", "me_huge_page", "PAGEFLAGS_EXTENDED"),
    ErrorState(5, pg.TAIL, 0, "huge", "me_huge_page", "PAGEFLAGS_EXTENDED"),
    ErrorState(4, pg.COMPOUND, 0, "huge", "me_huge_page", "!PAGEFLAGS_EXTENDED"),
    ErrorState(6, pg.SWAPCACHE | pg.DIRTY, 0, "swapcache", "me_swapcache_dirty"),
    ErrorState(7, pg.SWAPCACHE, pg.DIRTY, "swapcache", "me_swapcache_clean"),
    ErrorState(8, pg.UNEVICTABLE | pg.DIRTY, 0, "unevictable LRU", "me_pagecache_dirty", "UNEVICTABLE_LRU"),
    ErrorState(9, pg.UNEVICTABLE, 0, "unevictable LRU", "me_pagecache_clean", "UNEVICTABLE_LRU"),
    ErrorState(10, pg.MLOCKED | pg.DIRTY, 0, "mlocked LRU", "me_pagecache_dirty", "HAVE_MLOCKED_PAGE_BIT"),
    ErrorState(11, pg.MLOCKED, 0, "mlocked LRU", "me_pagecache_clean", "HAVE_MLOCKED_PAGE_BIT"),
    ErrorState(12, pg.LRU | pg.DIRTY, 0, "LRU", "me_pagecache_dirty"),
    ErrorState(13, pg.LRU, pg.DIRTY, "clean LRU", "me_pagecache_clean"),
    ErrorState(14, pg.SWAPBACKED, 0, "anonymous", "me_pagecache_clean"),
    ErrorState(15, 0, 0, "unknown page state", "me_unknown"),
)

FORMATS: Formats = {
    "result": SWITCH_FORMATS["result_as_printed"],
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
    "metadata": SWITCH_FORMATS["metadata"],
    # A second level marker stands inside the text, so the log shows it literally.
    "buffers": (KERN_DEBUG, "<3>MCE %#x: failed to release buffers"),
    "swapcache": (KERN_ERR, "MCE %#x: keeping poisoned page in swap cache"),
    "clean": (KERN_INFO, "MCE %#x: corrupted page was clean: dropped without side effects"),
    "retry": SWITCH_FORMATS["retry_debug"],
    "fault": (KERN_ERR, "MCE: Killing %s:%d due to hardware memory corruption fault at %x"),
    "madvise": (KERN_INFO, "Injecting memory failure for page %x at %x"),
    "inject": (KERN_INFO, "Injecting memory failure at pfn %x"),
    "logged": (KERN_INFO, "Machine check events logged"),
    "cpu_missing": (KERN_EMERG, "Some CPUs didn't answer in synchronization"),
    "panic": (KERN_EMERG, "Kernel panic - not syncing: %s"),
}

V5 = Profile(
    name="v5",
    source="HWPOISON v5, 3 June 2009, Message-ID 20090603184648.2E2131D028F@basil.firstfloor.org",
    released="2009-06-03",
    model_version=6,
    early_kill_default=1,
    error_states=ERROR_STATES,
    switches=Switches(
        blockdev_test="count_gt_1",
        close_reports="nfs",
        eio_mode="as_flag",
        pagecache_policy="truncate",
        collect_anon="anon_vma_wide",
        free_page_policy="gatekeeper",
        early_kill_scheme="sysctl",
        unmap_retry_level="debug",
        null_mapping_message="already unmapped LRU",
        meminfo_name="BadPages",
        result_order="as_printed",
        anon_test="kept",
        mca_recovery="on",
    ),
    formats=FORMATS,
    n_unmap_tries=5,
    ring_slots=15,
    trapno=18,
    rendezvous_timeout_ns=1_000_000_000,
    pagecache_drop="truncate",
    counted="page_action",
    rejects_non_lru=False,
    first_entry_needed=False,
    madvise_holds_page=False,
    has_prctl=False,
    has_recovery_sysctl=False,
    flusher="pdflush",
    fsync_asks=filemap_fdatawait,
    punch_hole=vmtruncate_range,
    machine_checks=do_machine_check.V2_6_32,
)
