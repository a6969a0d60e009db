"""Synthetic results in the shape of a study's, made without the model: for the tests of tables and plots."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from hwsim.record import ErrorRow, LostWriteRow, ReplicationRow, SignalRow
from hwsim.study.columns import TABLES
from hwsim.study.manifest import Policy
from tests.support import rows

DAY_NS = 86_400_000_000_000
KINDS = ("anon", "file", "shm", "free", "slab", "page_table", "hugetlb", "blockdev", "reserved")
LABELS = ("vm.memory_failure_early_kill=0", "vm.memory_failure_early_kill=1")

OUTCOMES = {
    "slab": "Delayed", "page_table": "Failed", "hugetlb": "Failed", "blockdev": "Failed", "free": "Ignored",
    "reserved": "Ignored",
}  # fmt: skip


@dataclass(frozen=True)
class FakeResults:
    replications: pd.DataFrame
    errors: pd.DataFrame
    signals: pd.DataFrame
    lost_writes: pd.DataFrame
    policies: pd.DataFrame
    policy_list: list[Policy]
    manifest: dict[str, Any] = field(default_factory=dict)


def frame(table: str, rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows as a study's data frame, with its dtypes."""
    columns = TABLES[table]
    made = pd.DataFrame(list(rows), columns=[c.name for c in columns])
    return made.astype({c.name: c.dtype for c in columns})


def results(
    replications: int = 60,
    labels: Sequence[str] = LABELS,
    kinds: Sequence[str] = KINDS,
    errors_each: int = 12,
    days: int = 90,
    kills: bool = True,
    seed: int = 7,
) -> Any:
    """A study, to be used as Results: the same errors under every policy; odd policies kill early."""
    tables: dict[str, list[tuple[Any, ...]]] = {
        "replications": [], "errors": [], "signals": [], "lost_writes": []
    }  # fmt: skip
    horizon = days * DAY_NS
    for policy in range(len(labels)):
        for replication in range(replications):
            draw = random.Random(f"{seed}/{replication}")
            count = max(0, round(draw.gauss(errors_each, errors_each**0.5)))
            pairs = [_error(draw, replication, e, horizon, kinds, policy % 2, kills) for e in range(count)]
            errors = [error for error, _ in pairs]
            signals = [signal for _, own in pairs for signal in own]
            tables["errors"] += [(policy, *error) for error in errors]
            tables["signals"] += [(policy, *signal) for signal in signals]
            lost = [_lost(draw, replication, error, horizon) for error in errors if error.kind == "file"]
            tables["lost_writes"] += [(policy, *each) for each in lost]
            row = _replication(replication, horizon, errors, signals)
            tables["replications"].append((policy, *row))
    names = pd.DataFrame({
        "policy": pd.Series(range(len(labels)), dtype="int64"),
        "label": pd.Series(list(labels), dtype="string"),
        "overrides": [()] * len(labels),
    })  # fmt: skip
    made = {name: frame(name, rows) for name, rows in tables.items()}
    variants = [Policy(label, (label,)) for label in labels]
    return FakeResults(
        **made, policies=names, policy_list=variants, manifest={"horizon_ns": horizon, "name": "test"}
    )


def _lost(draw: random.Random, replication: int, error: ErrorRow, horizon: int) -> LostWriteRow:
    told = draw.choices(("writer", "bystander", "later_session", "nobody"), (20, 60, 5, 15))[0]
    lost = min(error.onset_ns + 1_000, horizon)
    at = None if told == "nobody" else lost
    by = "" if told == "nobody" else "fsync"
    return rows.lost_write(
        replication=replication,
        error=error.error,
        lost_ns=lost,
        file="x",
        page_index=1,
        writer="a.0",
        eio=1,
        told=told,
        told_ns=at,
        told_task=by,
        told_by=by,
        writer_told_ns=at,
        told_tasks=1,
        reads_find="old data",
        end="horizon",
        end_ns=horizon,
        kind="file",
    )


