"""What the review of the handler argued about, each as a switch with its source and its effect.

The review is Wu Fengguang's of 4 June 2009, Message-ID 20090604032441.GC5740@localhost; the author's answer
is Message-ID 20090604051346.GM1065@one.firstfloor.org.  A scenario may set any of them otherwise than its
kernel has it (``[machine.switches]``).  This is what a reader is told; what each word does is in
``kernel/versions/switches``, with the functions.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch: its values (none: a probability), where it was argued, what it changes."""

    name: str
    allowed: tuple[str, ...]
    source: str
    effect: str


_REVIEW = "review of v5, 20090604032441.GC5740@localhost"

SWITCHES: tuple[Switch, ...] = (
    Switch(
        "blockdev_test",
        ("count_gt_1", "count_gt_2", "release_buffers", "fs_hook"),
        f"{_REVIEW}; fs_hook: mm/memory-failure.c, 2.6.32",
        "which pages of a block device are refused as in use: all (the cache's own reference counts), "
        "those with buffers or a user, those with busy buffers, those that are dirty, busy or used",
    ),
    Switch(
        "close_reports",
        ("nfs", "all", "none"),
        _REVIEW,
        "whether close() asks for errors: on NFS only, everywhere, nowhere",
    ),
    Switch(
        "eio_mode",
        ("as_flag", "errseq", "sticky", "sticky_until_last_close", "keep_page"),
        f"{_REVIEW}; sticky: 20090609102014.GG14820@wotan.suse.de and answers; errseq: lib/errseq.c, 4.13",
        "who is told of a lost write: the first who asks, every open file once, all who ask, all until the "
        "last close, all as long as the page stays",
    ),
    Switch(
        "pagecache_policy",
        ("truncate", "keep_poisoned"),
        f"{_REVIEW}; keep_poisoned: mm/shmem.c, 5.16",
        "a dirty file page is dropped and read back old, or kept in the cache, where read() gets EIO and a "
        "fault SIGBUS",
    ),
    Switch(
        "collect_anon",
        ("anon_vma_wide", "mapped_only"),
        "20090609163508.GD9211@wotan.suse.de; mapped_only: 20090615031254.434000201@intel.com",
        "whom an early kill collects for anonymous memory: all relatives, or those that map the page",
    ),
    Switch(
        "free_page_policy",
        ("gatekeeper", "take_off_buddy"),
        "20090609134903.GC6583@localhost, 20090609135514.GD15219@wotan.suse.de",
        "a free page is met by the allocator later, with its whole block, or taken off the free list at once",
    ),
    Switch(
        "early_kill_scheme",
        ("sysctl", "prctl", "has_handler"),
        "20090622092754.GC8110@localhost; prctl: mm/memory-failure.c, 2.6.32",
        "who is killed early: all as the sysctl says, as each task asked with prctl, only who catches SIGBUS",
    ),
    Switch(
        "unmap_retry_level",
        ("debug", "err"),
        _REVIEW,
        'the level of "try_to_unmap retry needed": a debug message, or "a serious accident"',
    ),
    Switch(
        "unmap_retry_chance",
        (),
        "the answer: it can really happen by races, 20090604051346.GM1065@one.firstfloor.org",
        "probability from 0 to 1 that one try to unmap any page fails; regions may have a higher one",
    ),
    Switch(
        "null_mapping_message",
        ("already unmapped LRU", "already truncated LRU", "NULL mapping LRU", "already truncated page"),
        f"{_REVIEW}; 2.6.32: already truncated LRU",
        "what the log calls a page whose mapping went while the handler waited",
    ),
    Switch(
        "meminfo_name",
        ("BadPages", "HWPoison", "HardwareCorrupted"),
        f"{_REVIEW}; fs/proc/meminfo.c, 2.6.32",
        "the name of the line in /proc/meminfo",
    ),
    Switch(
        "result_order",
        ("as_printed", "as_meant"),
        "mm/memory-failure.c, 2.6.32; nobody noticed it in the review",
        "the result line with its words in the slots of v5, or as it was meant",
    ),
    Switch(
        "anon_test",
        ("kept", "dropped"),
        f"{_REVIEW}; both tests dropped in 2.6.32",
        "whether the clean check also asks for anonymous and swap-backed pages: the result is the same",
    ),
    Switch(
        "mca_recovery",
        ("on", "off"),
        _REVIEW,
        "off: a platform without recovery, where every uncorrected error is a fatal machine check",
    ),
)
