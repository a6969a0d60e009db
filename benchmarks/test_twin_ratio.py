"""How much faster than stepping every access: a day of 1,000 touches a second, in seconds and in events."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from hwsim.machine import MemoryLayout, run_replication
from tests.support.worlds import events_of
from tests.twin.twin import run_twin
from tests.twin.twin_worlds import S, busy_day


def test_skipping_against_stepping(capsys: pytest.CaptureFixture[str]) -> None:
    """The twin steps ten minutes of the day and is extrapolated; the bound is on events, not on seconds."""
    spec, stepped_s = busy_day(), 600
    layout = MemoryLayout(spec)
    start = time.perf_counter()
    accesses = run_twin(replace(spec, horizon_ns=stepped_s * S, errors=()), 0).accesses
    slow_s = (time.perf_counter() - start) * 86_400 / stepped_s
    run_replication(spec, 0, layout)
    start = time.perf_counter()
    days = [run_replication(spec, index, layout).row for index in range(20)]
    fast_s = (time.perf_counter() - start) / len(days)
    a_day_of_accesses = accesses * 86_400 / stepped_s
    events = sum(events_of(spec, index, layout) for index in range(len(days))) / len(days)
    assert events * 1_000 <= a_day_of_accesses
    with capsys.disabled():
        print(
            f"\na day of 1,000 touches a second: {slow_s:.0f} s stepped, {fast_s * 1e3:.2f} ms skipped, "
            f"ratio {slow_s / fast_s:,.0f}; accesses to events {a_day_of_accesses / events:,.0f}"
        )
