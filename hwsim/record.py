"""What a replication leaves behind: typed rows of facts, in the order of the SQLite columns.

One :class:`ErrorRow` an error, one :class:`SignalRow` a signal or kill, one :class:`LostWriteRow` a
page of a file whose newest contents are gone, one :class:`FaultRow` a DRAM fault, one
:class:`ReplicationRow` a machine.  Times are integer nanoseconds since the start of the run; None is
"did not happen".  Rendering (log lines, tables) comes later and elsewhere.
"""

from __future__ import annotations

from typing import NamedTuple


class StepMistake(NamedTuple):
    """Why a step of a script cannot be done: ``where`` it stands, its verb, the page, what is so.

    ``key`` is the argument that is wrong, ``("page", "index")``; ``allowed`` says what it could be: in words,
    or as the names there are.
    """

    where: str  # script[3]
    verb: str
    page: str
    problem: str
    key: tuple[str, ...] = ("do",)
    allowed: str | tuple[str, ...] = ""


class ErrorRow(NamedTuple):
    """One uncorrected error on one line of one page, from onset to its end."""

    replication: int
    error: int  # number in order of onset, equal under every policy
    source: int  # index of the [[errors]] table, -1 for a script step
    onset_ns: int
    pfn: int
    line: int  # 0..63
    permanent: int  # 0 | 1
    kind: str  # kind of page at detection (at onset if never found): anon, shm, file, slab, free, ...
    region: str  # its owner then: task/region, file:NAME, kernel:KIND, free
    found: str  # scrub | task_load | kernel_load | device_read | injected | none
    found_ns: int | None
    poisoned_ns: int | None  # PG_hwpoison set by memory_failure() at this find
    contained_ns: int | None  # out of reach: at its end, with the last entry, or at the allocator
    row: int  # error_states row 1..15, 0: memory_failure() did not reach the table
    message: str  # the row's or exit's message text, '' if memory_failure() never ran
    outcome: str  # Recovered | Delayed | Failed | Ignored | ''
    context: str  # who ran memory_failure(): '' | return_to_user | workqueue | injector
    mappers: int  # tasks that had the page in their page tables when memory_failure() began
    killed: int  # tasks that died of this error, in all boots, group deaths included
    data_lost_bytes: int  # dirty data that exists nowhere else any more, in all boots
    capacity_lost_bytes: int  # memory never handed out again (until reboot)
    repeats: int  # later finds of the same bad line
    ring_lost: int  # finds of it lost: the ring was full, or its bank overflowed
    logged_only: int  # finds that v5 only logged (UCNA)
    end: str  # isolated | reachable | healed | panic | latent | rebooted | replaced | duplicate
    end_ns: int
    unmapped_ns: int | None  # out of all page tables, or memory_failure() done with a page nobody mapped
    touched: int  # 1: the page was touched between the find and unmapped_ns, beside its bad line
    panic_ns: int | None  # the kernel first went down because of this line: consumed, or the platform's rule
    disk_ns: int | None  # the bad bytes were written to a disk or swap device, whoever was told
    boot: int  # of which kind to mappers speak, and capacity_lost_bytes: 0 until the first reboot
    panics: int  # how often the kernel went down because of this line
    panic_boot: int | None  # the boot of panic_ns
    panic_kind: str  # kind of the page in that boot, '' without a panic
    panic_region: str  # and its owner
    disk_boot: int | None  # the boot of disk_ns


class SignalRow(NamedTuple):
    """One signal sent, or one death, caused by one error."""

    replication: int
    error: int
    time_ns: int  # when it was sent
    task: str
    pid: int
    signal: str  # SIGBUS | SIGKILL
    code: str  # BUS_MCEERR_AO | BUS_MCEERR_AR | BUS_ADRERR | '' (SIGKILL, group death)
    cause: str  # early | late | forced | group_death
    result: str  # killed | handled | ignored | pending | merged | looping | lost (dead, or in its handler)
    done_ns: int | None  # death, or end of the handler
    innocent: int  # 1: the page was not mapped by this task, or it died with its group
    would_touch_ns: int | None  # early only: its next touch of the page; None: never, or not mapped
    needless: str  # early kills: no | yes | censored (a touch would come after the horizon); else ''
    window_ns: int | None  # from PG_hwpoison to the death or the end of the handler: the old data is gone
    stores: int  # what the task wrote meanwhile, into all of its memory: newer data beside the hole
    boot: int  # in which it was sent: a permanently bad frame finds a new owner in each
    kind: str  # kind of the page that was poisoned, in this boot
    region: str  # its owner in this boot


