"""What a replication leaves behind: typed rows of facts, in the order of the SQLite columns.

One :class:`ErrorRow` an error, one :class:`SignalRow` a signal or kill, one
:class:`ReplicationRow` a machine.  Times are integer nanoseconds since the start of the run; None
is "did not happen".  Rendering (log lines, tables) comes later and elsewhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple


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
    region: str  # task/region, file:NAME, kernel:KIND, free
    found: str  # scrub | task_load | kernel_load | device_read | injected | none
    found_ns: int | None
    poisoned_ns: int | None  # PG_hwpoison set by memory_failure() on this report
    contained_ns: int | None  # memory_failure() ended with the page out of everyone's reach
    row: int  # error_states row 1..15, 0: memory_failure() did not reach the table
    message: str  # the row's or exit's message text, '' if memory_failure() never ran
    outcome: str  # Recovered | Delayed | Failed | Ignored | ''
    context: str  # who ran memory_failure(): '' | return_to_user | workqueue | injector
    mappers: int  # tasks that had the page in their page tables at the report
    killed: int  # tasks that died of this error, group deaths included
    data_lost_bytes: int  # dirty data that exists nowhere else any more
    capacity_lost_bytes: int  # memory never handed out again (until reboot)
    repeats: int  # later reports of the same bad line
    ring_lost: int  # reports of it lost: the ring was full, or its bank overflowed
    logged_only: int  # reports that v5 only logged (UCNA)
    end: str  # isolated | reachable | healed | panic | latent | rebooted | duplicate
    end_ns: int


class SignalRow(NamedTuple):
    """One signal sent, or one death, caused by one error."""

    replication: int
    error: int
    time_ns: int  # when it was sent
    task: str
    pid: int
    signal: str  # SIGBUS | SIGKILL
    code: str  # BUS_MCEERR_AO | BUS_MCEERR_AR | '' (SIGKILL, group death)
    cause: str  # early | late | forced | group_death
    result: str  # killed | handled | ignored | pending | merged | lost (target was dead)
    done_ns: int | None  # death, or end of the handler
    innocent: int  # 1: the page was not mapped by this task
    would_touch_ns: int | None  # early only: when the task would have touched the page
    needless: str  # early kills: no | yes | censored (a touch would come after the horizon); else ''


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
    kills_late: int  # AR not survived
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


class Replication(NamedTuple):
    """The whole result of ``run_replication``: plain, picklable, independent of any worker."""

    row: ReplicationRow
    errors: list[ErrorRow]
    signals: list[SignalRow]
    reach: dict[str, int]  # 'exit:...', 'row:...', 'pte:...', 'signal:...' -> times met
    log: list[tuple[int, int, str]]  # (time_ns, level, text) kernel log; empty unless traced
    events: list[tuple[int, str, dict[str, Any]]]  # (time_ns, event, facts); empty unless traced
    meminfo: str  # rendering of the BadPages line at the end
