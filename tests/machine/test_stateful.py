"""Whatever steps come in whatever order: what must never happen does not.

The steps are chosen by hypothesis, the same ones every time; ``tests/verification`` tries many more.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.stateful import Machines

pytestmark = pytest.mark.xdist_group("stateful")  # the last test counts what the others have met
_FEW = settings(max_examples=120, stateful_step_count=50, deadline=None, derandomize=True, database=None)


_SEEDED = settings(_FEW, derandomize=False)  # hypothesis also draws what it found in modules loaded so far
_ROUNDS = 20


class Late(Machines):
    EARLY_KILL = 0


class Slow(Machines):
    """Counts what its machines have met."""

    SLOW = True

    met: ClassVar[Counter[str]] = Counter()

    def teardown(self) -> None:
        self.met.update(self.machine.reached)
        super().teardown()


class Merged(Machines):
    KERNEL, EARLY_KILL = "2.6.32", 1


TestEarly = Machines.TestCase
TestEarly.settings = _FEW
TestLate = Late.TestCase
TestLate.settings = _FEW
TestSlow = Slow.TestCase
TestSlow.settings = _FEW
TestMerged = Merged.TestCase
TestMerged.settings = _FEW


def test_the_steps_come_to_what_matters() -> None:
    """An invariant over machines on which nothing happens would prove nothing.

    What one round comes to depends on the modules loaded before it, so it goes on until all was met, from
    what ``TestSlow`` has come to on.
    """
    wanted = {
        "pte:anon->poison",
        "pte:file_dirty->poison",
        "lost:old data",
        "allocator:block_dropped",
        "row:12",
        "allocator:freed_poison_isolated",
        "exit:already",
        "exit:free_or_high_order",
        "fault:poison",
        "signal:AR",
        "panic:Fatal Machine check",
    }
    for number in range(_ROUNDS):
        if wanted <= set(Slow.met):
            break
        run_state_machine_as_test(seed(number)(Slow), settings=_SEEDED)
    assert wanted - set(Slow.met) == set()
    assert Slow.met["exit:table"] > 100
