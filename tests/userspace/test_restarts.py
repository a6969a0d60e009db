"""``restarts``: deaths of errors that a supervisor answers, in worlds of a few tasks."""

from __future__ import annotations

from typing import Any

import pytest

from hwsim.spec import RegionSpec, SigbusSpec
from tests.support.worlds import HEAP, P0, app, happened, line, play, signals, touch

AT = 9_000
RESTART = 1_000
POISON = (AT, "inject", {"page": P0})
SHM = RegionSpec("heap", "shm", 8, shared=True)


@pytest.mark.parametrize(
    ("what", "group", "deaths", "restarts"),
    [
        ("one task", app(restart_ns=RESTART), 1, 1),
        ("nobody starts it again", app(), 1, 0),
        ("a group that dies together", app(count=3, group_death=True, restart_ns=RESTART), 3, 1),
        ("each by its own signal", app(SHM, count=3, restart_ns=RESTART), 3, 3),
        ("a group by many signals", app(SHM, count=3, group_death=True, restart_ns=RESTART), 3, 1),
        ("a master with its workers", app(children=2, restart_ns=RESTART), 3, 1),
        ("left by its handler", app(sigbus=SigbusSpec("exit", "exit"), restart_ns=RESTART), 0, 1),
        ("the handler mends it", app(sigbus=SigbusSpec("remap", "exit"), restart_ns=RESTART), 0, 0),
        ("answered after the end", app(restart_ns=10**6), 1, 0),
    ],
)
def test_a_death_of_an_error(what: str, group: Any, deaths: int, restarts: int) -> None:
    result = play(POISON, tasks=(group,))
    assert (result.row.kills, result.row.restarts) == (deaths, restarts)


def test_a_task_that_ends_by_itself_is_no_death_of_an_error() -> None:
    result = play((AT, "exit", {"task": "app.0"}), tasks=(app(restart_ns=RESTART),))
    assert result.row.restarts == 0


def test_a_child_that_a_script_forked_has_no_supervisor() -> None:
    fork = (1_000, "fork", {"task": "app.0"})
    result = play(fork, POISON, tasks=(app(HEAP, restart_ns=RESTART),))
    assert [pid for pid, *_ in signals(result)] == [100, 101]
    assert result.row.restarts == 1


def test_a_start_after_a_reboot_does_not_count() -> None:
    result = play(POISON, (AT + RESTART // 2, "reboot"), tasks=(app(restart_ns=RESTART),), reboot_ns=100)
    assert (result.row.kills, result.row.restarts) == (1, 0)


def test_a_late_kill_counts_as_an_early_one() -> None:
    result = play(POISON, touch(AT + 5_000, "load"), tasks=(app(restart_ns=RESTART),), early_kill=0)
    assert (result.row.kills_late, result.row.restarts) == (1, 1)


def test_a_restart_hands_the_frame_out_again_and_clears_it() -> None:
    """A transient line of the heap: its owner exits, and the next one gets the same frame."""
    bad, leave = line(500, permanent=False), (1_000, "exit", {"task": "app.0"})
    result = play(bad, leave, tasks=(app(restart_ns=2_000),))
    healed = [(3_000, "allocated"), (3_000, "healed"), (3_000, "start")]
    assert happened(result)[-4:] == [(1_000, "freed"), *healed]
    assert (result.errors[0].end, result.errors[0].end_ns) == ("healed", 3_000)
