"""H1: how many uncorrected errors the patrol scrubber finds before somebody reads them."""

from __future__ import annotations

import numpy as np

from experiments.common import Answer, Effort, lines_figure, words
from hwsim.machine import MemoryLayout, run_replication
from hwsim.show import style
from hwsim.spec import MachineSpec, RegionSpec, ScriptStep, ScrubSpec, Spec, TaskSpec, Touch
from hwsim.study.estimate import Estimate, proportion

QUESTION = "What share of uncorrected errors does the scrubber find before a program reads them?"
HOUR_NS = 3_600_000_000_000
PERIODS_H = {"1 h": 1, "4 h": 4, "12 h": 12, "24 h": 24, "3 d": 72, "1 w": 168}
READS_PER_H = {"read every minute": 60.0, "every hour": 1.0, "every day": 1 / 24, "every week": 1 / 168}
_PAGES = 64
_MACHINES = 1500


def run(effort: Effort) -> Answer:
    """One error a machine, in memory that one program reads at one rate; the first to meet it counts."""
    series = {
        name: [_found_by_scrub(reads, period, effort.repeat(_MACHINES)) for period in PERIODS_H.values()]
        for name, reads in READS_PER_H.items()
    }
    day = list(PERIODS_H).index("24 h")
    text = (
        "What decides is reads of the line in one sweep. With a sweep of 24 h the scrubber is first for "
        f"{words(series['every week'][day], True)} of the errors in memory read once a week, "
        f"{words(series['every day'][day], True)} where it is read once a day, {words(series['every hour'][day], True)} once "
        f"an hour and {words(series['read every minute'][day], True)} once a minute. A sweep of one hour makes that "
        f"{words(series['every hour'][0], True)} for memory read every hour. Only what the scrubber finds first can "
        "be handled in the background: early and late kill differ on that share and on no other. All agree with the closed form "
        "(1 - exp(-LT))/(LT) for reads at rate L and a sweep of T."
    )
    figure = lines_figure(
        "Uncorrected errors found by the scrubber first", range(len(PERIODS_H)), series,
        "time of one sweep", "share of errors", ticks=list(PERIODS_H),
        caption="Points with 95 % intervals (Wilson). Dotted: the closed form (1 - exp(-LT))/(LT) for reads at rate L "
        "and a sweep of T.",
    )  # fmt: skip
    for number, reads in enumerate(READS_PER_H.values()):
        per_sweep = reads * np.array(list(PERIODS_H.values()), dtype=np.float64)
        figure.axes[0].plot(
            range(len(PERIODS_H)), -np.expm1(-per_sweep) / per_sweep, color=style.series(number).colour,
            linestyle=":", linewidth=1.2, zorder=0,
        )  # fmt: skip
    figure.axes[0].set_ylim(0, 1.02)
    assumptions = (
        "one bad line, and a scrubber that is anywhere in its sweep when it goes bad; reads are Poisson and touch every line of a page",
        "one program reads all of it at one rate: real memory has hot and cold pages, so its curve is a mixture of these",
        "no stores, no other readers, one sweep at constant speed",
    )
    return Answer("H1", QUESTION, list(PERIODS_H), list(series.items()), figure, text, assumptions)


def _found_by_scrub(reads_per_h: float, period_h: int, machines: int) -> Estimate:
    rate = reads_per_h / 3600.0
    heap = RegionSpec("heap", "anon", _PAGES, touch=(Touch(1.0, load_per_s=rate),), lines_per_touch=64.0)
    spec = Spec(
        "scrub share", 10 * 168 * HOUR_NS, 1, machines,
        MachineSpec(_PAGES, scrub=ScrubSpec(period_h * HOUR_NS), reboot_ns=None),
        tasks=(TaskSpec("reader", regions=(heap,)),),
        script=(ScriptStep(HOUR_NS, "inject", {"page": {"pfn": 1}, "how": "line", "permanent": True}),),
    )  # fmt: skip
    layout, found = MemoryLayout(spec), 0
    for index in range(machines):
        found += run_replication(spec, index, layout).errors[0].found == "scrub"
    return proportion(found, machines)
