"""What a replication leaves behind: typed rows of facts, in the order of the SQLite columns.

One :class:`ErrorRow` an error, one :class:`SignalRow` a signal or kill, one :class:`LostWriteRow` a
page of a file whose newest contents are gone, one :class:`FaultRow` a DRAM fault, one
:class:`ReplicationRow` a machine.  Rendering (log lines, tables) comes later and elsewhere.

All that is known of a column is its field here: name, with the unit at its end (``_ns`` since the start of
the run, ``_bytes``), type (None: "did not happen"), meaning, and what is allowed: a range or words.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, get_type_hints


class Words:
    """The words of a column, each under its name and with its meaning.

    They are plain strings: rows travel by marshal, which refuses members of an Enum.
    """

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """What each word means, in the order in which they are told."""
        hints = get_type_hints(cls, include_extras=True)
        return {getattr(cls, name): hint.__metadata__[0] for name, hint in hints.items()}


class Found(Words):
    SCRUB: Annotated[str, "patrol scrub"] = "scrub"
    TASK_LOAD: Annotated[str, "read by a task"] = "task_load"
    KERNEL_LOAD: Annotated[str, "read by the kernel"] = "kernel_load"
    DEVICE_READ: Annotated[str, "read by a device"] = "device_read"
    INJECTED: Annotated[str, "injected"] = "injected"
    NONE: Annotated[str, "never found"] = "none"


class Outcome(Words):
    RECOVERED: Annotated[str, "dealt with"] = "Recovered"
    DELAYED: Annotated[str, "to be dealt with later"] = "Delayed"
    FAILED: Annotated[str, "tried in vain"] = "Failed"
    IGNORED: Annotated[str, "left alone: it is safe as it is, or nothing can be done"] = "Ignored"
    NONE: Annotated[str, "nothing was said"] = ""


class Context(Words):
    RETURN_TO_USER: Annotated[str, "the interrupted CPU, on its way to user space"] = "return_to_user"
    WORKQUEUE: Annotated[str, "a worker of the kernel"] = "workqueue"
    INJECTOR: Annotated[str, "whoever injected the error"] = "injector"
    NONE: Annotated[str, "nobody"] = ""


class End(Words):
    ISOLATED: Annotated[str, "out of everyone's reach"] = "isolated"
    REACHABLE: Annotated[str, "found, but it can still be read"] = "reachable"
    HEALED: Annotated[str, "overwritten or refilled while transient"] = "healed"
    PANIC: Annotated[str, "it brought the machine down and did not come back"] = "panic"
    LATENT: Annotated[str, "never found"] = "latent"
    REBOOTED: Annotated[str, "transient, gone with a reboot that others caused"] = "rebooted"
    REPLACED: Annotated[str, "gone with the DRAM fault behind it, which was repaired"] = "replaced"
    DUPLICATE: Annotated[str, "it fell on a page that already had an error"] = "duplicate"


class Sent(Words):
    SIGBUS: Annotated[str, "it can be caught"] = "SIGBUS"
    SIGKILL: Annotated[str, "it cannot"] = "SIGKILL"


class Code(Words):
    BUS_MCEERR_AO: Annotated[str, "action optional: one of the task's pages went bad"] = "BUS_MCEERR_AO"
    BUS_MCEERR_AR: Annotated[str, "action required: the task touched the bad page"] = "BUS_MCEERR_AR"
    BUS_ADRERR: Annotated[str, "the same, of shared memory, dirty in the swap cache"] = "BUS_ADRERR"
    NONE: Annotated[str, "SIGKILL, or death with the group"] = ""


class Cause(Words):
    EARLY: Annotated[str, "memory_failure() sent it for the unmapped page"] = "early"
    LATE: Annotated[str, "the task touched the page"] = "late"
    FORCED: Annotated[str, "the page could not be unmapped, or not be found in the task: SIGKILL"] = "forced"
    GROUP_DEATH: Annotated[str, "another task of its group died"] = "group_death"


class Result(Words):
    KILLED: Annotated[str, "the task died of it"] = "killed"
    HANDLED: Annotated[str, "its handler ran"] = "handled"
    IGNORED: Annotated[str, "the task ignores it"] = "ignored"
    PENDING: Annotated[str, "it is blocked, or not noticed yet"] = "pending"
    MERGED: Annotated[str, "one was pending already, and that is the one the task gets or dies of"] = "merged"
    LOOPING: Annotated[str, "a handler returned to the same access again and again"] = "looping"
    LOST: Annotated[str, "the target was dead, or died in its handler"] = "lost"


class Needless(Words):
    NO: Annotated[str, "it would have come"] = "no"
    YES: Annotated[str, "nobody of those who die together, or the task itself, would have come to it"] = "yes"
    CENSORED: Annotated[str, "it would have come after the horizon"] = "censored"
    NONE: Annotated[str, "no early kill"] = ""


class Told(Words):
    WRITER: Annotated[str, "the writer"] = "writer"
    BYSTANDER: Annotated[str, "a bystander only"] = "bystander"
    LATER_SESSION: Annotated[str, "a later session only"] = "later_session"
    NOBODY: Annotated[str, "nobody"] = "nobody"


class ToldBy(Words):
    FSYNC: Annotated[str, "the system call"] = "fsync"
    FDATASYNC: Annotated[str, "the system call"] = "fdatasync"
    MSYNC: Annotated[str, "the system call"] = "msync"
    O_SYNC: Annotated[str, "write() on a file opened with O_SYNC"] = "o_sync"
    SYNC_FILE_RANGE: Annotated[str, "the system call"] = "sync_file_range"
    CLOSE: Annotated[str, "the system call, on a filesystem that asks there"] = "close"
    READ: Annotated[str, "read() of the poisoned page, kept in the cache"] = "read"
    SIGBUS: Annotated[str, "the signal"] = "SIGBUS"
    NONE: Annotated[str, "nobody was told"] = ""


class Swallowed(Words):
    SYNC: Annotated[str, "sync() waited for the page"] = "sync"
    INODE: Annotated[str, "the inode left its cache"] = "inode"
    CLOSE: Annotated[str, "the last close of the file"] = "close"
    EXIT: Annotated[str, "the close of a task that died was told"] = "exit"
    UNCHECKED: Annotated[str, "a task was told that does not look"] = "unchecked"
    REBOOT: Annotated[str, "the kernel went down"] = "reboot"
    NONE: Annotated[str, "nothing did, or somebody was told"] = ""


class ReadsFind(Words):
    OLD_DATA: Annotated[str, "what the disk has"] = "old data"
    ZEROES: Annotated[str, "an empty page: no disk stands behind it"] = "zeroes"
    EIO: Annotated[str, "an error"] = "EIO"
    THE_PAGE: Annotated[str, "it is still in the cache"] = "the page"


class LostEnd(Words):
    OVERWRITTEN: Annotated[str, "written as a whole again"] = "overwritten"
    TRUNCATED: Annotated[str, "cut out of the file"] = "truncated"
    RELEASED: Annotated[str, "the segment is gone, with its last task"] = "released"
    REBOOT: Annotated[str, "the kernel that lost it went down"] = "reboot"
    HORIZON: Annotated[str, "not before the end of the run"] = "horizon"


class FaultMode(Words):
    BIT: Annotated[str, "one bit of a chip"] = "bit"
    WORD: Annotated[str, "what a chip gives in one transfer"] = "word"
    COLUMN: Annotated[str, "one column of a bank"] = "column"
    ROW: Annotated[str, "one row of a bank"] = "row"
    BANK: Annotated[str, "one bank of a chip"] = "bank"
    MULTI_BANK: Annotated[str, "a chip of a rank"] = "multi_bank"
    MULTI_RANK: Annotated[str, "a chip of each rank of a DIMM"] = "multi_rank"
    CHANNEL: Annotated[str, "the controller or the bus: all DIMMs of a channel"] = "channel"


class Permanence(Words):
    TRANSIENT: Annotated[str, "until its lines are written"] = "transient"
    INTERMITTENT: Annotated[str, "it comes and goes"] = "intermittent"
    PERMANENT: Annotated[str, "until it is repaired"] = "permanent"


class Ecc(Words):
    NONE: Annotated[str, "no error, or corrected in the chip"] = "none"
    CE: Annotated[str, "corrected"] = "CE"
    SILENT: Annotated[str, "wrong data that nobody notices"] = "silent"
    MISCORRECTED: Annotated[str, "corrected to wrong data"] = "miscorrected"
    UE: Annotated[str, "not corrected: the line goes bad"] = "UE"


class FaultEnd(Words):
    HORIZON: Annotated[str, "not before the end of the run"] = "horizon"
    SCRUBBED: Annotated[str, "a transient: swept over"] = "scrubbed"
    CORRECTED: Annotated[str, "a transient: read and written back"] = "corrected"
    OVERWRITTEN: Annotated[str, "a transient: written over"] = "overwritten"
    REBOOTED: Annotated[str, "a transient: memory was initialised"] = "rebooted"
    SPARED: Annotated[str, "a spare row took over"] = "spared"
    PPR: Annotated[str, "its row was repaired at a reboot"] = "ppr"
    REPLACED: Annotated[str, "with its DIMM after a panic; a channel for itself"] = "replaced"


_Replication = Annotated[int, "number of the machine"]
_Error = Annotated[int, "number of the error, by onset: equal under every policy"]
_Source = Annotated[int, "index of its `[[errors]]` table, -1 for a step of a script"]


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

    replication: _Replication
    error: _Error
    source: _Source
    onset_ns: Annotated[int, "when the line went bad"]
    pfn: Annotated[int, "number of its page frame"]
    line: Annotated[int, "its line of 64 bytes in the page", range(64)]
    permanent: Annotated[int, "1: what is written there does not heal it", range(2)]
    kind: Annotated[str, "what the page was when found (at onset if never): anon, shm, file, slab, free, ..."]
    region: Annotated[str, "its owner then: task/region, file:NAME, kernel:KIND, free"]
    found: Annotated[str, "how it was found first", Found]
    found_ns: Annotated[int | None, "when"]
    poisoned_ns: Annotated[int | None, "PG_hwpoison was set, by memory_failure() at this find"]
    contained_ns: Annotated[int | None, "out of everyone's reach: then, with the last entry, or when freed"]
    row: Annotated[int, "row of the kernel's table `error_states`, from 1; 0: left before the table"]
    message: Annotated[str, "text of that row, or of the exit; empty if memory_failure() never ran"]
    outcome: Annotated[str, "what the kernel said of it", Outcome]
    context: Annotated[str, "who ran memory_failure()", Context]
    mappers: Annotated[int, "tasks that had the page in their page tables when memory_failure() began"]
    killed: Annotated[int, "tasks that died of it, in all boots, group deaths included"]
    data_lost_bytes: Annotated[int, "dirty data that exists nowhere else any more, in all boots"]
    capacity_lost_bytes: Annotated[int, "memory never handed out again, until a reboot"]
    repeats: Annotated[int, "later finds of the same bad line"]
    ring_lost: Annotated[int, "finds of it that were dropped: the ring was full, or its bank overflowed"]
    logged_only: Annotated[int, "finds that the kernel only logs (UCNA)"]
    end: Annotated[str, "how it stands at the end", End]
    end_ns: Annotated[int, "since when"]
    unmapped_ns: Annotated[int | None, "out of all page tables, or handled if nobody mapped it"]
    touched: Annotated[int, "1: a task touched the page, beside its bad line, from find to then", range(2)]
    panic_ns: Annotated[int | None, "the kernel first went down for it: consumed, or by the platform's rule"]
    disk_ns: Annotated[int | None, "a device first wrote the bad bytes to a disk or swap device"]
    boot: Annotated[int, "of which `kind` to `mappers` speak, and `capacity_lost_bytes`; 0: the first"]
    panics: Annotated[int, "how often the kernel went down for it"]
    panic_boot: Annotated[int | None, "the boot of `panic_ns`"]
    panic_kind: Annotated[str, "what the page was in that boot; empty without a panic"]
    panic_region: Annotated[str, "and its owner"]
    disk_boot: Annotated[int | None, "the boot of `disk_ns`"]


class SignalRow(NamedTuple):
    """One signal sent, or one death, caused by one error."""

    replication: _Replication
    error: _Error
    time_ns: Annotated[int, "when it was sent"]
    task: Annotated[str, "to whom"]
    pid: Annotated[int, "its process id"]
    signal: Annotated[str, "what was sent", Sent]
    code: Annotated[str, "why a SIGBUS was sent: its si_code", Code]
    cause: Annotated[str, "what it came of", Cause]
    result: Annotated[str, "what became of it", Result]
    done_ns: Annotated[int | None, "death, or end of the handler"]
    innocent: Annotated[int, "1: the page was not mapped by this task, or it died with its group", range(2)]
    would_touch_ns: Annotated[int | None, "early only: its next touch of the page, if it mapped it"]
    needless: Annotated[
        str, "whether an early kill prevented nothing, as the touch would not have come", Needless
    ]
    window_ns: Annotated[int | None, "from PG_hwpoison to `done_ns`: the old data is gone"]
    stores: Annotated[int, "what the task wrote meanwhile into all of its memory: newer data beside the hole"]
    boot: Annotated[int, "in which it was sent: a permanently bad frame finds another owner in each"]
    kind: Annotated[str, "what the poisoned page was in this boot: deaths by kind are counted from here"]
    region: Annotated[str, "its owner in this boot"]


class LostWriteRow(NamedTuple):
    """One page of a file or shared segment that was dropped dirty: its newest contents exist nowhere.

    A segment has no descriptor: only SIGBUS tells of it, and who had not mapped the page reads zeroes.
    """

    replication: _Replication
    error: _Error
    lost_ns: Annotated[int, "memory_failure() has returned"]
    file: Annotated[str, "whose page it was; a segment by its region, such as postgres/shm"]
    page_index: Annotated[int, "which of its pages"]
    writer: Annotated[str, "the task that stored last; empty: nobody in the scenario writes this file"]
    eio: Annotated[int, "1: the handler left an error in the mapping", range(2)]
    told: Annotated[
        str, "who came to know, the first that holds; a later session opened the file after the loss", Told
    ]
    told_ns: Annotated[int | None, "when anybody was told first"]
    told_task: Annotated[str, "who that was"]
    told_by: Annotated[str, "by what", ToldBy]
    writer_told_ns: Annotated[int | None, "when the writer was"]
    told_tasks: Annotated[int, "tasks told until the end"]
    swallowed: Annotated[str, "what took the error away before anybody was told", Swallowed]
    reads_find: Annotated[str, "what a read of the page finds", ReadsFind]
    stale_before: Annotated[int, "reads of it that found old data or zeroes before anybody was told"]
    stale_after: Annotated[int, "the same after somebody was told"]
    first_stale_ns: Annotated[int | None, "the first of these reads"]
    end: Annotated[str, "what ended that reads of the page matter", LostEnd]
    end_ns: Annotated[int, "when"]
    boot: Annotated[int, "in which it was lost: the error may have been found in an earlier one"]
    kind: Annotated[str, "what the page was: file, blockdev or shm"]


class FaultRow(NamedTuple):
    """One DRAM fault: where it lies, what the ECC makes of it, and how it ends.

    A coordinate is None where the fault reaches all its values.
    """

    replication: _Replication
    fault: Annotated[int, "number of the fault, by onset"]
    source: _Source
    onset_ns: Annotated[int, "when it appeared"]
    mode: Annotated[str, "how far it reaches", FaultMode]
    permanence: Annotated[str, "how long it stays", Permanence]
    dimm: Annotated[int | None, "number of the DIMM in the machine: socket, channel, slot"]
    rank: Annotated[int | None, "rank of the DIMM"]
    chip: Annotated[int | None, "chip of the rank"]
    bank: Annotated[int | None, "bank group and bank as one number"]
    row: Annotated[int | None, "row of the bank"]
    column: Annotated[int | None, "column of the row"]
    lines: Annotated[int, "lines of 64 bytes it reaches"]
    outcome: Annotated[str, "what its lines suffer from it alone", Ecc]
    met: Annotated[int, "earlier faults with which it makes lines that cannot be corrected"]
    ruined: Annotated[int, "lines that went bad with it, alone or with another; again in each of its windows"]
    errors: Annotated[int, "rows of `errors` it made: of many lines those that somebody met"]
    corrected: Annotated[int, "corrected errors until its end"]
    records: Annotated[int, "of these, read out of the bank by the kernel"]
    dropped: Annotated[int, "of the records, thrown away because the kernel's log was full"]
    end: Annotated[str, "how it ended", FaultEnd]
    end_ns: Annotated[int, "when"]


class ReplicationRow(NamedTuple):
    """One machine over the whole horizon."""

    replication: _Replication
    end_ns: Annotated[int, "the horizon, or the panic that ended the run"]
    errors: Annotated[int, "rows of `errors`: that fell, or of a wide DRAM fault were met"]
    detected: Annotated[int, "errors found by anything"]
    handled: Annotated[int, "errors that memory_failure() poisoned"]
    recovered: Annotated[int, "errors of which the kernel said Recovered"]
    delayed: Annotated[int, "errors of which it said Delayed"]
    failed: Annotated[int, "errors of which it said Failed"]
    ignored: Annotated[int, "errors of which it said Ignored"]
    kills_early: Annotated[int, "deaths by SIGBUS AO"]
    kills_late: Annotated[int, "deaths by a touch: SIGBUS AR, or ADRERR of shared memory"]
    kills_forced: Annotated[int, "deaths by SIGKILL of memory_failure()"]
    kills_group: Annotated[int, "deaths with another of the group"]
    kills: Annotated[int, "sum of the four"]
    needless_kills: Annotated[int, "early kills that prevented nothing: `needless` of `signals`"]
    signals_handled: Annotated[int, "signals whose handler ran"]
    panics: Annotated[int, "panics"]
    downtime_ns: Annotated[int, "time not running because of them"]
    bad_pages: Annotated[int, "`mce_bad_pages` as the kernel counts it, summed over boots"]
    poisoned_pages: Annotated[int, "frames that truly have PG_hwpoison, summed over boots"]
    data_lost_bytes: Annotated[int, "dirty data that exists nowhere else"]
    capacity_lost_bytes: Annotated[int, "memory never handed out again"]
    ring_lost: Annotated[int, "finds that were dropped: a full ring, or a bank that overflowed"]
    repeats: Annotated[int, "later finds of known bad lines"]
    lost_writes: Annotated[int, "rows of `lost_writes`: sum of the next three"]
    told_writer: Annotated[int, "those whose writer was told"]
    told_other: Annotated[int, "those of which a bystander or a later session was told, and never the writer"]
    told_nobody: Annotated[int, "those of which nobody was"]
    stale_reads: Annotated[int, "reads of lost pages that found old data or zeroes"]
    stale_reads_untold: Annotated[int, "those before anybody was told"]
    disk_corruptions: Annotated[int, "pages whose bad bytes a device wrote to a disk"]
    touched: Annotated[int, "pages touched between detection and isolation, beside the bad line"]
    inconsistent_stores: Annotated[int, "what tasks wrote between PG_hwpoison and their late kill"]
    dram_faults: Annotated[int, "rows of `faults`"]
    corrected: Annotated[int, "corrected errors of all of them"]
    records: Annotated[int, "of these, read out of the banks and kept in the kernel's log"]
    restarts: Annotated[int, "deaths of errors that a supervisor answered with a start: one of all together"]


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
    settled: str = ""  # played; else how its fate was found without, such as "no error"