class LostWriteRow(NamedTuple):
    """One page of a file or segment whose newest contents exist nowhere, and who came to know of it."""

    replication: int
    error: int
    lost_ns: int  # memory_failure() has returned
    file: str  # or the region, such as postgres/shm
    page_index: int
    writer: str  # the task that stored last; '' if nobody in the scenario writes this file
    eio: int  # 1: the handler left an error in the mapping
    told: str  # writer | bystander | later_session | nobody: the one of them that comes first here
    told_ns: int | None  # the first time anybody was told
    told_task: str  # who that was
    told_by: str  # fsync | fdatasync | msync | o_sync | sync_file_range | close | read | SIGBUS | ''
    writer_told_ns: int | None
    told_tasks: int  # tasks told until the end
    swallowed: str  # what took the error away unheard: sync | inode | close | exit | unchecked | reboot | ''
    reads_find: str  # old data | zeroes | EIO | the page (still in the cache)
    stale_before: int  # reads of the page that found old data or zeroes before anybody was told
    stale_after: int  # the same after somebody was told
    first_stale_ns: int | None
    end: str  # overwritten | truncated | released | reboot | horizon: when reading it stopped to matter
    end_ns: int
    boot: int  # in which it was lost: the error may have been found in an earlier one
    kind: str  # file | blockdev | shm


class FaultRow(NamedTuple):
    """One DRAM fault: where it lies, what the ECC makes of it, and how it ends.

    A coordinate is None where the fault reaches all its values.
    """

    replication: int
    fault: int  # number in order of onset
    source: int  # index of the [[errors]] table
    onset_ns: int
    mode: str  # bit | word | column | row | bank | multi_bank | multi_rank | channel
    permanence: str  # transient | intermittent | permanent
    dimm: int | None  # number of the DIMM in the machine: socket, channel, slot
    rank: int | None
    chip: int | None
    bank: int | None  # bank group and bank
    row: int | None
    column: int | None
    lines: int  # 64-byte lines it reaches
    outcome: str  # none | CE | silent | miscorrected | UE: what its lines suffer from it alone
    met: int  # earlier faults with which it makes uncorrectable lines
    errors: int  # lines of it that went bad for the machine: rows of errors
    corrected: int  # corrected errors until its end
    records: int  # of these, read out of the bank by the kernel
    dropped: int  # of the records, thrown away because the kernel's log was full
    end: str  # horizon | scrubbed | corrected | overwritten | rebooted | spared | ppr | replaced
    end_ns: int


class ReplicationRow(NamedTuple):
    """One machine over the whole horizon."""

    replication: int
    end_ns: int  # horizon, or the panic that ended the run
    errors: int
    detected: int  # errors found by anything
    handled: int  # errors that memory_failure() poisoned
    recovered: int
    delayed: int
    failed: int
    ignored: int
    kills_early: int  # AO not caught
    kills_late: int  # a touch not survived: AR, or ADRERR of shared memory
    kills_forced: int  # SIGKILL by memory_failure()
    kills_group: int  # taken down by the death of another
    kills: int  # sum of the four
    needless_kills: int
    signals_handled: int
    panics: int
    downtime_ns: int
    bad_pages: int  # mce_bad_pages, summed over boots
    poisoned_pages: int  # frames with PG_hwpoison, summed over boots
    data_lost_bytes: int
    capacity_lost_bytes: int
    ring_lost: int
    repeats: int
    events: int  # engine events processed
    lost_writes: int  # rows of lost_writes: the next three sum to it
    told_writer: int
    told_other: int  # a bystander or a later session, and never the writer
    told_nobody: int
    stale_reads: int  # of lost pages, before and after anybody was told
    stale_reads_untold: int  # those before
    disk_corruptions: int  # pages whose bad bytes were written to a disk
    touched: int  # pages touched between detection and isolation
    inconsistent_stores: int  # what tasks wrote between PG_hwpoison and their late kill
    dram_faults: int  # rows of faults
    corrected: int  # corrected errors of all of them
    records: int  # of these, read out of the banks and kept in the kernel's log
    restarts: int  # deaths of errors that a supervisor answered with a start: one of all that died together


class Replication(NamedTuple):
    """The whole result of ``run_replication``: plain, picklable, independent of any worker."""

    row: ReplicationRow
    errors: list[ErrorRow]
    signals: list[SignalRow]
    lost_writes: list[LostWriteRow]
    reach: dict[str, int]  # 'exit:...', 'row:...', 'pte:...', 'signal:...' -> times met
    log: list[tuple[int, int, str]]  # (time_ns, level, text) kernel log; empty unless traced
    events: list[tuple[int, str, dict[str, object]]]  # (time_ns, event, facts); empty unless traced
    meminfo: str  # rendering of the BadPages line at the end
    faults: list[FaultRow]
