"""Whatever steps come in whatever order, many more of them; see ``tests/support/stateful.py``."""

from __future__ import annotations

from hypothesis import settings

from tests.support.stateful import Late, Machines, MergedLate, Slow, SlowLate, driven

_MANY = settings(max_examples=2_000, stateful_step_count=80, deadline=None, derandomize=True, database=None)

TestEarly = driven(Machines, _MANY)
TestLate = driven(Late, _MANY)
TestSlow = driven(Slow, _MANY)
TestSlowLate = driven(SlowLate, _MANY)
TestMerged = driven(MergedLate, _MANY)
