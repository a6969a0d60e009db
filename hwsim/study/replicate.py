"""Replications, run safely: what is stored of each that the model returns, or the reason why it failed."""

from __future__ import annotations

import contextlib
import gc
import marshal
import operator
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.record import Replication
from hwsim.spec import Spec
from hwsim.study.jobs import Done, Failure, Job, JobOutcome, Rows

if TYPE_CHECKING:
    from hwsim.machine import MemoryLayout

COLLECT_S = 0.003  # machines that have ended are freed while the processor still has them in its caches
_PLAIN = frozenset({int, str, type(None)})

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

    with uncollected():
        return run_replication(spec, index, trace=True)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the cyclic collector: with thousands of errors alive its full passes are the largest cost of a
    run, and nothing it could free dies before the machine does."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def attempt(runner: Runner, specs: Sequence[Spec], jobs: Sequence[Job]) -> Iterator[JobOutcome]:
    """Run jobs, those of a policy together; the outcome of each in its turn.

    Every few machines those that have ended are freed; what was there before them is not looked through.
    """
    shares: dict[int, list[int]] = {}
    for job in jobs:
        shares.setdefault(job.policy, []).append(job.replication)
    outcomes = {policy: _share(runner, specs[policy], policy, share) for policy, share in shares.items()}
    collected = time.monotonic()
    for job in jobs:
        yield next(outcomes[job.policy])
        if time.monotonic() - collected >= COLLECT_S:
            gc.collect(0)
            collected = time.monotonic()
    gc.collect(1)


def _share(runner: Runner, spec: Spec, policy: int, indices: Sequence[int]) -> Iterator[JobOutcome]:
    """The outcomes under one policy.  What is left after a failure runs one by one: a bad replication must
    not sink the others."""
    done = 0
    try:
        for outcome in _run(runner, spec, policy, indices):
            done += 1
            yield outcome
    except Exception:
        for index in indices[done:]:
            try:
                yield from _run(runner, spec, policy, [index])
            except Exception as error:
                yield _failure(policy, index, error)


def _run(runner: Runner, spec: Spec, policy: int, indices: Sequence[int]) -> Iterator[Done]:
    for _, result in zip(indices, runner(spec, indices), strict=True):
        yield finished(policy, result)


def finished(policy: int, result: Replication) -> Done:
    """What is stored of a result.  Log and events are left out: a replay makes them again."""
    tables = [
        _plain(policy, [result.row]),
        _plain(policy, sorted(result.errors, key=itemgetter(1))),
        _plain(policy, result.signals),
        _plain(policy, result.lost_writes),
        _plain(policy, sorted(result.faults, key=itemgetter(1))),
    ]
    reach = {str(what): operator.index(times) for what, times in result.reach.items()}
    return Done(policy, result.row.replication, tables, reach, result.settled)


def _plain(policy: int, rows: Iterable[tuple[Any, ...]]) -> Rows:
    """Rows of int, str and None: SQLite would keep numpy integers as blobs."""
    return [(policy, *(row if _PLAIN.issuperset(map(type, row)) else map(_plainly, row))) for row in rows]


def _plainly(value: Any) -> int | str | None:
    return value if value is None or isinstance(value, str) else operator.index(value)


def pack(done: Done) -> bytes:
    """What travels between processes: ``marshal`` is about three times as fast as ``pickle`` here and keeps
    the coordinating process idle, so that two workers are worth two."""
    return marshal.dumps(tuple(done))


def unpack(packed: bytes) -> Done:
    """The inverse of :func:`pack`."""
    return Done(*marshal.loads(packed))  # made by pack() in this program


def _failure(policy: int, replication: int, error: Exception) -> Failure:
    frames = traceback.extract_tb(error.__traceback__)
    place = ""
    if frames:
        last = frames[-1]
        file = Path(last.filename)
        place = f"{file.parent.name}/{file.name}:{last.lineno}"
    return Failure(policy, replication, type(error).__name__, str(error), place)
