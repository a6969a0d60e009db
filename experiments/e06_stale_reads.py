"""E6: reads that find old data before anybody is told, against how often the tasks ask."""

from __future__ import annotations

from experiments.common import (
    ALONE,
    UNIFORM,
    Answer,
    Effort,
    lines_figure,
    of,
    per,
    share,
    study,
    words,
)
from hwsim.study.estimate import Estimate

QUESTION = "How often is old data read before anybody is told of the loss?"
EVERY = ("10 min", "1 h", "4 h", "1 d", "4 d")
MODES = ("as_flag", "errseq")


def run(effort: Effort) -> Answer:
    """The fsync race with readers, at five intervals of fsync."""
    series: dict[str, list[Estimate]] = {mode: [] for mode in MODES}
    any_stale: list[Estimate] = []
    for every in EVERY:
        results = study(
            "fsync-race",
            {"machine.switches.eio_mode": MODES},
            effort,
            10_000,
            f'task.clerk.fsync.every="{every}"',
            'file.ledger.touch={ share = "100 %", load = "1 / h", store = "1 / 8 h" }',
        )
        n = len(of(results.replications, 0))
        for number, mode in enumerate(MODES):
            lost = of(results.lost_writes, number)
            series[mode].append(per(lost, n, "stale_before"))
            if number == 0:
                any_stale.append(share(lost[lost["stale_before"] > 0], lost, n))
    text = (
        f"With an fsync every {EVERY[0]} a lost page is read {words(series['as_flag'][0])} times before anybody knows; "
        f"every {EVERY[-1]}, {words(series['as_flag'][-1])} times, and {words(any_stale[-1], True)} of the lost writes "
        "are read stale at least once before anybody is told. read() itself never reports. Under errseq_t it is "
        f"{words(series['errseq'][-1])}: there no sync() and no careless caller takes the error away."
    )
    figure = lines_figure(
        "Stale reads of a lost page before anybody is told",
        range(len(EVERY)),
        series,
        "each of eight tasks calls fsync every",
        "stale reads per lost write",
        ticks=EVERY,
    )
    lines = [
        *[(f"stale reads, {mode}", values) for mode, values in series.items()],
        ("read stale at least once", any_stale),
    ]
    assumptions = (
        UNIFORM,
        ALONE,
        "every page of the file is read once an hour and written as a whole every eight; reads come at a constant rate",
    )
    return Answer("E6", QUESTION, [f"every {each}" for each in EVERY], lines, figure, text, assumptions)
