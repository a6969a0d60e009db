"""E7: what a periodic sync() swallows."""

from __future__ import annotations

from experiments.common import ALONE, UNIFORM, Answer, Effort, alone, lines_figure, share, sums, words
from hwsim.study.estimate import Estimate, mean

QUESTION = "What does a periodic sync() swallow?"
EVERY = ("never", "1 d", "6 h", "1 h", "10 min")


def run(effort: Effort) -> Answer:
    """The fsync race under AS_EIO, with a sync() from cron at five intervals."""
    swallowed: list[Estimate] = []
    nobody: list[Estimate] = []
    lost_per_error: list[Estimate] = []
    for every in EVERY:
        results = alone("fsync-race", effort, 15_000, f'machine.sync="{every}"')
        n = len(results.replications)
        lost = results.lost_writes
        swallowed.append(share(lost[lost["swallowed"] == "sync"], lost, n))
        nobody.append(share(lost[lost["told"] == "nobody"], lost, n))
        lost_per_error.append(mean(sums(lost, n)))
    text = (
        f"A sync() every {EVERY[-1]} takes the error away from {words(swallowed[-1], True)} of the lost writes before any "
        f"fsync could be told; a nightly one from {words(swallowed[1], True)}. It also writes dirty pages back, so that "
        f"fewer are lost at all: {words(lost_per_error[-1])} per error instead of {words(lost_per_error[0])}. "
        "The administrator who runs sync to be safe loses less, and hears of less of what is lost."
    )
    figure = lines_figure(
        "Errors that a periodic sync() swallows",
        range(len(EVERY)),
        {"swallowed by sync": swallowed, "told to nobody": nobody},
        "sync() every",
        "share of lost writes",
        ticks=EVERY,
    )
    lines = [
        ("swallowed by sync", swallowed),
        ("told to nobody", nobody),
        ("lost writes per error", lost_per_error),
    ]
    assumptions = (
        UNIFORM,
        ALONE,
        "the phase of sync() is random; eight clerks call fsync every 4 h each",
    )
    return Answer(
        "E7", QUESTION, [f"every {e}" if e != "never" else e for e in EVERY], lines, figure, text, assumptions
    )
