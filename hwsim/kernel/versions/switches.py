"""What each word of a switch does to the profile of the kernel that a scenario boots.

The words, with their sources and effects, are those of :data:`~hwsim.kernel.switches.SWITCHES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mce.delivery import always_fatal, as_platform_says
from hwsim.kernel.mm import filemap
from hwsim.kernel.mm.memory_failure import BY_HANDLER, BY_SYSCTL, BY_TASK, anon_vma_wide, mapped_only
from hwsim.kernel.mm.page_alloc import leave_to_gatekeeper, take_page_off_buddy
from hwsim.kernel.mm.truncate import invalidate, refuse_above_1, refuse_above_2, release_buffers
from hwsim.kernel.page_flags import ANON, DIRTY, SWAPBACKED
from hwsim.kernel.prctl import sys_prctl
from hwsim.kernel.profile import KERN_DEBUG, KERN_ERR, Profile
from hwsim.kernel.versions import v2_6_32, v5

Booting = Profile[Kernel]

_METADATA = {"metadata": v5.FORMATS["metadata"]}
_NOT_INVALIDATED = {"not_invalidated": v2_6_32.FORMATS["not_invalidated"]}
_RETRY = v5.FORMATS["retry"][1]

# In the order in which they are set.
WORDS: dict[str, dict[str, Callable[[Booting], Booting]]] = {
    "blockdev_test": {
        "count_gt_1": lambda p: replace(p, blockdev_test=refuse_above_1, formats=p.formats | _METADATA),
        "count_gt_2": lambda p: replace(p, blockdev_test=refuse_above_2, formats=p.formats | _METADATA),
        "release_buffers": lambda p: replace(p, blockdev_test=release_buffers),
        "fs_hook": lambda p: replace(p, blockdev_test=invalidate, formats=p.formats | _NOT_INVALIDATED),
    },
    "close_reports": {
        "nfs": lambda p: replace(p, close_reports=filemap.nfs_close_reports),
        "all": lambda p: replace(p, close_reports=filemap.every_close_reports),
        "none": lambda p: replace(p, close_reports=filemap.no_close_reports),
    },
    "pagecache_policy": {
        "truncate": lambda p: replace(p, keeps_poisoned=filemap.keeps_none),
        "keep_poisoned": lambda p: replace(p, keeps_poisoned=filemap.keeps_files),
    },
    "eio_mode": {  # after the policy: a page that answers EIO has to be kept
        "as_flag": lambda p: replace(p, eio_mode=filemap.AS_FLAG),
        "errseq": lambda p: replace(
            p, eio_mode=filemap.ERRSEQ, fsync_asks=filemap.file_check_and_advance_wb_err
        ),
        "sticky": lambda p: replace(p, eio_mode=filemap.STICKY),
        "sticky_until_last_close": lambda p: replace(p, eio_mode=filemap.STICKY_UNTIL_LAST_CLOSE),
        "keep_page": lambda p: replace(p, eio_mode=filemap.KEEP_PAGE, keeps_poisoned=filemap.keeps_files),
    },
    "collect_anon": {
        "anon_vma_wide": lambda p: replace(p, collect_anon=anon_vma_wide),
        "mapped_only": lambda p: replace(p, collect_anon=mapped_only),
    },
    "free_page_policy": {
        "gatekeeper": lambda p: replace(p, free_page_policy=leave_to_gatekeeper),
        "take_off_buddy": lambda p: replace(p, free_page_policy=take_page_off_buddy),
    },
    "early_kill_scheme": {
        "sysctl": lambda p: replace(p, early_kill=BY_SYSCTL),
        "prctl": lambda p: replace(p, early_kill=BY_TASK, prctl=sys_prctl),
        "has_handler": lambda p: replace(p, early_kill=BY_HANDLER),
    },
    "unmap_retry_level": {
        "debug": lambda p: replace(p, formats=p.formats | {"retry": (KERN_DEBUG, _RETRY)}),
        "err": lambda p: replace(p, formats=p.formats | {"retry": (KERN_ERR, _RETRY)}),
    },
    "null_mapping_message": {
        "already unmapped LRU": lambda p: replace(p, null_mapping_message="already unmapped LRU"),
        "already truncated LRU": lambda p: replace(p, null_mapping_message="already truncated LRU"),
        "NULL mapping LRU": lambda p: replace(p, null_mapping_message="NULL mapping LRU"),
        "already truncated page": lambda p: replace(p, null_mapping_message="already truncated page"),
    },
    "meminfo_name": {
        "BadPages": lambda p: replace(p, meminfo=v5.PROFILE.meminfo),
        "HWPoison": lambda p: replace(p, meminfo="HWPoison:       %8d kB"),
        "HardwareCorrupted": lambda p: replace(p, meminfo=v2_6_32.PROFILE.meminfo),
    },
    "result_order": {
        "as_printed": lambda p: replace(p, formats=p.formats | {"result": v5.FORMATS["result"]}),
        "as_meant": lambda p: replace(p, formats=p.formats | {"result": v2_6_32.FORMATS["result"]}),
    },
    "anon_test": {
        "kept": lambda p: replace(p, dirty_flags=DIRTY | ANON | SWAPBACKED),
        "dropped": lambda p: replace(p, dirty_flags=DIRTY),
    },
    "mca_recovery": {
        "on": lambda p: replace(p, signalled=as_platform_says),
        "off": lambda p: replace(p, signalled=always_fatal),
    },
}
_NONE_OF_THEM = "its own"


def with_switches(profile: Booting, switches: Iterable[tuple[str, str | float]]) -> Booting:
    """The kernel with some switches set otherwise than it has them."""
    chosen = dict(switches)
    if "unmap_retry_chance" in chosen:
        profile = replace(profile, unmap_retry_chance=float(chosen["unmap_retry_chance"]))
    for name in WORDS:
        if name in chosen:
            profile = WORDS[name][str(chosen[name])](profile)
    return profile


def word_of(profile: Booting, switch: str) -> str | float:
    """How a kernel has this switch by itself: the word that changes nothing."""
    if switch == "unmap_retry_chance":
        return profile.unmap_retry_chance
    return next((word for word, set_ in WORDS[switch].items() if set_(profile) == profile), _NONE_OF_THEM)
