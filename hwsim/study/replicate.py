"""One replication, run safely: what the model returns, packed small, or the reason why it failed.

A result travels between processes as bytes of plain rows (``marshal`` is about three times as fast
as ``pickle`` here and keeps the coordinating process idle, so that two workers are worth two).
"""

from __future__ import annotations

import marshal
import operator
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hwsim.record import ErrorRow, FaultRow, LostWriteRow, Replication, ReplicationRow, SignalRow
from hwsim.spec import Spec

if TYPE_CHECKING:
    from hwsim.machine import Plan

_PLAIN = frozenset({int, str, type(None)})

Runner = Callable[..., Replication]
_plans: deque[Plan] = deque(maxlen=64)  # the policies of one study, and a bound


class Job(NamedTuple):
    """One replication under one policy."""

    policy: int
    replication: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A replication that did not finish, and where to look."""

    policy: int
    replication: int
    kind: str  # name of the exception
    message: str
    place: str  # module:line, no path of the machine it ran on

    def __str__(self) -> str:
        where = f" at {self.place}" if self.place else ""
        return f"replication {self.replication} (policy {self.policy}): {self.kind}: {self.message}{where}"


@dataclass(frozen=True, slots=True)
class Done:
    """A finished replication under one policy."""

    policy: int
    result: Replication

    @property
    def replication(self) -> int:
        return self.result.row.replication


Outcome = Done | Failure


def model() -> Runner:
    """The model's one entry, looked up when needed so that importing a study stays cheap."""
    return _planned


def _planned(spec: Spec, index: int, base: Plan | None = None, trace: bool = False) -> Replication:
    """The model, with the plan of the machine made once a process and spec instead of every time."""
    from hwsim.machine import Plan, run_replication

    if base is None:
        base = next((plan for plan in _plans if plan.spec is spec), None)
    if base is None:
        base = Plan(spec)
        _plans.append(base)
    return run_replication(spec, index, base=base, trace=trace)


def attempt(runner: Runner, spec: Spec, job: Job) -> bytes | Failure:
    """Run one job; its packed rows, or why it failed."""
    try:
        return pack(runner(spec, job.replication))
    except Exception as error:  # one bad replication must not sink the study
        return _failure(job, error)


def pack(result: Replication) -> bytes:
    """The rows as bytes.  Log and events are left out: a replay makes them again."""
    return marshal.dumps(
        (
            _plain(result.row),
            [_plain(row) for row in result.errors],
            [_plain(row) for row in result.signals],
            [_plain(row) for row in result.lost_writes],
            {str(what): operator.index(times) for what, times in result.reach.items()},
            result.meminfo,
            [_plain(row) for row in result.faults],
        )
    )


def unpack(job: Job, packed: bytes) -> Done:
    """The inverse of :func:`pack`."""
    # made by pack() in this program
    row, errors, signals, lost_writes, reach, meminfo, faults = marshal.loads(packed)
    result = Replication(
        row=ReplicationRow._make(row),
        errors=list(map(ErrorRow._make, errors)),
        signals=list(map(SignalRow._make, signals)),
        lost_writes=list(map(LostWriteRow._make, lost_writes)),
        reach=reach,
        log=[],
        events=[],
        meminfo=meminfo,
        faults=list(map(FaultRow._make, faults)),
    )
    return Done(job.policy, result)


def run(spec: Spec, indices: Iterable[int], workers: int | None = 1) -> Iterator[Outcome]:
    """Run the replications ``indices`` of one spec; outcomes in that order whatever ``workers``."""
    from hwsim.study.pool import run_jobs

    return run_jobs([spec], [Job(0, index) for index in indices], workers=workers)


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row as a tuple of int, str and None: numpy integers and booleans would end as blobs."""
    if _PLAIN.issuperset(map(type, row)):
        return tuple(row)
    return tuple(v if v is None or isinstance(v, str) else operator.index(v) for v in row)


def _failure(job: Job, error: Exception) -> Failure:
    frames = traceback.extract_tb(error.__traceback__)
    place = ""
    if frames:
        last = frames[-1]
        file = Path(last.filename)
        place = f"{file.parent.name}/{file.name}:{last.lineno}"
    return Failure(job.policy, job.replication, type(error).__name__, str(error), place)
