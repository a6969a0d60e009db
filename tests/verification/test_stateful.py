"""Whatever steps come in whatever order, many more of them; see ``tests/support/stateful.py``."""

from __future__ import annotations

from hypothesis import settings

from tests.support.stateful import Machines

_MANY = settings(max_examples=2_000, stateful_step_count=80, deadline=None, derandomize=True, database=None)


class Late(Machines):
    EARLY_KILL = 0


class Slow(Machines):
    SLOW = True


class SlowLate(Machines):
    EARLY_KILL, SLOW = 0, True


class Merged(Machines):
    KERNEL, EARLY_KILL = "2.6.32", 0


TestEarly = Machines.TestCase
TestEarly.settings = _MANY
TestLate = Late.TestCase
TestLate.settings = _MANY
TestSlow = Slow.TestCase
TestSlow.settings = _MANY
TestSlowLate = SlowLate.TestCase
TestSlowLate.settings = _MANY
TestMerged = Merged.TestCase
TestMerged.settings = _MANY
