"""The budgets of many machines with an error each, or with none: settled in arrays, or played.

Machines a CPU second are printed for orientation; the bounds are shares and ratios.
"""

from __future__ import annotations

import gc
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from benchmarks.worlds import DAY_NS, GIB
from hwsim.machine import Machine, MemoryLayout, run_replications
from hwsim.spec import ErrorSpec, FileSpec, MachineSpec, RegionSpec, Spec, TaskSpec, Touch
from hwsim.study.conduct import conduct
from hwsim.study.pair import DEFAULT_VARY, policies_of
from hwsim.study.rehearsal import load
from hwsim.study.replicate import uncollected

SERVER = Path(__file__).parents[1] / "scenarios" / "database-server.toml"
CHUNK = 4_096
POLICIES = policies_of(DEFAULT_VARY)
ROOMS = {
    "screen.py": "screen",
    "quiet.py": "screen",
    "machine.py": "SimPy",
    "replicate.py": "rows, and freeing of machines",
    "store.py": "rows stored",
}


@contextmanager
def _sampled(shares: Counter[str]) -> Iterator[None]:
    """Count, each millisecond of CPU time, for whom hwsim is at work."""

    def look(_signal: int, frame: FrameType | None) -> None:
        while frame is not None:
            room = ROOMS.get(Path(frame.f_code.co_filename).name)
            if room is not None:
                break
            frame = frame.f_back
        shares[room or "else"] += 1

    before = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, 1e-3, 1e-3)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _study(out: Path, policies: slice, repeat: int, *, screen: bool = True) -> tuple[float, Counter[str]]:
    """Machines a CPU second, their rows stored, and for whom the time was spent."""
    shares: Counter[str] = Counter()
    scenario, asked = load(SERVER), POLICIES[policies]
    with _sampled(shares):
        start = time.process_time()
        conduct(scenario, asked, repeat=repeat, out=out, screen=screen)
        taken = time.process_time() - start
    return repeat * len(asked) / taken, shares


def test_machines_of_a_database_server_a_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _study(tmp_path / "first.sqlite", slice(None), 20)  # what is made once is not counted
    both, shares = _study(tmp_path / "both.sqlite", slice(None), 4_000)
    early, _ = _study(tmp_path / "early.sqlite", slice(1, None), 4_000)
    played, _ = _study(tmp_path / "played.sqlite", slice(None), 500, screen=False)
    with capsys.disabled():
        print(
            f"\ndatabase-server: {both:,.0f} machines a CPU second, {early:,.0f} at early_kill=1, "
            f"{played:,.0f} if all are played"
        )
        told = (f"{share / shares.total():.0%} {room}" for room, share in shares.most_common())
        print("CPU time:", ", ".join(told))
    assert both >= 1.3 * played


@pytest.mark.parametrize("policy", [0, 1])
def test_two_thirds_of_a_database_server_are_settled(policy: int, capsys: pytest.CaptureFixture[str]) -> None:
    spec = load(SERVER, POLICIES[policy].overrides).spec
    how = Counter(found.settled or "played" for found in run_replications(spec, range(2_000)))
    with capsys.disabled():
        print(f"\ndatabase-server, {POLICIES[policy].label}: {dict(how.most_common())}")
    assert how["played"] <= how.total() / 3


def test_what_a_machine_without_an_error_costs(capsys: pytest.CaptureFixture[str]) -> None:
    """Machine-years at a field rate, found in arrays, against one that is built and run for nothing."""
    spec = Spec(
        "field",
        365 * DAY_NS,
        1,
        1,
        MachineSpec(memory_pages=64 * GIB, cpus=16),
        errors=(ErrorSpec(1e-6 / (365 * 86_400)),),
        files=(FileSpec("f", GIB, touch=(Touch(1.0, 1e-6, 1e-6),)),),
        tasks=(TaskSpec("t", 24, regions=(RegionSpec("heap", "anon", GIB),), restart_ns=1),),
    )
    layout = MemoryLayout(spec)

    def each(machines: int, screen: bool) -> float:
        settled, start = 0, time.process_time()
        for first in range(0, machines, CHUNK):
            chunk = range(first, min(first + CHUNK, machines))
            found = run_replications(spec, chunk, layout, screen=screen)
            settled += sum(bool(one.settled) for one in found)
        assert settled == machines * screen
        return (time.process_time() - start) / machines

    with uncollected():
        each(20, True), each(20, False)
        quiet, played = each(25 * CHUNK, True), each(200, False)
    with capsys.disabled():
        print(f"\na machine-year without an error: {quiet * 1e6:.1f} us, played {played * 1e6:.0f} us")
    assert quiet <= played / 20


def test_what_building_a_machine_costs(capsys: pytest.CaptureFixture[str]) -> None:
    spec = load(SERVER).spec
    layout, machines = MemoryLayout(spec), 400
    building = playing = 0.0
    for index in range(machines):
        gc.collect(0)
        with uncollected():
            start = time.process_time()
            machine = Machine(spec, index, layout)
            built = time.process_time()
            machine.run()
            machine.result()
            building, playing = building + built - start, playing + time.process_time() - built
    with capsys.disabled():
        print(
            f"\na machine of database-server: {building / machines * 1e6:.0f} us to build, "
            f"{playing / machines * 1e6:.0f} us to play"
        )
    assert building <= playing
