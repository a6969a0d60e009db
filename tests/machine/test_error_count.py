"""``count``: so many errors in each machine, at the times that its own stream says, under every policy."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import kstest

from hwsim.machine import Machine, MemoryLayout, run_replication
from hwsim.machine.quiet import uneventful
from hwsim.rng import Draws
from hwsim.spec import ErrorSpec, Place, Spec
from tests.support.closed_forms import ALPHA
from tests.support.worlds import HORIZON_NS, machine, world

START_NS, END_NS = 300_000, 700_000
ONE = ErrorSpec(count=1)
FIVE = ErrorSpec(count=5, start_ns=START_NS, end_ns=END_NS)


def counted(*errors: ErrorSpec, **changes) -> Spec:
    return replace(world(), errors=errors, **changes)


def onsets(spec: Spec, index: int = 0) -> list[int]:
    return [row.onset_ns for row in run_replication(spec, index).errors]


def test_the_times_are_the_first_uniforms_of_the_source() -> None:
    """floor(u x window) behind the start, sorted; counted out here from numpy's own generator."""
    for source in (0, 1):
        spec = counted(*[ErrorSpec()] * source, FIVE)
        key = Draws(spec.seed, 7).arrivals(source)._philox.state["state"]["key"]
        raw = np.random.Philox(key=key).random_raw(5)
        uniforms = [((int(each) >> 11) + 0.5) / 2**53 for each in raw]
        expected = sorted(START_NS + int(u * (END_NS - START_NS)) for u in uniforms)
        assert onsets(spec, 7) == expected


def test_a_source_keeps_its_times_whatever_stands_beside_it() -> None:
    alone = onsets(counted(FIVE))
    beside = run_replication(counted(FIVE, ErrorSpec(count=3), ErrorSpec(5e3)), 0).errors
    assert [row.onset_ns for row in beside if row.source == 0] == alone


def test_more_errors_are_the_same_ones_and_some_more() -> None:
    few, many = onsets(counted(replace(ONE, count=3))), onsets(counted(replace(ONE, count=9)))
    assert len(few) == 3
    assert len(many) == 9
    assert set(few) < set(many)


def test_the_window_ends_with_the_horizon_and_is_half_open() -> None:
    late = counted(ErrorSpec(count=1000, start_ns=HORIZON_NS - 2))
    assert set(onsets(late)) == {HORIZON_NS - 2, HORIZON_NS - 1}
    beyond = counted(ErrorSpec(count=50, start_ns=HORIZON_NS // 2, end_ns=2 * HORIZON_NS))
    assert len(onsets(beyond)) == 50
    assert onsets(counted(ErrorSpec(count=1, start_ns=HORIZON_NS))) == []  # refused in a file


def test_the_last_uniform_does_not_fall_on_the_end() -> None:
    from hwsim.machine.arrivals import _uniform

    assert _uniform([1.0, 0.5, 2**-54], 1, 11) == [1, 6, 10]
    window_ns = 2**62 - 1  # a float holds 2**62
    assert _uniform([1 - 2**-53], 0, window_ns)[0] < window_ns
    assert _uniform([1.0], 0, window_ns) == [window_ns - 1]


def test_only_the_next_one_waits() -> None:
    spec = counted(ErrorSpec(count=1000), ErrorSpec(count=2), ErrorSpec(0.0))
    assert Machine(spec, 0, MemoryLayout(spec)).engine.pending == 2


def test_a_burst_is_one_arrival() -> None:
    rows = run_replication(counted(ErrorSpec(count=2, burst_pages=3)), 0).errors
    assert len(rows) == 6
    first, second = rows[:3], rows[3:]
    for burst in (first, second):
        assert len({row.onset_ns for row in burst}) == 1
        assert all(b.pfn == a.pfn + 1 for a, b in pairwise(burst))


def test_both_policies_meet_the_same() -> None:
    spec = counted(FIVE)
    early = replace(spec, machine=replace(spec.machine, early_kill=1))
    late = replace(spec, machine=replace(spec.machine, early_kill=0))
    places = [[(e.onset_ns, e.pfn, e.line) for e in run_replication(s, 3).errors] for s in (early, late)]
    assert places[0] == places[1]


def test_a_machine_with_a_count_is_never_uneventful() -> None:
    assert uneventful(counted(ErrorSpec(0.0)), 0) is not None
    assert uneventful(counted(ErrorSpec(0.0), ONE), 0) is None


def test_what_comes_after_the_end_has_not_fallen() -> None:
    """Half of the errors hit the kernel's memory, which it reads all the time: a panic ends the run."""
    from hwsim.spec import KernelPoolSpec

    pool = KernelPoolSpec("reserved", 100, load_per_s=1e6)
    spec = counted(
        ErrorSpec(count=20, where=Place("region", "kernel:reserved")), pools=(pool,), machine=machine()
    )
    run = run_replication(spec, 0)
    assert run.row.panics == 1
    assert 0 < run.row.errors == len(run.errors) < 20
    assert all(row.onset_ns <= run.row.end_ns < HORIZON_NS for row in run.errors)


@pytest.mark.parametrize("count", [1, 3])
def test_the_times_are_uniform(count: int) -> None:
    """Kolmogorov and Smirnov over 400 machines; seed fixed, false alarms in 0.1 % of seeds."""
    spec = counted(ErrorSpec(count=count))
    times = [time / HORIZON_NS for index in range(400) for time in onsets(spec, index)]
    assert len(times) == 400 * count
    assert kstest(times, "uniform").pvalue > ALPHA
