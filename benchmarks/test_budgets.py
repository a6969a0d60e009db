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
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from benchmarks.worlds import DAY_NS, GIB, reference
from hwsim.kernel.error_states import classify, lookup
from hwsim.kernel.versions import v5
from hwsim.machine import Machine, MemoryLayout, run_replication
from hwsim.spec import ErrorSpec, FileSpec, MachineSpec, RegionSpec, Spec, TaskSpec, Touch
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


def test_classify_against_a_compiled_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    source, library = tmp_path / "rows.c", tmp_path / "rows.so"
    source.write_text(_C)
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    rows = ctypes.CDLL(str(library)).rows
    states = v5.ERROR_STATES
    table = lookup(states)
    flags = np.random.default_rng(1).integers(0, 1 << 16, 64 * GIB, dtype=np.uint32)
    ours, theirs = np.empty(flags.size, np.uint8), np.empty(flags.size, np.uint8)

    def compiled() -> None:
        rows(
            flags.ctypes.data_as(ctypes.c_void_p),
            table.ctypes.data_as(ctypes.c_void_p),
            theirs.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_size_t(flags.size),
        )

    ratio = _paired_ratio(lambda: classify(states, flags, ours), compiled)
    assert np.array_equal(ours, theirs)
    with capsys.disabled():
        print(f"\nclassify 16.8 M pages against a C loop: {ratio:.2f} times")
    assert ratio <= 4.0


_BUILD = """
import json, resource, sys, time
import numpy as np
from hwsim.memory.layout import MemoryLayout
from benchmarks.worlds import reference
layout = MemoryLayout(reference(1024))
def fill():
    for dtype in (np.uint32, np.uint32, np.uint32, np.uint16, np.uint16):
        np.full(layout.spec.machine.memory_pages, 1, dtype)
def build():
    base = layout.base
    arrays = (base.flags, base.region, base.index, base.refcount, base.mapcount)
    assert sum(each.nbytes for each in arrays) == 16 * layout.spec.machine.memory_pages
start = time.perf_counter()
{"fill": fill, "build": build}[sys.argv[1]]()
taken = time.perf_counter() - start
print(json.dumps([taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]))
"""


def test_building_a_terabyte_of_pages(capsys: pytest.CaptureFixture[str]) -> None:
    def fresh(what: str) -> tuple[float, float]:
        command = [sys.executable, "-c", _BUILD, what]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        seconds, gigabytes = json.loads(done.stdout)
        return seconds, gigabytes

    pairs = [(fresh("build"), fresh("fill")) for _ in range(5)]
    ratio = median(build[0] / fill[0] for build, fill in pairs)
    resident = max(build[1] for build, _ in pairs)
    with capsys.disabled():
        print(f"\nbuild 1 TiB of pages: {ratio:.2f} times a plain fill, {resident:.2f} GB resident")
    assert resident <= 6.0


def test_what_one_quiet_machine_costs(capsys: pytest.CaptureFixture[str]) -> None:
    """A machine-year at a field rate: few errors, so the cost is building the machine."""
    spec = Spec(
        "field",
        365 * DAY_NS,
        1,
        1,
        MachineSpec(memory_pages=64 * GIB, cpus=16),
        errors=(ErrorSpec(0.02 / (365 * 86_400)),),
        files=(FileSpec("f", GIB, touch=(Touch(1.0, 1e-6, 1e-6),)),),
        tasks=(TaskSpec("t", 24, regions=(RegionSpec("heap", "anon", GIB),), restart_ns=1),),
    )
    layout = MemoryLayout(spec)
    taken = median(_seconds(lambda: [run_replication(spec, index, layout) for index in range(200)], 3)) / 200
    with capsys.disabled():
        print(f"\none machine-year without or with one error: {taken * 1e6:.0f} us a replication")


def test_help_is_quick_and_light(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "hwsim", "--help"]
    taken = median(_seconds(lambda: subprocess.run(command, capture_output=True, check=True), 7))
    with capsys.disabled():
        print(f"\nhwsim --help: {taken:.3f} s")
