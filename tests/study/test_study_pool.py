"""Workers that die, at every moment at which one can: each job ends as an outcome or as a failure."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
import weakref
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hwsim.study import conduct as conducting
from hwsim.study import pool, replicate
from hwsim.study.conduct import conduct
from hwsim.study.jobs import Done, Failure, Job
from hwsim.study.manifest import Policy
from hwsim.study.pool import run_jobs
from hwsim.study.replicate import attempt, finished, pack, uncollected
from hwsim.study.results import open_results
from tests.support.study_fake import FAKE, SLOW, Each, FakeScenario, fake_replication

JOBS = [Job(0, number) for number in range(40)]


def named(path):
    """A spec that carries a path to the worker: what it makes there is seen by the next one."""
    return replace(FakeScenario().spec, name=str(path))


def all_are_there(outcomes):
    outcomes = list(outcomes)
    assert [one.replication for one in outcomes] == [job.replication for job in JOBS]
    assert all(isinstance(one, Done) for one in outcomes)


@pytest.mark.parametrize("after", [12, 20, 27])
def test_workers_killed_while_the_coordinator_is_busy(after):
    found = []
    for outcome in run_jobs([FakeScenario().spec], JOBS, workers=2, runner=SLOW):
        found.append(outcome)
        children = multiprocessing.active_children()
        if len(found) == after and children:
            for child in children:  # the OOM killer, or a person
                with contextlib.suppress(ProcessLookupError):  # one that had no job left has gone by itself
                    os.kill(child.pid, signal.SIGKILL)
                child.join()
            time.sleep(0.2)  # until the pool has noticed
    all_are_there(found)


def once(path):
    """True for the first that asks."""
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def halved_replication(spec, index, base=None, trace=False):
    """Number 30 kills its worker half way through handing over the result, once."""
    time.sleep(0.01)
    if index == 30 and once(spec.name):
        link = multiprocessing.connection.Connection

        def half(self, data, write=os.write):
            write(self._handle, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

        link._send = half  # type: ignore[attr-defined]
    return fake_replication(spec, index)._replace(reach={"x" * 100_000: 1})


def test_a_worker_that_dies_half_way_through_a_result(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "LOOK_AFTER_S", 0.2)
    all_are_there(run_jobs([named(tmp_path / "died")], JOBS, workers=2, runner=Each(halved_replication)))


def unlucky_replication(spec, index, base=None, trace=False):
    """Number 30 dies the first two times: with others, and once alone."""
    time.sleep(0.01)
    if index == 30 and (once(f"{spec.name}.1") or once(f"{spec.name}.2")):
        os.kill(os.getpid(), signal.SIGKILL)
    return fake_replication(spec, index)


def test_a_job_has_a_second_try_alone(tmp_path):
    all_are_there(run_jobs([named(tmp_path / "died")], JOBS, workers=2, runner=Each(unlucky_replication)))


def test_a_study_that_loses_a_job_says_so(tmp_path, monkeypatch):
    """Whatever loses it: the plan is asked at the end."""
    out = tmp_path / "study.sqlite"
    monkeypatch.setattr(
        conducting, "run_jobs", lambda *arguments: (o for o in run_jobs(*arguments)
                                                           if o.replication != 5)
    )  # fmt: skip
    found = conduct(FakeScenario(), [Policy("fake box")], out=out, runner=FAKE)
    assert [(failure.replication, failure.kind) for failure in found.failures] == [(5, "Lost")]
    monkeypatch.undo()
    assert conduct(FakeScenario(), [Policy("fake box")], out=out, runner=FAKE).failures == []
    assert len(open_results(out).replications) == 12


class Together:
    """Replications come together, those of a policy at once; a number of which none comes spoils them all."""

    def __init__(self, bad=None):
        self.bad, self.asked = bad, []

    def __call__(self, spec, indices):
        self.asked.append((spec.machine.early_kill, list(indices)))
        if self.bad in indices:
            raise RuntimeError("the bad one")
        return [fake_replication(spec, index) for index in indices]


BOTH = [FakeScenario().with_overrides([f"vm.memory_failure_early_kill={policy}"]).spec for policy in (0, 1)]
MIXED = [Job(policy, number) for number in (3, 5, 7) for policy in (1, 0)]


def test_the_jobs_of_a_policy_run_together_and_come_in_their_turn():
    runner = Together()
    found = list(attempt(runner, BOTH, MIXED))
    assert found == [finished(p, fake_replication(BOTH[p], number)) for p, number in MIXED]
    assert sorted(runner.asked) == [(0, [3, 5, 7]), (1, [3, 5, 7])]


def test_of_those_together_with_a_bad_one_only_it_fails():
    found = list(run_jobs(BOTH, MIXED, Together(bad=5)))
    assert [one.replication for one in found] == [job.replication for job in MIXED]
    assert [type(one) for one in found] == [Done, Done, Failure, Failure, Done, Done]
    assert str(found[2]).startswith("replication 5 (policy 1): RuntimeError: the bad one at study/")


def test_a_runner_that_gives_too_few_is_told():
    (found,) = attempt(lambda spec, indices: [], BOTH, MIXED[:1])
    assert isinstance(found, Failure)
    assert found.kind == "ValueError"


class Circle:
    """What reference counts alone never free."""

    def __init__(self):
        self.me = self


def test_machines_that_have_ended_are_freed_without_the_collector(monkeypatch):
    monkeypatch.setattr(replicate, "COLLECT_S", 0.0)
    alive: weakref.WeakSet[Circle] = weakref.WeakSet()
    most = []

    def one(spec, index):
        most.append(len(alive))
        alive.add(Circle())
        return fake_replication(spec, index)

    with uncollected():
        for _ in attempt(Each(one), [FakeScenario().spec], JOBS):
            assert not gc.isenabled()
    assert gc.isenabled()
    assert (max(most), len(alive)) == (0, 0)


def answered(jobs):
    """A chunk that has arrived."""
    future: Future[list[pool.Packed]] = Future()
    outcomes = attempt(FAKE, [FakeScenario().spec], jobs)
    future.set_result([pack(one) for one in outcomes if isinstance(one, Done)])
    return future


def test_what_had_arrived_before_a_death_is_not_run_again(monkeypatch):
    ran = []

    def submit(_, jobs):
        ran.extend(jobs)
        return answered(jobs)

    monkeypatch.setattr(pool, "_open", lambda *_: None)
    monkeypatch.setattr(pool, "_kill", lambda _: None)
    monkeypatch.setattr(pool, "_submit", submit)
    waiting = [(JOBS[:2], answered(JOBS[:2])), (JOBS[2:3], Future())]
    outcomes = list(pool._after_a_death([FakeScenario().spec], waiting, FAKE))
    assert [(type(one), one.replication) for one in outcomes] == [(Done, 0), (Done, 1), (Done, 2)]
    assert ran == JOBS[2:3]


def test_a_chunk_that_takes_long_is_waited_for(monkeypatch):
    looks = []
    future: Future[list[pool.Packed]] = Future()

    def workers(_):
        looks.append("alive")
        if len(looks) == 2:
            future.set_result([b"late"])
        return [SimpleNamespace(exitcode=None)]

    monkeypatch.setattr(pool, "LOOK_AFTER_S", 0.001)
    monkeypatch.setattr(pool, "_processes", workers)
    assert pool._result(None, future) == [b"late"]
    assert looks == ["alive", "alive"]


@pytest.mark.parametrize(("seconds_each", "sizes"), [(0.0, [5] * 8), (0.1, [3] * 13 + [1]), (9.0, [1] * 40)])
def test_chunks_last_long_enough_and_the_last_end_together(seconds_each, sizes):
    assert [len(chunk) for chunk in pool._chunks(JOBS, 2, seconds_each)] == sizes


def test_a_system_that_does_not_count_its_processors_has_one(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert pool.processors() == 1
