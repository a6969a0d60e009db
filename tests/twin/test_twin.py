"""The machine that skips accesses and the slow twin that steps through each have the same distributions.

How the first error of a replication is found and how it ends, how long that takes, the page's state
at detection, kills in each replication.  Each comparison fails a correct model with a chance of at
most 1 in 1,000 over all its tests together (Bonferroni); the seeds are fixed, so a pass stays a pass.
The bigger form is in ``tests/verification/test_twin.py``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwsim.machine import MemoryLayout, run_replication
from hwsim.spec import ScrubSpec
from tests.support.worlds import events_of
from tests.twin.twin import run_twin
from tests.twin.twin_worlds import WORLDS, S, busy_day, disagreements, p_values, watch_model, watch_twin

MACHINES = 600, 2_400  # of the twin, which takes longer, and of the model
CASES = [(world, early_kill) for world in WORLDS for early_kill in (0, 1)]


@pytest.mark.parametrize(("world", "early_kill"), CASES)
def test_the_twin_agrees(world: str, early_kill: int) -> None:
    spec = WORLDS[world](early_kill, 20090603)
    assert disagreements(watch_twin(spec, MACHINES[0]), watch_model(spec, MACHINES[1])) == {}


def test_the_comparison_sees_a_difference() -> None:
    """Twice the lines a touch, or a sweep that takes a third longer: the twin disagrees."""
    spec = WORLDS["memory"](0, 7)
    heap, segment = spec.tasks[0].regions
    wider = replace(heap, lines_per_touch=2 * heap.lines_per_touch)
    slower = ScrubSpec(27 * 60 * S, "SRAO")  # the worlds have 20 min
    others = (
        replace(spec, tasks=(replace(spec.tasks[0], regions=(wider, segment)),)),
        replace(spec, machine=replace(spec.machine, scrub=slower)),
    )
    seen = watch_twin(spec, MACHINES[0])
    wide, slow = (disagreements(seen, watch_model(other, MACHINES[1])) for other in others)
    assert "how found" in wide
    assert "onset to found" in slow
    assert len(p_values(seen, seen)) >= 8


def test_a_day_of_a_thousand_touches_a_second_is_skipped() -> None:
    """Law: events follow faults and state changes.  The twin steps 86.4 million accesses."""
    slice_s = 20
    spec = busy_day()
    accesses = run_twin(replace(spec, horizon_ns=slice_s * S, errors=()), 0).accesses
    assert 900 * slice_s < accesses < 1_100 * slice_s
    plan = MemoryLayout(spec)
    day = [run_replication(spec, index, plan).row for index in range(5)]
    assert sum(row.errors for row in day) > 150
    assert all(row.end_ns == spec.horizon_ns for row in day)
    a_day_of_accesses = accesses / slice_s * 86_400
    assert all(events_of(spec, index, plan) * 1_000 <= a_day_of_accesses for index in range(5))
