"""H3: E12 and E13 again, on the patterns that DRAM faults really make, and with all of their lines."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.common import (
    ACCELERATED,
    Answer,
    Effort,
    alone,
    fraction,
    lines_figure,
    median,
    share,
    sums,
    words,
)
from hwsim.study.estimate import Estimate, ratio

QUESTION = "What do rows, columns and banks that fail do to the reports, and is a page touched meanwhile?"
PERIODS = ("1 h", "2 h", "4 h", "12 h", "24 h")
# What fails, and how many of its lines are played: all, or at most so many at random.
FAULTS = {
    "row": ("row", None),
    "column": ("column", None),
    "bank": ("bank", None),
    "512 lines of a column": ("column", 512),
    "512 lines of a bank": ("bank", 512),
}
KINDS = {
    "report lost": "lost", "never handled": "left", "touched meanwhile": "touched",
    "pages handled per fault": "handled", "faults that a read finds first": "read",
}  # fmt: skip


def run(effort: Effort) -> Answer:
    """One fault of one mode a machine, on average, in memory that is little used."""
    found = {
        name: [_told(_played(effort, mode, limit, period)) for period in PERIODS]
        for name, (mode, limit) in FAULTS.items()
    }
    series = {
        word: {name: [each[word] for each in told] for name, told in found.items()} for word in KINDS.values()
    }
    first = {name: [each["first"] for each in told] for name, told in found.items()}
    day, four, hour = PERIODS.index("24 h"), PERIODS.index("4 h"), PERIODS.index("1 h")
    lost, left, touched, handled, read = series.values()
    text = (
        "It is not the ring of 15 that fails. What loses reports is the bank of the machine check: a find that comes before the CPUs "
        "have met for the one before it spoils both records (action optional with lost events). A row lies in 16 pages of eight "
        f"lines each, which follow each other closely: with a sweep of 24 h that costs {words(lost['row'][day], True)} of its pages "
        f"a report, with one of an hour {words(lost['row'][hour], True)}, and {words(left['row'][hour], True)} are never "
        "handled, because each sweep spoils its own finds again. A faster scrubber can thus be worse than a slow one. "
        "512 lines of a column or a bank do not tell what such faults are: a column is 131,072 lines, "
        "one to a page, and a bank 16.8 million, eight to a page. With all of them the first is met within "
        f"{_seconds(first['column'][day])} of a column and {_seconds(first['bank'][day])} of a bank (median, sweep of 24 h), "
        f"not after {_seconds(first['512 lines of a column'][day])} and {_seconds(first['512 lines of a bank'][day])}. "
        f"Of {words(read['column'][hour], True)} of the columns and {words(read['bank'][hour], True)} of the banks it is a program "
        "that meets it even with a sweep of an hour, and that is a panic: so memory_failure() takes "
        f"{words(handled['column'][hour])} pages of a column and {words(handled['bank'][hour])} of a bank out of use before the machine "
        f"is down, of 512 lines {words(handled['512 lines of a column'][hour])} and "
        f"{words(handled['512 lines of a bank'][hour])}. The scrubber comes past lines of a bank so fast that they spoil one another: of "
        f"the pages that it found in such a sweep {words(lost['bank'][hour], True)} lost a report, of those of a column "
        f"{words(lost['column'][hour], True)}; of 512 lines it is {words(lost['512 lines of a bank'][hour], True)}. "
        "No policy for single pages mends a bank: that takes a spare, or another DIMM. As for E13: of the pages found and "
        f"handled with a sweep of four hours, {words(touched['row'][four], True)} of a row and {words(touched['column'][four], True)} of a "
        "column were touched between the find and the unmapping."
    )
    figure = lines_figure(
        "Reports lost when a DRAM fault is swept over", range(len(PERIODS)), lost,
        "time of one sweep over 64 GiB", "share of pages found by the scrubber", ticks=PERIODS,
    )  # fmt: skip
    lines = [
        (f"{title}, {name}", values) for title, word in KINDS.items() for name, values in series[word].items()
    ]
    lines += [(f"seconds to the first find, {name}", values) for name, values in first.items()]
    assumptions = (
        ACCELERATED,
        "64 GiB of DDR4, four channels, mapped by XOR as measured on Xeon E5; every line of a fault is bad",
        "SECDED; faults that it corrects make no errors; the CPUs meet within 100 us; one bank for all finds",
        "the scrubber goes by physical address at constant speed and waits for nobody",
        "little used memory (a page is read once a day): in busy memory a program reads a line of such a fault first, and panics",
    )
    return Answer("H3", QUESTION, [f"sweep {each}" for each in PERIODS], lines, figure, text, assumptions)


def _played(effort: Effort, mode: str, limit: int | None, period: str) -> Any:
    limits = () if limit is None else (f"dram.max_lines={limit}",)
    return alone(
        "row-fault", effort, 60, f'dram.fault=[{{ mode = "{mode}", permanent = 0.6 }}]',
        f'machine.scrub.period="{period}"', *limits,
    )  # fmt: skip


def _told(results: Any) -> dict[str, Estimate]:
    n = len(results.replications)
    errors, faults = results.errors, results.faults[results.faults["ruined"] > 0]
    found = errors[errors["found"] == "scrub"]
    handled = found[found["unmapped_ns"].notna()]
    first = _first_finds(errors)
    by_read = first[first["found"].isin(["task_load", "kernel_load", "device_read"])]
    return {
        "lost": share(found[found["ring_lost"] > 0], found, n),
        "left": share(found[found["poisoned_ns"].isna()], found, n),
        "touched": share(handled[handled["touched"] == 1], handled, n),
        "handled": ratio(sums(errors[errors["poisoned_ns"].notna()], n), sums(faults, n)),
        "read": fraction(sums(by_read, n), sums(faults, n)),
        "first": median(first.assign(seconds=(first["found_ns"] - first["onset_ns"]) / 1e9), "seconds"),
    }


def _first_finds(errors: pd.DataFrame) -> pd.DataFrame:
    """Of the errors of each fault the one that was found first."""
    found = errors[errors["found_ns"].notna()]
    return found.sort_values("found_ns").groupby(["replication", "onset_ns"], as_index=False).first()


def _seconds(estimate: Estimate) -> str:
    return f"{words(estimate)} s"
