"""One replication, run safely: what the model returns, packed small, or the reason why it failed.

A result travels between processes as bytes of plain rows (``marshal`` is about three times as fast
as ``pickle`` here and keeps the coordinating process idle, so that two workers are worth two).
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import operator
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.record import ErrorRow, FaultRow, LostWriteRow, Replication, ReplicationRow, SignalRow
from hwsim.spec import Spec
from hwsim.study.jobs import Done, Failure, Job

if TYPE_CHECKING:
    from hwsim.machine import MemoryLayout

_PLAIN = frozenset({int, str, type(None)})

Runner = Callable[..., Replication]  # (spec, index), and trace= for a replay


def model() -> Runner:
    """A runner of the model's one entry, which it loads when first called: importing a study is cheap."""
    return Planned()


class Planned:
    """The model, with the layout of each policy's machine made once instead of every time.

    Life: made for a study or a replay -> called once a replication -> dropped with its plans.  A worker
    process gets an empty one and makes its own plans.
    """

    def __init__(self) -> None:
        self._layouts: list[MemoryLayout] = []  # one a policy

    def __reduce__(self) -> tuple[type[Planned], tuple[()]]:
        return Planned, ()

    def __call__(self, spec: Spec, index: int, trace: bool = False) -> Replication:
        from hwsim.machine import MemoryLayout, run_replication

        layout = next((each for each in self._layouts if each.spec is spec), None)
        if layout is None:
            layout = MemoryLayout(spec)
            self._layouts.append(layout)
        with _uncollected():
            return run_replication(spec, index, layout, trace)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the cyclic collector: with thousands of errors alive its full passes are the largest cost of a
    run, and nothing it could free dies before the machine does."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


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
            result.settled,
        )
    )


def unpack(job: Job, packed: bytes) -> Done:
    """The inverse of :func:`pack`."""
    # made by pack() in this program
    row, errors, signals, lost_writes, reach, meminfo, faults, settled = marshal.loads(packed)
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
        settled=settled,
    )
    return Done(job.policy, result)


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
