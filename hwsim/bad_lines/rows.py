"""A bad line as rows of the result tables."""

from __future__ import annotations

from hwsim.bad_lines.bad_line import BadLine
from hwsim.kernel.mm_types import Signal
from hwsim.kernel.signal import BUS_MCEERR_AO
from hwsim.record import Cause, End, ErrorRow, Needless, Result, SignalRow
from hwsim.rng import Slot, poisson
from hwsim.units import PAGE_BYTES


def has_row(line: BadLine) -> bool:
    """All have one, but for lines of a set that nobody has read or overwritten."""
    record = line.record.shown_with
    return record is None or bool(
        record.found_ns is not None or record.disk_ns is not None or record.end == End.HEALED
    )


def error_row(line: BadLine, replication: int) -> ErrorRow:
    """The record of the error."""
    record = line.record
    shown = record.first or line.in_boot.treatment  # a later boot's of the same line is not another error
    return ErrorRow(  # in the order of the columns: naming 36 of them would take a twentieth of a run
        replication,
        line.error,
        line.source,
        line.onset_ns,
        line.pfn,
        line.number_in_page,
        int(line.permanent),
        record.kind,
        record.region,
        record.found,
        record.found_ns,
        shown.poisoned_ns,
        shown.contained_ns,
        shown.row,
        shown.message,
        shown.outcome,
        shown.context,
        shown.mappers,
        sum(row.result == Result.KILLED for row in record.signal_rows),
        record.data_lost_bytes,
        shown.isolated_pages * PAGE_BYTES,
        record.repeats,
        record.ring_lost,
        record.logged_only,
        record.end,
        record.end_ns,
        record.unmapped_ns,
        int(record.touched),
        record.panic_ns,
        record.disk_ns,
        max(0, record.boot),
        record.panics,
        record.panic_boot,
        record.panic_kind,
        record.panic_region,
        record.disk_boot,
    )


def signal_row(line: BadLine, signal: Signal) -> SignalRow:
    """The record of one signal, made while its kernel is there: afterwards nothing of a boot is kept."""
    around = line.around
    touch, needless, failure = None, Needless.NONE, signal.failure
    if signal.code == BUS_MCEERR_AO:
        touch = signal.would_touch_ns
        if signal.result == Result.KILLED:
            needless = _needless(line, signal)
    window_ns, stores = _inconsistency(signal)
    return SignalRow(
        around.replication,
        line.error,
        signal.sent_ns,
        signal.task.name,
        signal.task.pid,
        signal.signal,
        signal.code,
        signal.cause,
        signal.result or Result.PENDING,
        signal.done_ns,
        int(signal.innocent),
        touch,
        needless,
        window_ns,
        stores,
        around.boot,
        failure.kind or line.record.kind,
        failure.region or line.record.region,
    )


def _inconsistency(signal: Signal) -> tuple[int | None, int]:
    """How long the task went on after its page was poisoned, in ns, and what it wrote in that time."""
    failure = signal.failure
    if signal.done_ns is None or failure.poisoned_ns is None or signal.cause == Cause.GROUP_DEATH:
        return None, 0
    window_ns = max(0, signal.done_ns - failure.poisoned_ns)
    u = failure.extra(Slot.STORES, signal.task.number)
    return window_ns, poisson(u, signal.task.user.stores_per_ns * window_ns)


def _needless(line: BadLine, signal: Signal) -> str:
    """Whether the death would not have come anyway: yes, no, or censored (only after the horizon).

    Yes: neither it nor anybody who dies with it would have touched the page before its own end.
    """
    touches = [
        each.would_touch_ns
        for each in line.in_boot.signals  # of this boot: a group does not outlive it
        if each.code == BUS_MCEERR_AO
        and each.would_touch_ns is not None
        and (each is signal or signal.task.user.dies_with(each.task))
    ]
    if not touches:
        return Needless.YES
    return Needless.NO if min(touches) < line.around.horizon_ns else Needless.CENSORED
