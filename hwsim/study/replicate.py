"""Replications, run safely: what the model returns, packed small, or the reason why one failed.

A result travels between processes as bytes of plain rows (``marshal`` is about three times as fast
as ``pickle`` here and keeps the coordinating process idle, so that two workers are worth two).
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import operator
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.record import ErrorRow, FaultRow, LostWriteRow, Replication, ReplicationRow, SignalRow
from hwsim.spec import Spec
from hwsim.study.jobs import Done, Failure, Job

if TYPE_CHECKING:
    from hwsim.machine import MemoryLayout

_PLAIN = frozenset({int, str, type(None)})

Packed = bytes | Failure
Runner = Callable[[Spec, Sequence[int]], Iterable[Replication]]  # replications of one spec, in that order


class Model:
    """The model, with the layout of each policy's machine made once instead of every time.

    Life: made for a study, which imports the model -> called once a chunk and policy -> dropped with its
    layouts.  A worker process makes its own.
    """

    def __init__(self, screen: bool = True) -> None:
        from hwsim.machine import MemoryLayout, run_replications

        self._screen = screen
        self._run, self._layout = run_replications, MemoryLayout
        self._layouts: list[MemoryLayout] = []  # one a policy

    def __reduce__(self) -> tuple[type[Model], tuple[bool]]:
        return Model, (self._screen,)

    def __call__(self, spec: Spec, indices: Sequence[int]) -> Iterator[Replication]:
        layout = next((each for each in self._layouts if each.spec is spec), None)
        if layout is None:
            layout = self._layout(spec)
            self._layouts.append(layout)
        return self._run(spec, indices, layout, screen=self._screen)


def traced(spec: Spec, index: int) -> Replication:
    """One replication with its kernel log and its event log."""
    from hwsim.machine import run_replication

    with _uncollected():
        return run_replication(spec, index, trace=True)


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


def attempt(runner: Runner, specs: Sequence[Spec], jobs: Sequence[Job]) -> Iterator[Packed]:
    """Run jobs, those of a policy together; of each in its turn, its packed rows or why it failed."""
    shares: dict[int, list[int]] = {}
    for job in jobs:
        shares.setdefault(job.policy, []).append(job.replication)
    outcomes = {policy: _share(runner, specs[policy], policy, share) for policy, share in shares.items()}
    for job in jobs:
        yield next(outcomes[job.policy])


def _share(runner: Runner, spec: Spec, policy: int, indices: Sequence[int]) -> Iterator[Packed]:
    """The outcomes under one policy.  What is left after a failure runs one by one: a bad replication must
    not sink the others."""
    done = 0
    try:
        for packed in _packed(runner, spec, indices):
            done += 1
            yield packed
    except Exception:
        for index in indices[done:]:
            try:
                yield from _packed(runner, spec, [index])
            except Exception as error:
                yield _failure(policy, index, error)


def _packed(runner: Runner, spec: Spec, indices: Sequence[int]) -> Iterator[bytes]:
    results = iter(runner(spec, indices))
    for _ in indices:
        with _uncollected():
            result = next(results)
        yield pack(result)


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


def _failure(policy: int, replication: int, error: Exception) -> Failure:
    frames = traceback.extract_tb(error.__traceback__)
    place = ""
    if frames:
        last = frames[-1]
        file = Path(last.filename)
        place = f"{file.parent.name}/{file.name}:{last.lineno}"
    return Failure(policy, replication, type(error).__name__, str(error), place)
