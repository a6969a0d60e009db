"""What is counted: sums per machine replication, whole and by the way the error was found.

Policies are compared per error that fell, the same number under each.  Which of them are detected depends
on the policy: to divide by these compares the finding as well, and is done on request only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.record import Cause, Found, Needless, Outcome, Result
from hwsim.study.columns import unit_of
from hwsim.study.results import Results

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Sums = NDArray[np.float64]  # one value a replication, in order of the replication number

PATHS = tuple(word for word in Found.meanings() if word != Found.NONE)


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity: its column in ``replications``, and how it is called."""

    name: str
    title: str
    by_path: bool = True  # can be attributed to single errors

    @property
    def unit(self) -> str:
        """``count``, ``ns`` or ``bytes``."""
        return unit_of(self.name) or "count"

    @property
    def counts(self) -> bool:
        return self.unit == "count"


METRICS = (
    Metric("kills", "kills"),
    Metric("kills_early", "early (AO)"),
    Metric("kills_late", "late (AR)"),
    Metric("kills_forced", "forced SIGKILL"),
    Metric("kills_group", "group death"),
    Metric("needless_kills", "needless early kills"),
    Metric("censored_kills", "censored early kills"),  # the touch is due after the end of the run
    Metric("restarts", "restarts", by_path=False),
    Metric("panics", "panics"),
    Metric("downtime_ns", "downtime", by_path=False),
    Metric("data_lost_bytes", "data lost"),
    Metric("capacity_lost_bytes", "capacity lost"),
    Metric("lost_writes", "lost writes", by_path=False),
    Metric("told_writer", "writer told", by_path=False),
    Metric("told_other", "only others told", by_path=False),
    Metric("told_nobody", "nobody told", by_path=False),
    Metric("stale_reads", "stale reads", by_path=False),
    Metric("stale_reads_untold", "stale, untold", by_path=False),
    Metric("disk_corruptions", "bad pages on disk", by_path=False),
)
EXTRA_METRICS = (
    Metric("errors", "errors", by_path=False),
    Metric("detected", "detected", by_path=False),
    Metric("handled", "handled", by_path=False),
    Metric("recovered", Outcome.RECOVERED, by_path=False),
    Metric("delayed", Outcome.DELAYED, by_path=False),
    Metric("failed", Outcome.FAILED, by_path=False),
    Metric("ignored", Outcome.IGNORED, by_path=False),
    Metric("signals_handled", "signals handled", by_path=False),
    Metric("bad_pages", "BadPages", by_path=False),
    Metric("poisoned_pages", "poisoned pages", by_path=False),
    Metric("ring_lost", "lost in the ring", by_path=False),
    Metric("repeats", "repeat reports", by_path=False),
    Metric("touched", "touched meanwhile", by_path=False),
    Metric("dram_faults", "DRAM faults", by_path=False),
    Metric("corrected", "corrected errors", by_path=False),
    Metric("records", "in the log", by_path=False),
)
_CAUSES = {
    Cause.EARLY: "kills_early",
    Cause.LATE: "kills_late",
    Cause.FORCED: "kills_forced",
    Cause.GROUP_DEATH: "kills_group",
}


@dataclass(frozen=True)
class Tally:
    """The sums of one policy over the replications that all policies finished.

    ``whole[name]`` per machine; ``fell`` (of DRAM faults it is these) and ``detected``: errors per machine;
    ``path[found][name]`` and ``path_detected[found]`` the same for the errors found that way.
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


def tally(results: Results, policy: int, replications: Sequence[int], falls: str = "errors") -> Tally:
    """Sum one policy's tables per replication; ``falls`` is the column of what falls."""
    import numpy as np

    wanted = np.asarray(replications, dtype=np.int64)
    table = results.replications
    table = table[(table["policy"] == policy) & table["replication"].isin(wanted)]
    stored = [m.name for m in (*METRICS, *EXTRA_METRICS) if m.name in table]
    whole = {name: table[name].to_numpy(dtype=np.float64) for name in stored}
    fell, detected = (table[name].to_numpy(dtype=np.float64) for name in (falls, "detected"))
    errors = _of(results.errors, policy, wanted)
    signals = _of(results.signals, policy, wanted)
    found = errors[["replication", "error", "found"]]
    deaths = signals[signals["result"] == Result.KILLED].merge(found, on=["replication", "error"], how="left")
    whole["censored_kills"] = _sums(deaths[deaths["needless"] == Needless.CENSORED], wanted, None)
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
    sums["needless_kills"] = _sums(deaths[deaths["needless"] == Needless.YES], wanted, None)
    sums["censored_kills"] = _sums(deaths[deaths["needless"] == Needless.CENSORED], wanted, None)
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
