"""E13: the chance that a page is touched between its detection and its isolation."""

from __future__ import annotations

from experiments.common import ACCELERATED, UNIFORM, Answer, Effort, alone, lines_figure, share, words
from hwsim.study.estimate import Estimate

QUESTION = "How likely is a touch between detection and isolation?"
WAITS = ("0 s", "1 ms", "100 ms", "1 s", "10 s")
CASES = {"desktop": 60, "database-server": 30, "file-server": 80}


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
    quick, slow = series["database-server"][0], series["database-server"][-1]
    text = (
        "A page found by the scrubber is cold, or somebody would have found it first; so the window hardly matters. On the "
        f"database server {words(quick, True)} of the pages are touched between the find and the unmapping when no lock is "
        f"held, {words(slow, True)} when every page lock takes 10 s. The touches counted are of other lines of the page: "
        "they are harmless in themselves, and dirty a page the handler had taken for clean. Andi Kleen's guess of 2009, "
        "windows too short to care, holds up to waits of seconds."
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
        ACCELERATED,
        "every page is waited for equally long, which overstates the wait; no migration or reclaim meanwhile",
    )
    return Answer("E13", QUESTION, [f"wait {each}" for each in WAITS], lines, figure, text, assumptions)
