"""H3: E12 and E13 again, on the patterns that DRAM faults really make."""

from __future__ import annotations

import pandas as pd

from experiments.common import ACCELERATED, Answer, Effort, alone, lines_figure, share, words
from hwsim.study.estimate import Estimate

QUESTION = "What do rows, columns and banks that fail do to the reports, and is a page touched meanwhile?"
PERIODS = ("1 h", "2 h", "4 h", "12 h", "24 h")
MODES = ("row", "column", "bank")


def run(effort: Effort) -> Answer:
    """One fault of one mode a machine, on average, in memory that is little used."""
    lost: dict[str, list[Estimate]] = {mode: [] for mode in MODES}
    left: dict[str, list[Estimate]] = {mode: [] for mode in MODES}
    touched: dict[str, list[Estimate]] = {mode: [] for mode in MODES}
    for mode in MODES:
        for period in PERIODS:
            results = alone(
                "row-fault", effort, 60,
                f'dram.fault=[{{ mode = "{mode}", permanent = 0.6 }}]', f'machine.scrub.period="{period}"',
            )  # fmt: skip
            n = len(results.replications)
            found = results.errors[results.errors["found"] == "scrub"]
            handled = found[found["unmapped_ns"].notna()]
            lost[mode].append(share(found[found["ring_lost"] > 0], found, n))
            left[mode].append(share(_never_handled(found), found, n))
            touched[mode].append(share(handled[handled["touched"] == 1], handled, n))
    day, hour = PERIODS.index("24 h"), PERIODS.index("1 h")
    text = (
        "It is not the ring of 15 that fails. A row lies in 16 pages of eight lines each, and the lines of a column or a bank "
        "that are played are spread over all of memory, so that pages do not come fast enough to fill it. What loses reports is the bank: the lines of a row "
        "follow each other closely, and a find that comes before the CPUs have met for the one before it spoils both records "
        f"(action optional with lost events). With a sweep of 24 h that costs {words(lost['row'][day], True)} of the pages of a "
        f"row a report, with one of an hour {words(lost['row'][hour], True)}, and {words(left['row'][hour], True)} are never "
        "handled, because each sweep spoils its own finds again. Columns and banks lose "
        f"{words(lost['column'][hour], True)} and {words(lost['bank'][hour], True)} then. A faster scrubber can thus be worse than a "
        "slow one. As for E13: of the pages found and handled with a sweep of 24 h, "
        f"{words(touched['column'][day], True)} of a column and {words(touched['bank'][day], True)} of a bank were touched between "
        "the find and the unmapping."
    )
    figure = lines_figure(
        "Reports lost when a DRAM fault is swept over", range(len(PERIODS)), lost,
        "time of one sweep over 64 GiB", "share of pages found by the scrubber", ticks=PERIODS,
    )  # fmt: skip
    lines = [
        *[(f"report lost, {mode}", values) for mode, values in lost.items()],
        *[(f"never handled, {mode}", values) for mode, values in left.items()],
        *[(f"touched meanwhile, {mode}", values) for mode, values in touched.items()],
    ]
    assumptions = (
        ACCELERATED,
        "64 GiB of DDR4, four channels, mapped by XOR as measured on Xeon E5; of a column or a bank 512 lines at random",
        "SECDED; faults that it corrects make no errors; the CPUs meet within 100 us; one bank for all finds",
        "the scrubber goes by physical address at constant speed and waits for nobody",
        "little used memory (a page is read once a day): in busy memory a program reads a line of such a fault first, and panics",
    )
    return Answer("H3", QUESTION, [f"sweep {each}" for each in PERIODS], lines, figure, text, assumptions)


def _never_handled(found: pd.DataFrame) -> pd.DataFrame:
    return found[found["poisoned_ns"].isna()]
