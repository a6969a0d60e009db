"""One error a machine against a rate at which errors hardly ever meet, in numbers that show 5 %.

False alarms: 0.1 % of seeds for each of the six figures; the seeds are fixed.
"""

from __future__ import annotations

import pytest

from tests.support.alone import FIGURES, database_servers, differ, per_error
from tests.support.closed_forms import ALPHA

MACHINES = 8_000


@pytest.mark.parametrize("early_kill", [0, 1])
def test_a_count_of_one_agrees_with_a_rate_at_which_errors_are_alone(early_kill: int) -> None:
    counted = database_servers(MACHINES, 11, early_kill)
    rare = database_servers(10 * MACHINES, 12, early_kill, "errors.0.rate=1 / 300 d")
    for figure in FIGURES:
        first, second = per_error(counted, figure), per_error(rare, figure)
        assert not differ(first, second, ALPHA), (figure, first, second)
