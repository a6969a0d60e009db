"""What a kernel version is: tables, numbers, messages, and the functions that it has in its own way.

A kernel is one file in ``kernel/versions``, which fills in a :class:`Profile`.  What the review argued about
(``[machine.switches]``) are fields too: a scenario that sets one boots a kernel with another function there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from mypy_extensions import trait
from simpy import Event

from hwsim.kernel.error_states import ErrorState
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.machine_checks import Handling
from hwsim.kernel.mm_types import AddressSpace, OpenFile, Page, Task, Vma
from hwsim.kernel.writeback import Flusher

K = TypeVar("K")  # the Kernel: it holds its profile, and so cannot be known here

KERN_EMERG, KERN_ERR, KERN_INFO, KERN_DEBUG = 0, 3, 6, 7
Formats = dict[str, tuple[int, str]]
Handled = Generator[Event, object, int | None]  # 0 or an errno, where memory_failure() returns one


@dataclass(frozen=True, slots=True)
class EarlyKill(Generic[K]):
    """Who is told before the touch: whether anybody is asked at all, and each task."""

    collects: Callable[[K], bool]
    task_early_kill: Callable[[K, Task], bool]


class EioMode(NamedTuple):
    """What becomes of an error in a mapping.

    ``check``: a caller asks, and is told or not.  ``waits``: whether it would be, without asking.
    ``is_taken``: whether asking would change what others are told, even if the caller does not look.
    ``sync`` and ``last_close`` take the error away, or answer False.
    """

    check: Callable[[AddressSpace, OpenFile | None], bool]
    waits: Callable[[AddressSpace, OpenFile | None], bool]
    is_taken: Callable[[AddressSpace, OpenFile | None], bool]
    sync: Callable[[AddressSpace], bool]
    last_close: Callable[[AddressSpace], bool]
    is_shared_bit: bool = False  # who takes the error takes it from all others


@trait
class FailureQueue:
    """Where one CPU's machine checks leave pages for memory_failure(), and who is asked to fetch them."""

    __slots__ = ()

    def add(self, failure: MemoryFailure) -> bool:
        """Queue a page; False if there is no room, and nobody is told."""
        raise NotImplementedError

    def notify(self, failure: MemoryFailure, *, from_user: bool) -> None:
        """Ask somebody to fetch it; ``from_user``: the machine check has interrupted user space."""
        raise NotImplementedError

    def tear_down(self) -> None:
        """The boot is over: nobody fetches anything any more."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Profile(Generic[K]):
    """One kernel version.  ``if kernel == ...`` appears nowhere: code reads or calls these fields.

    ``formats`` maps a message id to (log level, printf format), for the kernel's own messages; levels are
    those of include/linux/kernel.h.  It needs every id that its functions print, the shared ones too: the
    log is rendered from it.  A message that a kernel does not have comes with the switch that gives it
    another kernel's ways.  ``exits`` are the keys that its functions hand to reach(), each with a word.
    """

    name: str
    source: str
    released: str  # date of the posting or the release
    model_version: int  # ours: goes up when the same scenario may give other results with this kernel

    # What it is.
    early_kill_default: int
    sysctls: frozenset[str]  # of this handler, in /proc/sys/vm
    error_states: tuple[ErrorState[K], ...]
    rows_met: range  # of error_states: for others memory_failure() has returned before
    formats: Formats
    exits: Mapping[str, str]
    told: Mapping[str, str]  # what no other field says: its functions in a word each, for `hwsim kernels`

    # Its numbers.
    n_unmap_tries: int
    ring_slots: int  # entries of the per-CPU ring that can be used
    trapno: int
    rendezvous_timeout_ns: int
    madvise_ref: int  # references that MADV_HWPOISON keeps meanwhile

    # memory_failure(kernel, pfn, trapno, failure, ref), and what it does in one way or another.
    memory_failure: Callable[[K, int, int, MemoryFailure, int], Handled]
    free_page_policy: Callable[[Page], bool]  # whether a free page is taken off its list
    null_mapping_message: str  # of a page whose mapping went while the handler waited
    dirty_flags: int  # with one of them a page cannot be known to be clean
    unmap_retry_chance: float  # that one try to unmap any page fails
    early_kill: EarlyKill[K]
    collect_anon: Callable[[Page], list[Vma]]  # which VMAs on the page's anon_vma count as mapping it

    # Files: what the handlers of the table drop, and who is told.
    pagecache_drop: Callable[[K, Page], bool]  # out of the page cache; False: refused
    blockdev_test: Callable[[K, AddressSpace, Page], bool]  # the same for a page of a block device
    keeps_poisoned: Callable[[AddressSpace], bool]  # a dirty page stays in the cache, where it answers EIO
    eio_mode: EioMode
    close_reports: Callable[[AddressSpace], bool]  # whether close() asks for errors
    fsync_asks: Callable[[int, bool], bool]  # (length of the file in pages, whether any page is cached)
    set_interval: Callable[[Flusher, int, int], None]  # dirty_writeback_centisecs: (flusher, now, interval)
    punch_hole: Callable[[AddressSpace, range], list[Page] | None]  # unmaps a range; None: no hole there

    # Around it.
    prctl: Callable[[Task, str, str], int]  # PR_MCE_KILL and PR_MCE_KILL_GET: an answer or a negative errno
    meminfo: str  # the line about bad pages in /proc/meminfo
    signalled: Callable[[str], str]  # what becomes of the way in which the platform would signal a find
    machine_checks: Handling  # for logs of banks; what chance finds (mce/delivery) has its panic texts alone
    queue: Callable[[K, int], FailureQueue]  # of a CPU, by number
