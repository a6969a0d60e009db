"""E13: the chance that a page is touched between its detection and its isolation."""

from __future__ import annotations

from experiments.common import ALONE, UNIFORM, Answer, Effort, alone, lines_figure, share, words
from hwsim.study.estimate import Estimate

QUESTION = "How likely is a touch between detection and isolation?"
WAITS = ("0 s", "10 ms", "1 s", "1 min", "10 min")
CASES = {"desktop": 3000, "database-server": 2500, "file-server": 8000}


def run(effort: Effort) -> Answer:
    """Three machines with a page lock held for five different times."""
    series: dict[str, list[Estimate]] = {name: [] for name in CASES}
    for scenario, machines in CASES.items():
        for wait in WAITS:
            results = alone(scenario, effort, machines, f'machine.times.lock_wait="{wait}"')
            n = len(results.replications)
            errors = results.errors
            handled = errors[(errors["found"] == "scrub") & errors["unmapped_ns"].notna()]
            series[scenario].append(share(handled[handled["touched"] == 1], handled, n))
    at = WAITS.index("1 s")
    text = (
        "A page found by the scrubber is cold, or somebody would have found it first; so the window hardly matters. With "
        f"page locks of a second {words(series['database-server'][at], True)} of the pages of the database server are touched "
        f"between the find and the unmapping, {words(series['desktop'][at], True)} on the desktop and "
        f"{words(series['file-server'][at], True)} on the file server; only with waits of ten minutes is it "
        f"{words(series['database-server'][-1], True)}, {words(series['desktop'][-1], True)} and "
        f"{words(series['file-server'][-1], True)}. The touches counted are of other lines of the page: they may dirty it, and "
        "read nothing bad. Andi Kleen guessed in 2009 that the windows are too short to care, and had no numbers."
    )
    figure = lines_figure(
        "Pages touched between detection and isolation",
        range(len(WAITS)),
        series,
        "the page lock is waited for",
        "share of pages found by the scrubber",
        ticks=WAITS,
    )
    lines = list(series.items())
    assumptions = (
        UNIFORM,
        ALONE,
        "every page is waited for equally long, which overstates the wait; no migration or reclaim meanwhile",
    )
    return Answer("E13", QUESTION, [f"wait {each}" for each in WAITS], lines, figure, text, assumptions)
