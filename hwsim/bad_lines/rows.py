"""A page story as rows of the result tables."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hwsim.bad_lines.treatment import treatment
from hwsim.kernel.allocator import PAGE_BYTES
from hwsim.kernel.mm_types import Signal
from hwsim.kernel.signals import BUS_MCEERR_AO
from hwsim.record import ErrorRow, FaultRow, LostWriteRow, ReplicationRow, SignalRow
from hwsim.rng import Slot, poisson

if TYPE_CHECKING:
    from hwsim.bad_lines.bad_line import BadLine
    from hwsim.machine import Machine


def error_row(story: BadLine, replication: int) -> ErrorRow:
    """The record of the error; positional, in the order of ErrorRow, because there are many."""
    told = story.first or treatment(story)  # a later boot's of the same line is not another error
    return ErrorRow(
        replication,
        story.error,
        story.source,
        story.onset_ns,
        story.pfn,
        story.line,
        int(story.permanent),
        story.kind,
        story.region,
        story.found,
        story.found_ns,
        told.poisoned_ns,
        told.contained_ns,
        told.row,
        told.message,
        told.outcome,
        told.context,
        told.mappers,
        sum(row.result == "killed" for row in story.signal_rows),
        story.data_lost_bytes,
        told.isolated_pages * PAGE_BYTES,
        story.repeats,
        story.ring_lost,
        story.logged_only,
        story.end,
        story.end_ns,
        story.unmapped_ns,
        int(story.touched),
        story.panic_ns,
        story.disk_ns,
        max(0, story.boot),
        story.panics,
        story.panic_boot,
        story.panic_kind,
        story.panic_region,
        story.disk_boot,
    )


def signal_row(story: BadLine, signal: Signal) -> SignalRow:
    """The record of one signal, made while its kernel is there: afterwards nothing of a boot is kept."""
    machine = story.machine
    touch, needless, failure = None, "", signal.failure
    if signal.code == BUS_MCEERR_AO:
        touch = signal.would_touch_ns
        if signal.result == "killed":
            needless = _needless(story, signal)
    return SignalRow(
        machine.index,
        story.error,
        signal.sent_ns,
        signal.task.name,
        signal.task.pid,
        signal.signal,
        signal.code,
        signal.cause,
        signal.result or "pending",
        signal.done_ns,
        int(signal.innocent),
        touch,
        needless,
        *_inconsistency(signal),
        machine.boot,
        failure.kind or story.kind,
        failure.region or story.region,
    )


def _inconsistency(signal: Signal) -> tuple[int | None, int]:
    """How long the task went on after its page was poisoned, in ns, and what it wrote in that time."""
    failure = signal.failure
    if signal.done_ns is None or failure.poisoned_ns is None or signal.cause == "group_death":
        return None, 0
    window_ns = max(0, signal.done_ns - failure.poisoned_ns)
    u = failure.extra(Slot.STORES, signal.task.number)
    return window_ns, poisson(u, signal.task.user.stores_per_ns * window_ns)


def _needless(story: BadLine, signal: Signal) -> str:
    """Whether the death would not have come anyway: yes, no, or censored (only after the horizon).

    In a group that dies together the touch of any member would have killed this one too.
    """
    touches = [
        each.would_touch_ns
        for each in story.signals  # of this boot: a group does not outlive it
        if each.code == BUS_MCEERR_AO
        and each.would_touch_ns is not None
        and (each is signal or signal.task.user.dies_with(each.task))
    ]
    if not touches:
        return "yes"
    return "no" if min(touches) < story.machine.horizon_ns else "censored"


def replication_row(
    machine: Machine,
    end_ns: int,
    errors: list[ErrorRow],
    signals: list[SignalRow],
    lost: list[LostWriteRow],
    faults: list[FaultRow],
) -> ReplicationRow:
    """Sums over one machine."""
    kills = Counter(row.cause for row in signals if row.result == "killed")
    outcomes = Counter(row.outcome for row in errors)
    told = Counter(row.told for row in lost)
    return ReplicationRow(
        replication=machine.index,
        end_ns=end_ns,
        errors=len(errors),
        detected=sum(row.found_ns is not None for row in errors),
        handled=sum(row.poisoned_ns is not None for row in errors),
        recovered=outcomes["Recovered"],
        delayed=outcomes["Delayed"],
        failed=outcomes["Failed"],
        ignored=outcomes["Ignored"],
        kills_early=kills["early"],
        kills_late=kills["late"],
        kills_forced=kills["forced"],
        kills_group=kills["group_death"],
        kills=sum(kills.values()),
        needless_kills=sum(row.needless == "yes" for row in signals),
        signals_handled=sum(row.result == "handled" for row in signals),
        panics=machine.panics,
        downtime_ns=machine.downtime_ns,
        bad_pages=machine.bad_pages,
        poisoned_pages=machine.poisoned_pages,
        data_lost_bytes=sum(row.data_lost_bytes for row in errors),
        capacity_lost_bytes=sum(row.capacity_lost_bytes for row in errors),
        ring_lost=sum(row.ring_lost for row in errors),
        repeats=sum(row.repeats for row in errors),
        events=machine.engine.scheduled,
        lost_writes=len(lost),
        told_writer=told["writer"],
        told_other=told["bystander"] + told["later_session"],
        told_nobody=told["nobody"],
        stale_reads=sum(row.stale_before + row.stale_after for row in lost),
        stale_reads_untold=sum(row.stale_before for row in lost),
        disk_corruptions=sum(row.disk_ns is not None for row in errors),
        touched=sum(row.touched for row in errors),
        inconsistent_stores=sum(row.stores for row in signals if row.cause == "late"),
        dram_faults=len(faults),
        corrected=sum(row.corrected for row in faults),
        records=sum(row.records - row.dropped for row in faults),
        restarts=machine.processes.restarts,
    )
