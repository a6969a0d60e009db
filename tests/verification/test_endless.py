"""Whatever is accepted ends, many more of them; see ``tests/support/accepted.py``."""

from __future__ import annotations

from hypothesis import settings

from tests.support.accepted import what_is_accepted_ends

test_accepted_scenarios_end = settings(max_examples=10_000)(what_is_accepted_ends)
