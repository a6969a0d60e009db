"""Whatever steps come in whatever order: what must never happen does not.

The steps are chosen by hypothesis, the same ones every time; ``tests/verification`` tries many more.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.stateful import Late, Machines, Merged, Slow, driven

pytestmark = pytest.mark.xdist_group("stateful")  # the last test counts what the others have met
_FEW = settings(max_examples=120, stateful_step_count=50, deadline=None, derandomize=True, database=None)


_SEEDED = settings(_FEW, derandomize=False)  # hypothesis also draws what it found in modules loaded so far
_ROUNDS = 20


class Counted(Slow):
    """Counts what its machines have met."""

    met: ClassVar[Counter[str]] = Counter()

    def teardown(self) -> None:
        self.met.update(self.machine.reached)
        super().teardown()


TestEarly = driven(Machines, _FEW)
TestLate = driven(Late, _FEW)
TestSlow = driven(Counted, _FEW)
TestMerged = driven(Merged, _FEW)


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
        if wanted <= set(Counted.met):
            break
        run_state_machine_as_test(seed(number)(Counted), settings=_SEEDED)
    assert wanted - set(Counted.met) == set()
    assert Counted.met["exit:table"] > 100
