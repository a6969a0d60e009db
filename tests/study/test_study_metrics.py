"""Sums per machine, by hand: three machines under two policies, one of them unfinished under the second."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd

from hwsim.study.columns import TABLES
from hwsim.study.metrics import METRICS, common_replications, tally

ERRORS = [  # policy, replication, error, found, end, data_lost_bytes, capacity_lost_bytes
    (0, 0, 0, "scrub", "isolated", 4096, 8192),
    (0, 0, 1, "task_load", "panic", 0, 0),
    (0, 2, 0, "scrub", "isolated", 0, 4096),
    (0, 2, 1, "none", "latent", 0, 0),
    (0, 1, 0, "scrub", "panic", 1 << 20, 1 << 20),  # under this policy alone: not counted
    (1, 0, 0, "device_read", "reachable", 0, 0),
]
SIGNALS = [  # policy, replication, error, cause, result, needless
    (0, 0, 0, "early", "killed", "yes"),
    (0, 0, 0, "early", "killed", "censored"),
    (0, 0, 0, "late", "killed", ""),
    (0, 0, 0, "group_death", "killed", ""),
    (0, 0, 0, "early", "handled", "yes"),  # nobody died
    (0, 2, 0, "forced", "killed", ""),
    (0, 2, 0, "early", "killed", "no"),
    (0, 1, 0, "early", "killed", "yes"),
    (1, 0, 0, "early", "killed", "censored"),
]


def _results() -> Any:
    machines = [(0, 0, 7, 2, 2), (0, 1, 70, 1, 1), (0, 2, 2, 2, 1), (1, 0, 3, 1, 1), (1, 2, 5, 0, 0)]
    return SimpleNamespace(
        policy_list=["=0", "=1"],
        replications=pd.DataFrame(machines, columns=["policy", "replication", "kills", "errors", "detected"]),
        errors=pd.DataFrame(
            ERRORS,
            columns=[
                *("policy", "replication", "error", "found", "end"),
                *("data_lost_bytes", "capacity_lost_bytes"),
            ],
        ).assign(panics=[int(row[4] == "panic") for row in ERRORS]),
        signals=pd.DataFrame(
            SIGNALS, columns=["policy", "replication", "error", "cause", "result", "needless"]
        ),
    )


def test_a_machine_counts_when_it_finished_under_every_policy() -> None:
    assert common_replications(_results()) == (0, 2)
    assert common_replications(SimpleNamespace(policy_list=[], replications=_results().replications)) == ()


def test_sums_of_one_policy() -> None:
    found = tally(_results(), 0, (0, 2))
    assert found.replications == (0, 2)
    assert found.fell.tolist() == [2.0, 2.0]
    assert found.detected.tolist() == [2.0, 1.0]
    assert {name: sums.tolist() for name, sums in found.whole.items()} == {
        "kills": [7.0, 2.0],
        "errors": [2.0, 2.0],
        "detected": [2.0, 1.0],
        "censored_kills": [1.0, 0.0],
    }
    assert {name: sums.tolist() for name, sums in found.path_detected.items()} == {
        "scrub": [1.0, 1.0],
        "task_load": [1.0, 0.0],
    }


def test_deaths_belong_to_the_way_their_error_was_found() -> None:
    found = tally(_results(), 0, (0, 2))
    scrub = {name: sums.tolist() for name, sums in found.path["scrub"].items()}
    assert scrub == {
        "kills": [4.0, 2.0],
        "kills_early": [2.0, 1.0],
        "kills_late": [1.0, 0.0],
        "kills_forced": [0.0, 1.0],
        "kills_group": [1.0, 0.0],
        "needless_kills": [1.0, 0.0],
        "censored_kills": [1.0, 0.0],
        "panics": [0.0, 0.0],
        "data_lost_bytes": [4096.0, 0.0],
        "capacity_lost_bytes": [8192.0, 4096.0],
    }
    load = found.path["task_load"]
    assert load["panics"].tolist() == [1.0, 0.0]
    assert not any(sums.any() for name, sums in load.items() if name != "panics")


def test_the_other_policy_has_its_own() -> None:
    found = tally(_results(), 1, (0, 2))
    assert found.whole["kills"].tolist() == [3.0, 5.0]
    assert list(found.path) == ["device_read"]
    assert found.path["device_read"]["kills"].tolist() == [1.0, 0.0]
    assert found.whole["censored_kills"].tolist() == [1.0, 0.0]


def test_times_and_bytes_are_no_counts() -> None:
    """Seeing none of them bounds no number of events."""
    amounts = [metric.name for metric in METRICS if not metric.counts]
    assert amounts == ["downtime_ns", "data_lost_bytes", "capacity_lost_bytes"]


def test_every_row_has_its_policy() -> None:
    for columns in TABLES.values():
        assert (columns[0].name, columns[0].dtype, columns[0].optional) == ("policy", "int64", False)
