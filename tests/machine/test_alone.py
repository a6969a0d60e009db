"""One error a machine is what a rate comes to at which errors hardly ever meet; accelerated ones are not.

Six figures, seeds fixed; false alarms in 0.1 % of seeds each.  Larger in ``tests/verification``.
"""

from __future__ import annotations

import pytest

from tests.support.alone import FIGURES, database_servers, differ, per_error
from tests.support.closed_forms import ALPHA
from tests.whole.accelerated import run

MACHINES = 300


@pytest.mark.parametrize("early_kill", [0, 1])
def test_a_count_of_one_agrees_with_a_rate_at_which_errors_are_alone(early_kill: int) -> None:
    counted = database_servers(MACHINES, 1, early_kill)
    rare = database_servers(10 * MACHINES, 2, early_kill, "errors.0.rate=1 / 300 d")
    assert sum(row.errors for row in counted) == MACHINES
    assert 0.8 * MACHINES < sum(row.errors for row in rare) < 1.2 * MACHINES
    for figure in FIGURES:
        assert not differ(per_error(counted, figure), per_error(rare, figure), ALPHA), figure


def test_acceleration_would_be_noticed() -> None:
    """With 60 errors a month early killing seems to lose fewer writes: each of its restarts throws away the
    segment, with bad lines of other errors that nobody had found yet.  Alone, both lose the same ones.
    """
    crowded = [run("database-server", policy).total("lost_writes") for policy in (0, 1)]
    alone = [sum(row.lost_writes for row in database_servers(MACHINES, 1, policy)) for policy in (0, 1)]
    assert crowded[0] - crowded[1] > 10
    assert alone[0] == alone[1] > 40
