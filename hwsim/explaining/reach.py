"""What a run can meet at all: every exit, row, page-table result and path, kernel by kernel.

``hwsim run --reach`` puts beside it what the run has met, and a test demands that the shipped
scenarios together meet all that v5 can.  The exits and the rows of its table come from the kernel's own file;
what stands here v5 and 2.6.32 have alike.  Each entry says what it is and, in brackets, the function of the
source it happens in: that of the HWPOISON v5 series (Message-ID 20090603184648.2E2131D028F) or of the kernel
it was posted for.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hwsim.kernel.error_states import Config
from hwsim.kernel.mce.do_machine_check import ON_THIS_CPU
from hwsim.kernel.versions.boot import profile_of
from hwsim.spec import Spec

_PATHS: dict[str, str] = {
    # what each page table entry becomes
    "pte:anon->poison": "poison entry, a touch is fatal [try_to_unmap_one]",
    "pte:anon->present": "could not be unmapped [try_to_unmap_one]",
    "pte:swapcache->swap": "swap entry to the page kept in the swap cache [try_to_unmap_one]",
    "pte:swapcache->present": "could not be unmapped [try_to_unmap_one]",
    "pte:file_dirty->poison": "poison entry: what it held is lost [try_to_unmap_one]",
    "pte:file_dirty->present": "could not be unmapped [try_to_unmap_one]",
    "pte:file_clean->none": "empty entry, read again from disk [try_to_unmap_one]",
    "pte:file_clean->poison": "clean page of tmpfs: no disk to read from [try_to_unmap_one]",
    "pte:file_clean->present": "could not be unmapped [try_to_unmap_one]",
    # whom the handler signals
    "collect:out_of_memory": "no memory for the kill list: a task is let off [add_to_kill]",
    "collect:no_address": "collected, but has the page at no address [add_to_kill]",
    "signal:AO": "SIGBUS BUS_MCEERR_AO: told before the touch [kill_proc_ao]",
    "signal:AO not sent": "the task died while it was collected [kill_procs_ao]",
    "signal:SIGKILL unmap failed": "killed by force: the page stays mapped [kill_procs_ao]",
    "signal:SIGKILL no address": "killed by force: no address to tell [kill_procs_ao]",
    "signal:AR": "SIGBUS BUS_MCEERR_AR: it touched the page [do_sigbus]",
    "signal:ADRERR": "SIGBUS BUS_ADRERR: shared memory in the swap cache has lost its contents [do_sigbus]",
    "signal:AR forced on blocked or ignored": "no escape: back to the default action [force_sig_info]",
    "sigbus:remap": "a handler dropped the page and went on [user space]",
    "sigbus:exit": "a handler left in good order [user space]",
    "sigbus:return": "a handler returned without doing anything [user space]",
    "sigbus:touch": "a handler touched the page itself: SIGBUS is blocked there [user space]",
    # later touches, and forks
    "fault:poison": "touch of a poison entry [do_swap_page]",
    "fault:swap": "touch of a swap entry, poison still in the swap cache [do_swap_page]",
    "fault:none": "touch of an empty entry, poison still in the page cache [__do_fault]",
    "fault:reread_swap": "touch of a swap entry: the good copy is read [do_swap_page]",
    "fault:reread_disk": "touch of an empty entry: read again from disk [__do_fault]",
    "fault:cached": "a fault finds the poisoned page in the page cache [__do_fault]",
    "fault:stale": "a lost write: the disk gives the old contents without a word [__do_fault]",
    "fault:EFAULT": "a system call met poison in user memory [copy_to_user, copy_from_user]",
    "fork:poison_copied": "a child inherits the entry [copy_one_pte]",
    # lost writes: what readers find, who is told, what takes the error away
    "lost:old data": "a dirty page was dropped: reads get what the disk has [truncate_inode_page]",
    "lost:zeroes": "the same of a memory file system: reads get a hole [truncate_inode_page]",
    "lost:the page": "refused, but the mapping has its error: a page of a block device [me_pagecache_dirty]",
    "eio:reported": "AS_EIO, to whoever asks first [filemap_fdatawait]",
    "eio:swallowed_by_sync": "AS_EIO, thrown away by sync() [__sync_single_inode]",
    "eio:swallowed_by_close": "AS_EIO, thrown away at the last close of a device [sync_blockdev]",
    "eio:lost_with_inode": "the inode left memory with an error nobody had seen [clear_inode]",
    "eio:unheard": "told to a caller who does not look [user space]",
    "told:writer": "the task that wrote it heard of the loss [user space]",
    "told:bystander": "another that had the file open heard of it [user space]",
    "told:later_session": "who opened the file afterwards heard of it [user space]",
    "disk:bad bytes written": "DMA of a bad line that nobody stopped: it is on the disk now [submit_bio]",
    # frames that change hands
    "allocator:page_dropped": "a poisoned free page was met and dropped [prep_new_page]",
    "allocator:block_dropped": "a poisoned page cost its whole block [prep_new_page]",
    "allocator:freed_poison_isolated": "a poisoned page was freed and kept back [free_pages_check]",
    # how errors are found, and what that costs at once
    "found:further line": "the sweep goes on over a page that was just found [patrol scrub]",
    "found:logged_only": "UCNA: this kernel only writes it down [machine_check_poll]",
    "consumed:task_load": "a task read the bad line first [do_machine_check]",
    "consumed:kernel_load": "the kernel read the bad line first [do_machine_check]",
    "bank:overflow": "a find came on top of a record that was not read out: lost events [mce_severity]",
    "ring:overflow": "15 pages wait already: dropped without a word [mce_ring_add]",
    "rendezvous:timeout": "not all CPUs came within a second: goes on [mce_timed_out]",
}

# Combinations that the keys would allow, and why no page can come to them.
UNREACHABLE: Mapping[str, str] = MappingProxyType(
    {
        "pte:anon->none": "empty entries are left by clean file pages only",
        "pte:anon->swap": "swap entries are left by pages in the swap cache only",
        "pte:swapcache->poison": "TTU_IGNORE_HWPOISON is set: the entry leads to the page in the swap cache",
        "pte:swapcache->none": "a page in the swap cache leaves its place on the swap device behind",
        "pte:file_dirty->none": "the clean check has write-protected every entry, and the page is locked",
        "pte:file_dirty->swap": "shared memory leaves the page tables before it goes to the swap cache",
        "pte:file_clean->swap": "as above",
        "fault:present": "an entry that maps the page takes no fault: the bad line is consumed",
        "sigbus:default": "death, not a handler",
        "sigbus:ignored": "not delivered",
        "sigbus:blocked": "not delivered",
        "consumed:device_read": "a device does not execute: it is logged, or fatal for the platform",
    }
)


def possible_reach(spec: Spec) -> dict[str, str]:
    """What the kernel of ``spec`` can do at all, as it is built: key -> what it is and where it happens."""
    machine, profile = spec.machine, profile_of(spec.machine.kernel)
    config = Config(machine.unevictable_lru, machine.mlocked_page_bit, machine.pageflags_extended)
    ends = {key: text for key, text in profile.exits.items() if not key.startswith("panic:")}
    rows = {
        f"row:{state.row}": f"{state.message} [{state.handler.__name__}]"
        for state in config.build(profile.error_states)
        if state.row in profile.rows_met
    }
    checks = profile.machine_checks
    panics = {
        f"panic:{checks.fatal}": "bad data was consumed, or the platform gives up [mce_reign]",
        f"panic:{ON_THIS_CPU}": "the same, and not all CPUs came [do_machine_check]",
        f"panic:{checks.timeout}": "tolerant 0 [mce_timed_out]",
    }
    return {**ends, **_PATHS, **panics, **profile.exits, **rows}  # its own panics stand with the others
