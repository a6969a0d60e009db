"""What a kernel version is: a table, numbers, named strategies and message formats."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.kernel.error_states import ErrorState


@dataclass(frozen=True, slots=True)
class Profile:
    """One kernel version.  ``if kernel == ...`` appears nowhere: code reads these fields.

    ``formats`` maps a message id to (log level, printf format); levels are those of
    include/linux/kernel.h (3 KERN_ERR, 6 KERN_INFO, 7 KERN_DEBUG).
    """

    name: str
    source: str
    early_kill_default: int
    error_states: tuple[ErrorState, ...]
    formats: dict[str, tuple[int, str]]
    n_unmap_tries: int
    ring_slots: int  # entries of the per-CPU ring that can be used
    trapno: int
    rendezvous_timeout_ns: int
    collect_anon: str  # anon_vma_wide | mapped_only
    scan_result_order: str  # as_printed | as_meant
    meminfo_format: str
    has_prctl: bool
    ucna_calls_memory_failure: bool
    consumption_recovers: bool
