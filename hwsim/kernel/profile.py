"""What a kernel version is: a table, numbers, named strategies and message formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwsim.kernel.error_states import ErrorState
from hwsim.kernel.machine_checks import Handling
from hwsim.kernel.mm_types import AddressSpace, Page
from hwsim.kernel.switches import Switches

KERN_EMERG, KERN_ERR, KERN_INFO, KERN_DEBUG = 0, 3, 6, 7
Formats = dict[str, tuple[int, str]]
FsyncAsks = Callable[[int, bool], bool]  # (length of the file in pages, whether any page is cached)
PunchHole = Callable[[AddressSpace, range], list[Page] | None]

# What a kernel prints only with a switch that is not as the kernel itself has it.
SWITCH_FORMATS: Formats = {
    # v5: the slots stand in another order than the arguments (pfn, dirty, message, outcome).
    "result_as_printed": (KERN_ERR, "MCE %#x: %s page recovery: %s%s"),
    "result_as_meant": (KERN_ERR, "MCE %#x: %s%s page recovery: %s"),
    "retry_debug": (KERN_DEBUG, "MCE %#x: try_to_unmap retry needed %d"),
    "retry_err": (KERN_ERR, "MCE %#x: try_to_unmap retry needed %d"),
    "metadata": (KERN_ERR, "MCE %#x: page looks like a unsupported file system metadata page"),
    "not_invalidated": (KERN_INFO, "MCE %#x: Failed to invalidate"),
}


@dataclass(frozen=True, slots=True)
class Profile:
    """One kernel version.  ``if kernel == ...`` appears nowhere: code reads these fields.

    ``formats`` maps a message id to (log level, printf format), for the kernel's own messages; levels are
    those of include/linux/kernel.h.  A message that a kernel does not have is printed only where a switch
    gives it another kernel's ways.
    """

    name: str
    source: str
    released: str  # date of the posting or the release
    model_version: (
        int  # ours, not the kernel's: goes up when the same scenario may give other results with it
    )
    early_kill_default: int
    error_states: tuple[ErrorState, ...]
    switches: Switches
    formats: Formats
    n_unmap_tries: int
    ring_slots: int  # entries of the per-CPU ring that can be used
    trapno: int
    rendezvous_timeout_ns: int
    pagecache_drop: str  # truncate | error_remove_page: see kernel/mm/truncate
    counted: str  # page_action | poisoned: when mce_bad_pages rises
    rejects_non_lru: bool  # after a drain of all pagevecs, what is on no LRU list is left alone
    first_entry_needed: bool  # without memory for the first entry of the kill list nobody is collected
    madvise_holds_page: bool  # MADV_HWPOISON keeps get_user_pages()'s reference meanwhile
    has_prctl: bool
    has_recovery_sysctl: bool  # vm.memory_failure_recovery: 0 panics
    flusher: str  # pdflush | flusher thread: key of writeback.SET_INTERVAL; later ones arm a delayed work
    fsync_asks: FsyncAsks  # whether fsync(), fdatasync() and msync() look for an error in the mapping
    punch_hole: PunchHole  # takes a range out of the page tables; None: no hole can be punched in the file
    machine_checks: Handling

    def all_formats(self, switches: Switches) -> Formats:
        """Everything that this kernel can be made to print, in the words that its switches choose."""
        return {
            **SWITCH_FORMATS,
            **self.formats,
            "result": SWITCH_FORMATS[f"result_{switches.result_order}"],
            "retry": SWITCH_FORMATS[f"retry_{switches.unmap_retry_level}"],
        }
