"""Conduct a study: run what is missing, store it, hand back the results."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.study import repair as mending
from hwsim.study.errors import StudyError
from hwsim.study.jobs import Failure, Job, JobOutcome
from hwsim.study.manifest import Policy, manifest, under
from hwsim.study.opening import open_store
from hwsim.study.pool import run_jobs
from hwsim.study.replicate import Model, Runner, uncollected
from hwsim.study.results import Results
from hwsim.study.store import Store

if TYPE_CHECKING:
    from hwsim.scenario import Scenario

BATCH_S = 0.5  # a batch is written after this time, or
BATCH_ROWS = 20_000  # after this many rows

Progress = Callable[[int, int], None]  # finished, asked for
Shield = Callable[[], AbstractContextManager[Any]]  # held while the file is written


def run(
    scenario: Scenario | str | os.PathLike[str],
    *,
    repeat: int | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    out: str | os.PathLike[str] | None = None,
    workers: int | None = 1,
    progress: Progress | None = None,
    repair: bool = False,
    screen: bool = True,
) -> Results:
    """Run a scenario ``repeat`` times (default: as it says) and return the results.

    With ``out`` they are kept in that file, and what is already there is not run again; ``repair`` runs
    again what is damaged in it.  ``workers``
    None uses all processors when that is worth it; in a script this needs the usual
    ``if __name__ == "__main__"``.  ``screen=False`` plays every machine; the results are the same.
    """
    scenario = prepared(scenario, seed=seed, overrides=overrides)
    return conduct(
        scenario, [Policy(scenario.name)], repeat=repeat, out=out, workers=workers, progress=progress,
        overrides=overrides, repair=repair, screen=screen,
    )  # fmt: skip


def prepared(
    scenario: Scenario | str | os.PathLike[str], *, seed: int | None = None, overrides: Sequence[str] = ()
) -> Scenario:
    """Load a scenario if a path is given, and apply overrides and seed."""
    if isinstance(overrides, str):
        raise StudyError(f"overrides: a list is needed, such as [{overrides!r}]")
    changes = [*overrides, *([] if seed is None else [f"seed={seed}"])]
    if isinstance(scenario, str | os.PathLike):
        from hwsim.study.rehearsal import load

        found = load(scenario, changes)
    else:
        found = scenario.with_overrides(changes) if changes else scenario
    if found.only_dimms:
        from hwsim.scenario.foreign import belongs_to

        raise StudyError(f"{found.path}: {belongs_to('dimms', str(found.path))}")
    return found


def conduct(
    scenario: Scenario,
    policies: Sequence[Policy],
    *,
    repeat: int | None = None,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = 1,
    progress: Progress | None = None,
    shield: Shield = contextlib.nullcontext,
    overrides: Sequence[str] = (),
    command: Sequence[str] = (),
    runner: Runner | None = None,
    repair: bool = False,
    screen: bool = True,
) -> Results:
    """Run every policy on the same replications and store them.

    Everything that can be refused is refused before the first replication.  When interrupted, what
    is finished is written before the interrupt goes on.  With ``repair`` a damaged file is replaced by
    what is sound in it, and the rest is run again.  ``runner`` stands in for the model.
    """
    wanted = scenario.spec.repeat if repeat is None else repeat
    if wanted < 1:
        raise StudyError(f"repeat: {wanted} is not possible; at least 1 replication is needed")
    scenarios = under(scenario, policies)
    asked = manifest(scenarios, policies, scenario.data, wanted, overrides=overrides, command=command)
    specs = [one.spec for one in scenarios]
    repaired = mending.repair(Path(out), asked, policies) if repair and out is not None else ""
    store = open_store(out, asked, policies)
    try:
        plan = [Job(p, i) for i in range(wanted) for p in range(len(policies))]
        done = store.done()
        jobs = [job for job in plan if job not in done]
        if jobs:
            store.begin()
            outcomes = run_jobs(specs, jobs, runner or Model(screen), workers)
            with uncollected():
                _collect(outcomes, store, len(plan) - len(jobs), len(plan), progress, shield)
            store.add(_lost(plan, store))
            store.finish()
    except BaseException:
        store.leave_wal()  # one file is left, as after a finished run
        store.close()
        raise
    return Results(store, repeat=wanted, repaired=repaired)


def _lost(plan: Sequence[Job], store: Store) -> list[Failure]:
    """What of the plan is in the file neither as a result nor as a failure: there must be nothing."""
    known = store.done() | {Job(failure.policy, failure.replication) for failure in store.failures()}
    reason = "handed out, and neither a result nor a failure came back; the same command runs it again"
    return [Failure(job.policy, job.replication, "Lost", reason, "") for job in plan if job not in known]


def _collect(
    outcomes: Iterator[JobOutcome],
    store: Store,
    done: int,
    total: int,
    progress: Progress | None,
    shield: Shield,
) -> None:
    batch: list[JobOutcome] = []
    rows = 0
    last = time.monotonic()
    report = progress or _silent
    report(done, total)
    try:
        for outcome in outcomes:
            batch.append(outcome)
            rows += _rows(outcome)
            now = time.monotonic()
            if rows >= BATCH_ROWS or now - last >= BATCH_S:
                done += len(batch)
                ready, batch, rows, last = batch, [], 0, now
                with shield():
                    store.add(ready)
                report(done, total)
    finally:
        with shield():
            close = getattr(outcomes, "close", None)
            if close is not None:
                close()  # stops the workers
            store.add(batch)
    report(total, total)


def _silent(_finished: int, _asked: int) -> None:
    pass


def _rows(outcome: JobOutcome) -> int:
    return 1 if isinstance(outcome, Failure) else sum(map(len, outcome.tables))


def variants(vary: Mapping[str, Sequence[Any]]) -> list[Policy]:
    """Every combination of the values: one policy each, the first of all being the baseline."""
    keys = list(vary)
    found = []
    for values in itertools.product(*vary.values()):
        overrides = tuple(f"{key}={_toml(value)}" for key, value in zip(keys, values, strict=True))
        label = ", ".join(f"{key}={value}" for key, value in zip(keys, values, strict=True))
        found.append(Policy(label, overrides))
    return found


def _toml(value: Any) -> str:
    """A value as the right side of an override."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
