"""The budgets of one machine.  Each prints its figure; the bounds are ratios or exact counts.

Wall seconds are printed for orientation and never asserted.
"""

from __future__ import annotations

import ctypes
import gc
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.worlds import DAY_NS, GIB, reference
from hwsim.kernel.error_states import classify, lookup
from hwsim.kernel.versions import v5
from hwsim.machine import Machine, MemoryLayout, run_replication
from hwsim.spec import MachineSpec, RegionSpec, Spec, TaskSpec
from hwsim.study.census import census
from tests.support.worlds import events_of


def _seconds(
    work: Callable[[], Any], runs: int = 5, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds of each run, with the collector off: its full passes would fall on one side of a pair."""
    taken = []
    for _ in range(runs):
        gc.collect()
        gc.disable()
        try:
            start = clock()
            work()
            taken.append(clock() - start)
        finally:
            gc.enable()
    return taken


def _paired_ratio(a: Callable[[], Any], b: Callable[[], Any], runs: int = 5) -> float:
    """Median of the ratios a/b, run in turn so that a drifting machine drifts for both."""
    a(), b()
    return median(_seconds(a, 1)[0] / _seconds(b, 1)[0] for _ in range(runs))


def test_handled_errors_a_second_and_events_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    spec = reference()
    layout = MemoryLayout(spec)
    row, events = run_replication(spec, 0, layout).row, events_of(spec, 0, layout)
    signalled = row.kills_early + row.kills_late
    assert events <= 10 * row.errors + 3 * signalled
    taken = median(_seconds(lambda: run_replication(spec, 0, layout), 5))
    cpu = median(_seconds(lambda: run_replication(spec, 0, layout), 5, time.process_time))
    with capsys.disabled():
        print(
            f"\nreference: {row.handled} handled errors, {row.kills} kills, {events / row.handled:.2f} "
            f"events an error, {row.handled / taken:,.0f} handled errors a second, "
            f"{row.handled / cpu:,.0f} a second of CPU time"
        )


def test_a_terabyte_costs_what_sixteen_gigabytes_cost(capsys: pytest.CaptureFixture[str]) -> None:
    small, large = reference(16), reference(1024)
    small_plan, large_plan = MemoryLayout(small), MemoryLayout(large)
    small_row = run_replication(small, 0, small_plan).row
    large_row = run_replication(large, 0, large_plan).row
    scale = small_row.handled / large_row.handled
    ratio = _paired_ratio(
        lambda: run_replication(large, 0, large_plan), lambda: run_replication(small, 0, small_plan)
    )
    with capsys.disabled():
        print(f"\n1 TiB against 16 GiB: {ratio * scale:.2f} times per handled error")
    assert ratio * scale <= 1.2


def _killer(pages: int) -> tuple[Machine, Any]:
    region = RegionSpec("heap", "anon", pages)
    spec = Spec(
        "kill",
        DAY_NS,
        1,
        1,
        MachineSpec(memory_pages=32 * GIB),
        tasks=(TaskSpec("t", 1, regions=(region,), restart_ns=1),),
    )
    machine = Machine(spec, 0, MemoryLayout(spec))
    return machine, machine.processes.groups[0]


def test_killing_a_large_task_costs_what_a_small_one_costs(capsys: pytest.CaptureFixture[str]) -> None:
    def kills(pages: int) -> Callable[[], None]:
        _machine, group = _killer(pages)

        def work() -> None:
            for _ in range(2_000):
                group.die(group.members[0], None)
                group.start()

        return work

    ratio = _paired_ratio(kills(16 * GIB), kills(16 * GIB // 1024))
    with capsys.disabled():
        print(f"\nkill and restart of 16 GiB against 16 MiB: {ratio:.2f} times")
    assert ratio <= 1.3


_C = r"""
#include <stdint.h>
#include <stddef.h>
void rows(const uint32_t *flags, const uint8_t *table, uint8_t *out, size_t n)
{
        for (size_t i = 0; i < n; i++)
                out[i] = table[flags[i] & 0xffff];
}
"""


def _against_c(flags: npt.NDArray[np.uint32], folder: Path) -> tuple[float, float]:
    """(How many times as long classify() takes as a compiled loop over the same array; its ns a page)."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    source, library = folder / "rows.c", folder / "rows.so"
    source.write_text(_C)
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    rows = ctypes.CDLL(str(library)).rows
    states = v5.ERROR_STATES
    table = lookup(states)
    ours, theirs = np.empty(flags.size, np.uint8), np.empty(flags.size, np.uint8)

    def compiled() -> None:
        rows(
            flags.ctypes.data_as(ctypes.c_void_p),
            table.ctypes.data_as(ctypes.c_void_p),
            theirs.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_size_t(flags.size),
        )

    ratio = _paired_ratio(lambda: classify(states, flags, ours), compiled, 9)
    assert np.array_equal(ours, theirs)
    return ratio, 1e9 * min(_seconds(lambda: classify(states, flags, ours))) / flags.size


def _pages_of_a_server() -> npt.NDArray[np.uint32]:
    return census("scenarios/database-server.toml", kernels=("v5",)).snapshot.flags


def test_classify_against_a_compiled_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pages of a machine, which come in runs; flags that are all random are the worst there is."""
    assert "numba" not in sys.modules
    alike, ns = _against_c(_pages_of_a_server(), tmp_path)
    mixed, _ = _against_c(np.random.default_rng(1).integers(0, 1 << 16, 64 * GIB, dtype=np.uint32), tmp_path)
    with capsys.disabled():
        print(
            f"\nclassify 64 GiB against a C loop: {alike:.2f} times, {ns:.2f} ns a page; random {mixed:.2f}"
        )
    assert alike <= 2.0
    assert mixed <= 4.0


def test_classify_with_numba(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own: once imported, numba is used."""
    if find_spec("numba") is None:
        pytest.skip("without the extra numba")
    code = (
        "import sys, numba; from pathlib import Path; from benchmarks.test_budgets import *;"
        "from benchmarks.test_budgets import _against_c, _pages_of_a_server;"
        "print(*_against_c(_pages_of_a_server(), Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=True, text=True
    )
    ratio, ns = map(float, done.stdout.split())
    with capsys.disabled():
        print(f"\nclassify 64 GiB with numba: {ratio:.2f} times a C loop, {ns:.2f} ns a page")
    assert ratio <= 1.2  # 1.1, and what is noise


_CENSUS = """
import json, resource, sys, time
from hwsim.machine import Machine, MemoryLayout
from hwsim.machine.snapshot import picture
from hwsim.memory.census import census, pages_by_row
from hwsim.kernel.versions import v5
from benchmarks.worlds import reference
spec = reference(int(sys.argv[1]))
machine = Machine(spec, 0, MemoryLayout(spec))
begin = time.process_time()
flags = picture(machine, spec.horizon_ns // 2).flags
built = time.process_time()
census(machine.kernel, spec.horizon_ns // 2, flags)
pages_by_row(v5.ERROR_STATES, flags)
end = time.process_time()
print(json.dumps([built - begin, end - built, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]))
"""


def test_the_census_of_a_terabyte(capsys: pytest.CaptureFixture[str]) -> None:
    for gigabytes in (64, 1024):
        command = [sys.executable, "-c", _CENSUS, str(gigabytes)]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        built, counted, resident = json.loads(done.stdout)
        with capsys.disabled():
            print(
                f"\n{gigabytes} GiB of pages: {built:.2f} s of CPU to build, "
                f"{counted:.2f} s for their census, {resident:.2f} GB resident"
            )
        assert resident <= 6.0


def _calls(work: Callable[[], Any]) -> int:
    """Python functions that ``work`` calls: exact for one version of Python."""
    count = 0

    def seen(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(seen)
    work()
    sys.setprofile(None)
    return count


def test_building_a_machine_that_is_played(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither its processes nor its regions are made before somebody looks at them, in no boot."""
    calls = {}
    for workers in (24, 2_400):
        spec = reference(days=5)
        spec = replace(spec, tasks=(replace(spec.tasks[0], count=workers, regions=()),))
        layout = MemoryLayout(spec)
        Machine(spec, 0, layout)
        calls[workers] = _calls(lambda: Machine(spec, 0, layout))  # noqa: B023 (called at once)
    taken = median(_seconds(lambda: [Machine(spec, 0, layout) for _ in range(200)], 5)) / 200
    with capsys.disabled():
        print(f"\na machine built: {calls[24]} calls, {taken * 1e6:.0f} us")
    assert calls[2_400] == calls[24] <= BUILD_CALLS


BUILD_CALLS = 66  # with Python 3.11


def test_help_is_quick_and_light(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "hwsim", "--help"]
    taken = median(_seconds(lambda: subprocess.run(command, capture_output=True, check=True), 7))
    with capsys.disabled():
        print(f"\nhwsim --help: {taken:.3f} s")
