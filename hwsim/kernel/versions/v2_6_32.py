"""The handler as it was merged: Linux 2.6.32, December 2009.

Source: mm/memory-failure.c, mm/madvise.c, arch/x86/kernel/cpu/mcheck/mce.c and fs/proc/meminfo.c of 2.6.32.
It kills late by default and lets each task ask otherwise, leaves everything alone that is on no LRU list,
asks the file system before it drops a page, and counts a page when it poisons it.  Its madvise() injector
holds a reference besides, so that nothing can be invalidated (mended in 2.6.33: Message-ID
20091208211622.54209B151F@basil.firstfloor.org).
"""

from __future__ import annotations

from dataclasses import replace

from hwsim.kernel.mce import do_machine_check
from hwsim.kernel.mm.filemap import filemap_write_and_wait_range
from hwsim.kernel.mm.memory import vmtruncate_range
from hwsim.kernel.profile import KERN_DEBUG, KERN_ERR, SWITCH_FORMATS, Profile
from hwsim.kernel.versions.v5 import V5

# The rows of v5; those for unevictable pages are no longer conditional.
ERROR_STATES = tuple(
    replace(row, config="") if row.config == "UNEVICTABLE_LRU" else row for row in V5.error_states
)

V2_6_32 = Profile(
    name="2.6.32",
    source="mm/memory-failure.c, Linux 2.6.32",
    released="2009-12-03",
    model_version=6,
    early_kill_default=0,
    error_states=ERROR_STATES,
    switches=replace(
        V5.switches,
        blockdev_test="fs_hook",
        collect_anon="mapped_only",
        early_kill_scheme="prctl",
        null_mapping_message="already truncated LRU",
        meminfo_name="HardwareCorrupted",
        result_order="as_meant",
        anon_test="dropped",
    ),
    formats={
        **{key: each for key, each in V5.formats.items() if key != "metadata"},
        "result": SWITCH_FORMATS["result_as_meant"],
        "buffers": (KERN_DEBUG, "MCE %#x: failed to release buffers"),
        "not_invalidated": SWITCH_FORMATS["not_invalidated"],
        "failed_to_unmap": (KERN_ERR, "MCE %#x: failed to unmap page (mapcount=%d)"),
    },
    n_unmap_tries=5,
    ring_slots=15,
    trapno=18,
    rendezvous_timeout_ns=1_000_000_000,
    pagecache_drop="error_remove_page",
    counted="poisoned",
    rejects_non_lru=True,
    first_entry_needed=True,
    madvise_holds_page=True,
    has_prctl=True,
    has_recovery_sysctl=True,
    flusher="flusher thread",
    fsync_asks=filemap_write_and_wait_range,
    punch_hole=vmtruncate_range,
    machine_checks=do_machine_check.V2_6_32,
)