def _error(
    draw: random.Random,
    replication: int,
    number: int,
    horizon: int,
    kinds: Sequence[str],
    early: int,
    kills: bool,
) -> tuple[ErrorRow, list[SignalRow]]:
    """One error: the draws do not depend on the policy, what follows does."""
    onset = draw.randrange(horizon)
    kind = kinds[min(int(draw.expovariate(3 / len(kinds))), len(kinds) - 1)]
    found = draw.choices(("scrub", "task_load", "kernel_load", "device_read", "none"), (70, 4, 3, 5, 18))[0]
    latency = draw.randrange(1, DAY_NS)
    delay, work, touch = int(draw.expovariate(1 / 60_000)), int(draw.lognormvariate(10.5, 0.8)), draw.random()
    mappers = 24 if kind == "shm" else 1 if kind == "anon" else 0
    late_ns = int(10 ** draw.uniform(4, 16))
    found_ns = onset + latency
    row = rows.error(
        replication=replication,
        error=number,
        onset_ns=onset,
        pfn=4096 + number,
        line=3,
        permanent=1,
        kind=kind,
        region=f"{kind}/x",
        found=found,
        found_ns=found_ns,
        mappers=mappers,
        end="reachable",
        end_ns=horizon,
    )
    if found == "none" or found_ns >= horizon:
        healed = draw.random() < 0.3
        end_ns = min(onset + latency, horizon) if healed else horizon
        return row._replace(
            found="none", found_ns=None, end="healed" if healed else "latent", end_ns=end_ns
        ), []
    if found in ("task_load", "kernel_load"):
        panic = {"panics": 1, "panic_boot": 0, "panic_kind": kind, "panic_region": f"{kind}/x"}
        return row._replace(end="panic", end_ns=found_ns, panic_ns=found_ns, **panic), []
    if found == "device_read":
        return row._replace(logged_only=1), []
    outcome = OUTCOMES.get(kind, "Recovered")
    poisoned, contained = found_ns + delay, found_ns + delay + work
    signals: list[SignalRow] = []
    for task in range(mappers if kills else 0):
        sent = contained + 2_000 * task if early else found_ns + late_ns
        if sent >= horizon or (not early and (touch > 0.8 or task > 0)):
            continue
        signals.append(
            rows.signal(
                replication=replication,
                error=number,
                time_ns=sent,
                task=f"postgres.{task}",
                pid=100 + task,
                signal="SIGBUS",
                code="BUS_MCEERR_AO" if early else "BUS_MCEERR_AR",
                cause="early" if early else "late",
                result="handled" if task % 5 == 4 else "killed",
                done_ns=sent + 50_000,
                needless="" if not early else "yes" if touch > 0.8 else "no",
                kind=kind,
                region=f"{kind}/x",
            )
        )
    row = row._replace(
        poisoned_ns=poisoned,
        row=12,
        message="LRU",
        outcome=outcome,
        context="workqueue",
        capacity_lost_bytes=4096,
        killed=sum(s.result == "killed" for s in signals),
        data_lost_bytes=4096 if mappers else 0,
    )
    if outcome == "Recovered":
        row = row._replace(contained_ns=contained, end="isolated", end_ns=contained)
    return row, signals


def _replication(
    replication: int, horizon: int, errors: Sequence[ErrorRow], signals: Sequence[SignalRow]
) -> ReplicationRow:
    def deaths(cause: str) -> int:
        return sum(s.result == "killed" and s.cause == cause for s in signals)

    panics = sum(e.end == "panic" for e in errors)
    causes = [deaths(c) for c in ("early", "late", "forced", "group_death")]
    return rows.machine(
        replication=replication,
        end_ns=horizon,
        errors=len(errors),
        detected=sum(e.found != "none" for e in errors),
        handled=sum(e.poisoned_ns is not None for e in errors),
        **{
            name.lower(): sum(e.outcome == name for e in errors)
            for name in ("Recovered", "Delayed", "Failed", "Ignored")
        },
        kills_early=causes[0],
        kills_late=causes[1],
        kills_forced=causes[2],
        kills_group=causes[3],
        kills=sum(causes),
        needless_kills=sum(s.needless == "yes" and s.result == "killed" for s in signals),
        signals_handled=sum(s.result == "handled" for s in signals),
        panics=panics,
        downtime_ns=panics * 300_000_000_000,
        bad_pages=3,
        poisoned_pages=4,
        data_lost_bytes=sum(e.data_lost_bytes for e in errors),
        capacity_lost_bytes=sum(e.capacity_lost_bytes for e in errors),
        restarts=causes[0],
    )
