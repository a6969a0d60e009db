"""E12: what a ring of 15 loses in a storm, and how much of it the next sweep finds again."""

from __future__ import annotations

from experiments.common import UNIFORM, Answer, Effort, alone, lines_figure, share, words
from hwsim.study.estimate import Estimate

QUESTION = "What does a ring of 15 per CPU lose in a storm?"
PAGES = (8, 16, 32, 64, 128, 256)
WAITS = {"locks of 2 s": '"2 s"', "locks of 5 ms": '"5 ms"'}


def run(effort: Effort) -> Answer:
    """Bursts of neighbouring bad pages on two CPUs with a fast scrubber, with slow and quick page locks."""
    lost: dict[str, list[Estimate]] = {name: [] for name in WAITS}
    again: list[Estimate] = []
    for pages in PAGES:
        for name, wait in WAITS.items():
            results = alone(
                "error-storm",
                effort,
                60,
                f"errors.0.burst_pages={pages}",
                'machine.times.rendezvous="100 us"',
                f'machine.times.lock_wait={{ kind = "exponential", mean = {wait}, chance = "20 %" }}',
            )
            n = len(results.replications)
            errors = results.errors
            found = errors[errors["found"] == "scrub"]
            lost[name].append(share(found[found["ring_lost"] > 0], found, n))
            if name == "locks of 2 s":
                dropped = found[found["ring_lost"] > 0]
                again.append(share(dropped[dropped["poisoned_ns"].notna()], dropped, n))
    text = (
        f"With page locks of 2 s a burst of {PAGES[-1]} pages loses the first report of {words(lost['locks of 2 s'][-1], True)} "
        f"of its pages, one of {PAGES[0]} of {words(lost['locks of 2 s'][0], True)}; with locks of 5 ms "
        f"{words(lost['locks of 5 ms'][-1], True)}. A lost report is not a lost page: the line stays bad, and the next sweep "
        f"reports it again. Of the pages whose report was dropped {words(again[-1], True)} were poisoned by a later sweep; the "
        "others were overwritten, or went with a reboot, before it came."
    )
    figure = lines_figure(
        "First reports lost in a storm",
        PAGES,
        lost,
        "pages of a burst",
        "share of found pages",
        ticks=[str(each) for each in PAGES],
    )
    lines = [
        *[(f"report lost, {name}", values) for name, values in lost.items()],
        ("lost report, poisoned later", again),
    ]
    assumptions = (
        UNIFORM + "; a burst is a run of neighbouring pages, a stand-in for a row fault",
        "one of five pages is locked by somebody else when the handler comes; two CPUs, one sweep an hour",
    )
    return Answer("E12", QUESTION, [f"{each} pages" for each in PAGES], lines, figure, text, assumptions)
