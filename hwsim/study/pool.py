"""Many replications on many processors, the outcomes in the order of the jobs.

What a replication returns depends on its spec and index only, so workers, chunk sizes and timing
cannot change a result, only when it arrives.  Chunks last a quarter of a second: handing one out costs
about a millisecond, and what the model finds in arrays is the cheaper the more machines there are in
it.  Small studies stay in this process, because starting a worker costs about half a second.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess

from hwsim.spec import Spec
from hwsim.study.jobs import Done, Failure, Job, JobOutcome
from hwsim.study.replicate import Runner, attempt, pack, unpack

CHUNK_S = 0.25  # shortest chunk for another process: what is done once for all its machines has to pay
HERE_S = 1.0  # the same in this process, where what is finished arrives at once
PROBE_S = 0.2  # how long the first replications are timed before processes are considered
MOST_JOBS = 4096  # in a chunk, so that its arrays stay small, even if it is shorter
WORTH_S = 3.0  # remaining work below this is done faster here than by new processes
LOOK_AFTER_S = 1.0  # how often it is looked whether the workers are alive while a result is awaited
TRIES_ALONE = 2  # a job that kills its worker does it again; one that was only near has its second try
CHUNKS_WAITING = 3  # chunks per worker that are handed out and not yet collected

Packed = bytes | Failure
_DEAD = "the worker process died (killed from outside, or out of memory)"

# Set once in each worker process by _start_worker().
_worker_specs: tuple[Spec, ...] = ()
_worker_runner: Runner | None = None


def processors() -> int:
    """The processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_jobs(
    specs: Sequence[Spec], jobs: Sequence[Job], runner: Runner, workers: int | None = 1
) -> Iterator[JobOutcome]:
    """Run ``jobs`` (policy numbers index ``specs``); outcomes in the order of ``jobs``.

    ``workers`` None decides by timing the first replications; with more than one the runner is pickled.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    done, seconds_each = yield from _run_here(specs, jobs, runner, math.inf if workers == 1 else PROBE_S)
    rest = jobs[done:]
    if workers is None:
        workers = processors() if seconds_each * len(rest) > WORTH_S else 1
    workers = min(workers, len(rest))
    if workers > 1:
        yield from _run_pool(specs, rest, workers, runner, seconds_each)
    else:
        yield from _run_here(specs, rest, runner, math.inf)


def _run_here(
    specs: Sequence[Spec], jobs: Sequence[Job], runner: Runner, limit_s: float
) -> Generator[JobOutcome, None, tuple[int, float]]:
    """Run jobs in this process until ``limit_s`` is over, in chunks that grow until they last long enough;
    how many were done, and the seconds that one of the last chunk took."""
    done, size, taken_s = 0, 1, 0.0
    start = end = time.perf_counter()
    while done < len(jobs) and end - start < limit_s:
        if taken_s < HERE_S:
            size = min(2 * size, MOST_JOBS)
        chunk = jobs[done : done + size]
        begin = end
        yield from attempt(runner, specs, chunk)
        end = time.perf_counter()
        taken_s = end - begin
        done += len(chunk)
    return done, taken_s / size


def _finish(packed: Packed) -> JobOutcome:
    return packed if isinstance(packed, Failure) else unpack(packed)


def _chunks(jobs: Sequence[Job], workers: int, seconds_each: float) -> deque[Sequence[Job]]:
    size = max(1, math.ceil(CHUNK_S / max(seconds_each, 1e-6)))
    size = min(size, MOST_JOBS, max(1, len(jobs) // (workers * 4)))  # the last chunks should end together
    return deque(jobs[i : i + size] for i in range(0, len(jobs), size))


def _run_pool(
    specs: Sequence[Spec], jobs: Sequence[Job], workers: int, runner: Runner, seconds_each: float
) -> Iterator[JobOutcome]:
    todo = _chunks(jobs, workers, seconds_each)
    while todo:
        pool = _open(specs, workers, runner)
        waiting: deque[tuple[Sequence[Job], Future[list[Packed]]]] = deque()
        try:
            while todo or waiting:
                while todo and len(waiting) < workers * CHUNKS_WAITING:
                    waiting.append((todo[0], _submit(pool, todo[0])))
                    todo.popleft()  # only now: a pool that is broken takes nothing and raises
                packed = _result(pool, waiting[0][1])
                waiting.popleft()
                yield from map(_finish, packed)
            pool.shutdown()
        except BrokenProcessPool:
            _kill(pool)
            yield from _after_a_death(specs, waiting, runner)
        except BaseException:  # interrupted, or the reader of the outcomes stopped reading
            _kill(pool)
            raise


def _after_a_death(
    specs: Sequence[Spec], waiting: Iterable[tuple[Sequence[Job], Future[list[Packed]]]], runner: Runner
) -> Iterator[JobOutcome]:
    """What was under way when a worker died: what had arrived is taken, the rest runs alone, one by one, so
    that only the culprit fails."""
    pool = _open(specs, 1, runner)
    try:
        for chunk, future in waiting:
            if future.done() and not future.cancelled() and future.exception() is None:
                arrived = dict(zip(chunk, future.result(), strict=True))
            else:
                arrived = {}
            for job in chunk:
                one = arrived.get(job)
                tries = 0
                while one is None and tries < TRIES_ALONE:
                    tries += 1
                    try:
                        one = _result(pool, _submit(pool, [job]))[0]
                    except BrokenProcessPool:
                        _kill(pool)
                        pool = _open(specs, 1, runner)
                yield _finish(one or Failure(job.policy, job.replication, "WorkerDied", _DEAD, ""))
    finally:
        _kill(pool)


def _result(pool: ProcessPoolExecutor, future: Future[list[Packed]]) -> list[Packed]:
    """The result of a chunk.  A worker that dies half way through handing one over leaves the pool waiting
    for the other half; it is found by looking after the workers from time to time."""
    while True:
        try:
            return future.result(timeout=LOOK_AFTER_S)
        except TimeoutError:
            if not future.done() and any(process.exitcode is not None for process in _processes(pool)):
                raise BrokenProcessPool(_DEAD) from None


def _open(specs: Sequence[Spec], workers: int, runner: Runner) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(tuple(specs), runner))


def _submit(pool: ProcessPoolExecutor, chunk: Sequence[Job]) -> Future[list[Packed]]:
    """Hand out a chunk.  SIGINT is held back meanwhile because a worker may be started here: it inherits
    the mask, so that Ctrl-C, which a terminal sends to the whole group, is the coordinator's alone."""
    if not hasattr(signal, "pthread_sigmask"):
        return pool.submit(_run_chunk, chunk)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_run_chunk, chunk)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(pool: ProcessPoolExecutor) -> None:
    """Stop at once: what is under way is lost, and made again when the study is resumed."""
    processes = _processes(pool)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()
    # A worker may have died half way through a result: the thread that reads it waits for the rest until
    # nobody can write any more, and this process holds an end of the pipe too.
    writer = getattr(getattr(pool, "_result_queue", None), "_writer", None)
    if writer is not None and processes:
        writer.close()
    pool.shutdown(wait=True, cancel_futures=True)


def _processes(pool: ProcessPoolExecutor) -> list[BaseProcess]:
    return list((getattr(pool, "_processes", None) or {}).values())  # public only from 3.14 on


def _start_worker(specs: tuple[Spec, ...], runner: Runner) -> None:
    global _worker_specs, _worker_runner
    _worker_specs, _worker_runner = specs, runner
    threading.Thread(target=_leave_with_coordinator, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where signals cannot be masked
    gc.disable()


def _leave_with_coordinator() -> None:
    """A coordinator that was killed outright cannot stop its workers; they would wait for ever."""
    coordinator = multiprocessing.parent_process()
    if coordinator is not None:
        coordinator.join()
        os._exit(1)


def _run_chunk(jobs: Sequence[Job]) -> list[Packed]:
    assert _worker_runner is not None
    outcomes = attempt(_worker_runner, _worker_specs, jobs)
    return [pack(one) if isinstance(one, Done) else one for one in outcomes]
