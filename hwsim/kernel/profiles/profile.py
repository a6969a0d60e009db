"""What a kernel version is: a table, numbers, named strategies and message formats."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.kernel.error_states import ErrorState
from hwsim.kernel.switches import Switches


@dataclass(frozen=True, slots=True)
class Profile:
    """One kernel version.  ``if kernel == ...`` appears nowhere: code reads these fields.

    ``formats`` maps a message id to (log level, printf format); levels are those of
    include/linux/kernel.h (3 KERN_ERR, 6 KERN_INFO, 7 KERN_DEBUG).  A message that a kernel does not have
    is not printed.
    """

    name: str
    source: str
    released: str  # date of the posting or the release
    early_kill_default: int
    error_states: tuple[ErrorState, ...]
    switches: Switches
    formats: dict[str, tuple[int, str]]
    n_unmap_tries: int
    ring_slots: int  # entries of the per-CPU ring that can be used
    trapno: int
    rendezvous_timeout_ns: int
    pagecache_drop: str  # truncate | error_remove_page: see kernel/pagecache_drop
    counted: str  # page_action | poisoned: when mce_bad_pages rises
    rejects_non_lru: bool  # after a drain of all pagevecs, what is on no LRU list is left alone
    first_entry_needed: bool  # without memory for the first entry of the kill list nobody is collected
    has_prctl: bool
    has_recovery_sysctl: bool  # vm.memory_failure_recovery: 0 panics
    machine_checks: str  # which do_machine_check(): key of HANDLING and SEVERITIES
