"""E8: the block-device test of the handler, variant by variant."""

from __future__ import annotations

from experiments.common import ALONE, UNIFORM, Answer, Effort, bars_figure, of, share, study, words
from hwsim.study.estimate import Estimate

QUESTION = "Which test of block-device pages saves the most machines?"
VARIANTS = ("count_gt_1", "count_gt_2", "release_buffers", "fs_hook")


def run(effort: Effort) -> Answer:
    """Inode tables and a raw device, all with buffers, some of them busy, under four tests."""
    results = study("metadata", {"machine.switches.blockdev_test": VARIANTS}, effort, 6000)
    n = len(of(results.replications, 0))
    series: dict[str, list[Estimate]] = {
        "Recovered": [],
        "Failed": [],
        "panic later": [],
        "bad bytes on disk": [],
    }
    for number in range(len(VARIANTS)):
        errors = of(results.errors, number)
        handled = errors[errors["row"] > 0]
        # After a reboot the frame is somebody else's: what comes of it then is no merit of the test.
        panicked = handled[(handled["panic_boot"] == handled["boot"]).fillna(False)]
        on_disk = handled[(handled["disk_boot"] == handled["boot"]).fillna(False)]
        series["Recovered"].append(share(handled[handled["outcome"] == "Recovered"], handled, n))
        series["Failed"].append(share(handled[handled["outcome"] == "Failed"], handled, n))
        series["panic later"].append(share(panicked, handled, n))
        series["bad bytes on disk"].append(share(on_disk, handled, n))
    text = (
        f"v5's count > 1 recovers {words(series['Recovered'][0], True)} of the block-device pages, and "
        f"{words(series['panic later'][0], True)} of those it handled bring the machine down later. count > 2 recovers "
        f"{words(series['Recovered'][1], True)}: pages of a device have buffers, which hold a reference of their own, so that "
        "counting one more helps nobody. Releasing idle buffers first recovers "
        f"{words(series['Recovered'][2], True)}, the hook of 2.6.32 {words(series['Recovered'][3], True)}; what they refuse "
        "is busy or dirty."
    )
    figure = bars_figure("Block-device pages under four tests", VARIANTS, series, "share of handled errors")
    assumptions = (
        UNIFORM,
        ALONE,
        "a quarter of the buffers are busy when the handler looks; dropping a clean page of a device harms nobody",
    )
    return Answer("E8", QUESTION, VARIANTS, list(series.items()), figure, text, assumptions)
