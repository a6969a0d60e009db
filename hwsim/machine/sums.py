"""What became of one machine, as sums over its rows."""

from __future__ import annotations

from hwsim.record import (
    Cause,
    ErrorRow,
    FaultRow,
    LostWriteRow,
    Needless,
    Outcome,
    ReplicationRow,
    Result,
    SignalRow,
    Told,
)


def replication_row(
    replication: int,
    end_ns: int,
    counts: dict[str, int],
    errors: list[ErrorRow],
    signals: list[SignalRow],
    lost: list[LostWriteRow],
    faults: list[FaultRow],
) -> ReplicationRow:
    """Sums over one machine; ``counts`` are the columns that no row of an error or a signal tells."""
    kills = [row.cause for row in signals if row.result == Result.KILLED]
    outcomes = [row.outcome for row in errors]
    told = [row.told for row in lost]
    return ReplicationRow(
        replication=replication,
        end_ns=end_ns,
        errors=len(errors),
        detected=sum([row.found_ns is not None for row in errors]),
        handled=sum([row.poisoned_ns is not None for row in errors]),
        recovered=outcomes.count(Outcome.RECOVERED),
        delayed=outcomes.count(Outcome.DELAYED),
        failed=outcomes.count(Outcome.FAILED),
        ignored=outcomes.count(Outcome.IGNORED),
        kills_early=kills.count(Cause.EARLY),
        kills_late=kills.count(Cause.LATE),
        kills_forced=kills.count(Cause.FORCED),
        kills_group=kills.count(Cause.GROUP_DEATH),
        kills=len(kills),
        needless_kills=sum([row.needless == Needless.YES for row in signals]),
        signals_handled=sum([row.result == Result.HANDLED for row in signals]),
        data_lost_bytes=sum([row.data_lost_bytes for row in errors]),
        capacity_lost_bytes=sum([row.capacity_lost_bytes for row in errors]),
        ring_lost=sum([row.ring_lost for row in errors]),
        repeats=sum([row.repeats for row in errors]),
        lost_writes=len(lost),
        told_writer=told.count(Told.WRITER),
        told_other=told.count(Told.BYSTANDER) + told.count(Told.LATER_SESSION),
        told_nobody=told.count(Told.NOBODY),
        stale_reads=sum([row.stale_before + row.stale_after for row in lost]),
        stale_reads_untold=sum([row.stale_before for row in lost]),
        disk_corruptions=sum([row.disk_ns is not None for row in errors]),
        touched=sum([row.touched for row in errors]),
        inconsistent_stores=sum([row.stores for row in signals if row.cause == Cause.LATE]),
        dram_faults=len(faults),
        corrected=sum([row.corrected for row in faults]),
        records=sum([row.records - row.dropped for row in faults]),
        **counts,
    )
