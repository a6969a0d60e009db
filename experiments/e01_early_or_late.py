"""E1: what early killing costs and saves for each error that falls, error by error on the same machines.

Every error falls into one class, if anybody is killed for it: both policies killed for it; only
early did, and nobody would have touched the page again (needless) or only after the end of the run
(censored) or a touch was due all the same (the page or its task went first); only late did.
"""

from __future__ import annotations

import pandas as pd

from experiments.common import (
    ALONE,
    MODEL_TIMES,
    UNIFORM,
    Answer,
    Effort,
    bars_figure,
    fraction,
    of,
    study,
    sums,
    words,
)
from hwsim.study.estimate import Estimate, ratio
from hwsim.study.pair import EARLY_KILL

QUESTION = "What does early_kill = 1 cost and save per error?"
CLASSES = ("both kill", "early only, needless", "early only, censored", "early only, other", "late only")
KEYS = ["replication", "error"]
MINUTE_NS = 60e9
COSTS = {
    "downtime, late (min)": (0, "downtime_ns", MINUTE_NS),
    "downtime, early (min)": (1, "downtime_ns", MINUTE_NS),
    "stale reads, late": (0, "stale_reads", 1),
    "stale reads, early": (1, "stale_reads", 1),
}
CASES = {"desktop": 6000, "web-server": 8000, "database-server": 6000, "kvm-host": 8000}


def _classes(results: object) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Errors of each class, and all errors with what became of them under both policies."""
    errors, signals = results.errors, results.signals  # type: ignore[attr-defined]
    both = of(errors, 0).merge(of(errors, 1), on=KEYS, suffixes=("_late", "_early"))
    late, early = both["killed_late"] > 0, both["killed_early"] > 0
    deaths = signals[(signals["policy"] == 1) & (signals["result"] == "killed")]
    needless = _has(both, deaths[deaths["needless"] == "yes"])
    censored = _has(both, deaths[deaths["needless"] == "censored"])
    only = early & ~late
    return {
        "both kill": both[early & late],
        "early only, needless": both[only & needless],
        "early only, censored": both[only & ~needless & censored],
        "early only, other": both[only & ~needless & ~censored],
        "late only": both[late & ~early],
    }, both


def _has(both: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    marked = both[KEYS].merge(rows[KEYS].drop_duplicates(), on=KEYS, how="left", indicator=True)
    return pd.Series(marked["_merge"].to_numpy() == "both", index=both.index)


def run(effort: Effort) -> Answer:
    """Four machines, each under both policies."""
    columns: dict[str, list[Estimate]] = {name: [] for name in CLASSES}
    panics: list[Estimate] = []
    caught: list[Estimate] = []
    costs: dict[str, list[Estimate]] = {name: [] for name in COSTS}
    for scenario, machines in CASES.items():
        results = study(scenario, {EARLY_KILL: (0, 1)}, effort, machines)
        n = len(of(results.replications, 0))
        classes, both = _classes(results)
        for name in CLASSES:
            columns[name].append(fraction(sums(classes[name], n), sums(both, n)))
        for name, (policy, column, unit) in COSTS.items():
            machines_of = of(results.replications, policy)
            fell = sums(machines_of, n, "errors")
            costs[name].append(ratio([each / unit for each in sums(machines_of, n, column)], fell))
        signals = of(results.signals, 1)
        handled = signals[(signals["code"] == "BUS_MCEERR_AO") & (signals["result"] == "handled")]
        late_only = classes["late only"]
        caught.append(fraction(sums(late_only[_has(late_only, handled)], n), sums(late_only, n)))
        panics.append(fraction(sums(both[both["end_early"] == "panic"], n), sums(both, n)))
    lines = [
        *columns.items(),
        ("late only: the early signal was caught", caught),
        ("panic", panics),
        *costs.items(),
    ]
    server = list(CASES).index("database-server")
    needless, kept = columns["early only, needless"][server], columns["both kill"][server]
    desktop = list(CASES).index("desktop")
    text = (
        "On the database server both policies kill for "
        f"{words(kept, True)} of the errors; early killing alone kills for {words(needless, True)} more where "
        "nobody would have touched the page again. On the desktop, where programs catch SIGBUS, late killing alone kills "
        f"for {words(columns['late only'][desktop], True)}: in {words(caught[desktop], True)} of these the early signal "
        "was caught and the page dropped, which a signal at the touch does not allow. Panics are about the same under both: "
        "in v5 a consumed error ends the machine, whatever the policy."
    )
    figure = bars_figure("Deaths per error, early against late", list(CASES), columns, "share of errors")
    return Answer("E1", QUESTION, list(CASES), lines, figure, text, (UNIFORM, ALONE, MODEL_TIMES))
