"""Budgets that can be counted: engine events, and Python calls where a size must not matter.

The wall-clock side of the budgets is in ``benchmarks/``.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.worlds import GIB, reference
from hwsim.machine import Machine, MemoryLayout, run_replication
from hwsim.machine.quiet import uneventful
from hwsim.spec import MachineSpec, RegionSpec, Spec, TaskSpec
from tests.support.worlds import events_of


def _calls(work: Callable[[], Any]) -> int:
    """How many Python functions ``work`` calls."""
    count = 0

    def seen(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event == "call"

    gc.collect()  # what other tests have left behind is not counted
    gc.disable()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def test_events_follow_errors_and_signals() -> None:
    spec = reference(days=5)
    row, events = run_replication(spec, 0).row, events_of(spec)
    signalled = row.kills_early + row.kills_late
    assert row.errors > 400
    assert signalled > 80
    assert events <= 10 * row.errors + 3 * signalled
    assert events == EVENTS


EVENTS = 2577  # a change that adds events shows here


def test_an_error_takes_no_more_calls_than_it_did() -> None:
    spec = reference(days=5)
    plan = MemoryLayout(spec)
    errors = run_replication(spec, 0, plan).row.errors
    assert _calls(lambda: run_replication(spec, 0, plan)) / errors <= 1.03 * CALLS


CALLS = 240.2  # an error, with Python 3.11; later ones call no function for a comprehension


def _kill_and_restart(pages: int) -> Callable[[], None]:
    region = RegionSpec("heap", "anon", pages)
    task = TaskSpec("t", 1, regions=(region,), restart_ns=1)
    spec = Spec("kill", 10**9, 1, 1, MachineSpec(memory_pages=32 * GIB), tasks=(task,))
    machine = Machine(spec, 0, MemoryLayout(spec))
    group = machine.processes.groups[0]

    def work() -> None:
        for _ in range(20):
            group.die(group.members[0], None)
            group.start()

    return work


def test_killing_16_gib_takes_the_calls_that_killing_16_mib_takes() -> None:
    assert _calls(_kill_and_restart(16 * GIB)) == _calls(_kill_and_restart(16 * GIB // 1024))


def test_an_error_at_a_terabyte_takes_the_calls_it_takes_at_16_gib() -> None:
    calls = {}
    for memory_gib in (16, 1024):
        spec = reference(memory_gib, days=5)
        plan = MemoryLayout(spec)
        errors = run_replication(spec, 0, plan).row.errors
        calls[memory_gib] = _calls(lambda: run_replication(spec, 0, plan)) / errors  # noqa: B023 (called at once)
    assert calls[1024] <= 1.2 * calls[16]


def test_a_machine_without_an_error_is_not_built_and_tells_the_same() -> None:
    """The shortcut gives, field by field, what the machine itself would have given."""
    spec = reference(errors_per_day=0.05, days=10)
    plan, quiet, built = MemoryLayout(spec), 0, 0
    for index in range(40):
        short = uneventful(spec, index)
        machine = Machine(spec, index, plan)
        machine.run()
        full = machine.result()
        if short is None:
            built += 1
            assert full.row.errors > 0
            continue
        quiet += 1
        assert full.errors == []
        assert full.row == short.row
        assert full[1:] == short._replace(settled="")[1:]
        assert (full.settled, short.settled) == ("", "no error")
    assert quiet > 10
    assert built > 5
