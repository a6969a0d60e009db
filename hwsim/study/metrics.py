"""What is counted: sums per machine replication, whole and by the way the error was found.

Policies are compared per error that fell, the same number under each.  Which of them are detected depends
on the policy: to divide by these compares the finding as well, and is done on request only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.study.results import Results

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Sums = NDArray[np.float64]  # one value a replication, in order of the replication number

PATHS = ("scrub", "task_load", "kernel_load", "device_read", "injected")


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity: its column in ``replications``, how it is called, its unit."""

    name: str
    title: str
    unit: str  # count | ns | bytes
    by_path: bool = True  # can be attributed to single errors

    @property
    def counts(self) -> bool:
        return self.unit == "count"


METRICS = (
    Metric("kills", "kills", "count"),
    Metric("kills_early", "early (AO)", "count"),
    Metric("kills_late", "late (AR)", "count"),
    Metric("kills_forced", "forced SIGKILL", "count"),
    Metric("kills_group", "group death", "count"),
    Metric("needless_kills", "needless early kills", "count"),
    Metric("censored_kills", "censored early kills", "count"),  # the touch is due after the end of the run
    Metric("restarts", "restarts", "count", by_path=False),
    Metric("panics", "panics", "count"),
    Metric("downtime_ns", "downtime", "ns", by_path=False),
    Metric("data_lost_bytes", "data lost", "bytes"),
    Metric("capacity_lost_bytes", "capacity lost", "bytes"),
    Metric("lost_writes", "lost writes", "count", by_path=False),
    Metric("told_writer", "writer told", "count", by_path=False),
    Metric("told_other", "only others told", "count", by_path=False),
    Metric("told_nobody", "nobody told", "count", by_path=False),
    Metric("stale_reads", "stale reads", "count", by_path=False),
    Metric("stale_reads_untold", "stale, untold", "count", by_path=False),
    Metric("disk_corruptions", "bad pages on disk", "count", by_path=False),
)
EXTRA_METRICS = (
    Metric("errors", "errors", "count", by_path=False),
    Metric("detected", "detected", "count", by_path=False),
    Metric("handled", "handled", "count", by_path=False),
    Metric("recovered", "Recovered", "count", by_path=False),
    Metric("delayed", "Delayed", "count", by_path=False),
    Metric("failed", "Failed", "count", by_path=False),
    Metric("ignored", "Ignored", "count", by_path=False),
    Metric("signals_handled", "signals handled", "count", by_path=False),
    Metric("bad_pages", "BadPages", "count", by_path=False),
    Metric("poisoned_pages", "poisoned pages", "count", by_path=False),
    Metric("ring_lost", "lost in the ring", "count", by_path=False),
    Metric("repeats", "repeat reports", "count", by_path=False),
    Metric("touched", "touched meanwhile", "count", by_path=False),
    Metric("dram_faults", "DRAM faults", "count", by_path=False),
    Metric("corrected", "corrected errors", "count", by_path=False),
    Metric("records", "in the log", "count", by_path=False),
)
_CAUSES = {
    "early": "kills_early",
    "late": "kills_late",
    "forced": "kills_forced",
    "group_death": "kills_group",
}


@dataclass(frozen=True)
class Tally:
    """The sums of one policy over the replications that all policies finished.

    ``whole[name]`` per machine; ``fell`` and ``detected``: errors per machine; ``path[found][name]`` and
    ``path_detected[found]`` the same for the errors found that way.
    """

    replications: tuple[int, ...]
    whole: dict[str, Sums]
    fell: Sums
    detected: Sums
    path: dict[str, dict[str, Sums]]
    path_detected: dict[str, Sums]


def common_replications(results: Results) -> tuple[int, ...]:
    """The replications that finished under every policy."""
    table = results.replications
    sets = [
        set(table.loc[table["policy"] == number, "replication"].tolist())
        for number in range(len(results.policy_list))
    ]
    return tuple(sorted(set.intersection(*sets))) if sets else ()


def tally(results: Results, policy: int, replications: Sequence[int]) -> Tally:
    """Sum one policy's tables per replication."""
    import numpy as np

    wanted = np.asarray(replications, dtype=np.int64)
    table = results.replications
    table = table[(table["policy"] == policy) & table["replication"].isin(wanted)]
    stored = [m.name for m in (*METRICS, *EXTRA_METRICS) if m.name in table]
    whole = {name: table[name].to_numpy(dtype=np.float64) for name in stored}
    fell, detected = (table[name].to_numpy(dtype=np.float64) for name in ("errors", "detected"))
    errors = _of(results.errors, policy, wanted)
    signals = _of(results.signals, policy, wanted)
    found = errors[["replication", "error", "found"]]
    deaths = signals[signals["result"] == "killed"].merge(found, on=["replication", "error"], how="left")
    whole["censored_kills"] = _sums(deaths[deaths["needless"] == "censored"], wanted, None)
    path: dict[str, dict[str, Sums]] = {}
    path_detected: dict[str, Sums] = {}
    for name in PATHS:
        here = errors[errors["found"] == name]
        if here.empty:
            continue
        path_detected[name] = _sums(here, wanted, None)
        path[name] = _path_sums(here, deaths[deaths["found"] == name], wanted)
    return Tally(tuple(replications), whole, fell, detected, path, path_detected)


def _path_sums(errors: pd.DataFrame, deaths: pd.DataFrame, wanted: NDArray[np.int64]) -> dict[str, Sums]:
    sums = {name: _sums(deaths[deaths["cause"] == cause], wanted, None) for cause, name in _CAUSES.items()}
    sums["kills"] = sum(sums.values(), start=_sums(deaths.iloc[:0], wanted, None))
    sums["needless_kills"] = _sums(deaths[deaths["needless"] == "yes"], wanted, None)
    sums["censored_kills"] = _sums(deaths[deaths["needless"] == "censored"], wanted, None)
    sums["panics"] = _sums(errors, wanted, "panics")
    sums["data_lost_bytes"] = _sums(errors, wanted, "data_lost_bytes")
    sums["capacity_lost_bytes"] = _sums(errors, wanted, "capacity_lost_bytes")
    return sums


def _of(table: pd.DataFrame, policy: int, wanted: NDArray[np.int64]) -> pd.DataFrame:
    return table[(table["policy"] == policy) & table["replication"].isin(wanted)]


def _sums(rows: pd.DataFrame, wanted: NDArray[np.int64], column: str | None) -> Sums:
    """Rows counted, or one column summed, per wanted replication."""
    import numpy as np

    places = np.searchsorted(wanted, rows["replication"].to_numpy(dtype=np.int64))
    weights = None if column is None else rows[column].to_numpy(dtype=np.float64)
    found: Sums = np.bincount(places, weights=weights, minlength=wanted.size).astype(np.float64)
    return found
