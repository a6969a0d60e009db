"""A bad line as rows of the result tables."""

from __future__ import annotations

from hwsim.bad_lines.bad_line import BadLine
from hwsim.kernel.mm_types import Signal
from hwsim.kernel.signal import BUS_MCEERR_AO
from hwsim.record import Cause, ErrorRow, Needless, Result, SignalRow
from hwsim.rng import Slot, poisson
from hwsim.units import PAGE_BYTES


def error_row(line: BadLine, replication: int) -> ErrorRow:
    """The record of the error."""
    record = line.record
    shown = record.first or line.in_boot.treatment  # a later boot's of the same line is not another error
    return ErrorRow(
        replication=replication,
        error=line.error,
        source=line.source,
        onset_ns=line.onset_ns,
        pfn=line.pfn,
        line=line.number_in_page,
        permanent=int(line.permanent),
        kind=record.kind,
        region=record.region,
        found=record.found,
        found_ns=record.found_ns,
        poisoned_ns=shown.poisoned_ns,
        contained_ns=shown.contained_ns,
        row=shown.row,
        message=shown.message,
        outcome=shown.outcome,
        context=shown.context,
        mappers=shown.mappers,
        killed=sum(row.result == Result.KILLED for row in record.signal_rows),
        data_lost_bytes=record.data_lost_bytes,
        capacity_lost_bytes=shown.isolated_pages * PAGE_BYTES,
        repeats=record.repeats,
        ring_lost=record.ring_lost,
        logged_only=record.logged_only,
        end=record.end,
        end_ns=record.end_ns,
        unmapped_ns=record.unmapped_ns,
        touched=int(record.touched),
        panic_ns=record.panic_ns,
        disk_ns=record.disk_ns,
        boot=max(0, record.boot),
        panics=record.panics,
        panic_boot=record.panic_boot,
        panic_kind=record.panic_kind,
        panic_region=record.panic_region,
        disk_boot=record.disk_boot,
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
        replication=around.replication,
        error=line.error,
        time_ns=signal.sent_ns,
        task=signal.task.name,
        pid=signal.task.pid,
        signal=signal.signal,
        code=signal.code,
        cause=signal.cause,
        result=signal.result or Result.PENDING,
        done_ns=signal.done_ns,
        innocent=int(signal.innocent),
        would_touch_ns=touch,
        needless=needless,
        window_ns=window_ns,
        stores=stores,
        boot=around.boot,
        kind=failure.kind or line.record.kind,
        region=failure.region or line.record.region,
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
