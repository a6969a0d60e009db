"""What every experiment is made of: studies, sums per machine, a table, a figure and an answer.

The unit is the machine replication: shares and means per error are ratios of sums over machines with
a jackknife interval, policies are compared on the same errors, medians have a bootstrap over machines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

import hwsim
from hwsim.show import style
from hwsim.show.estimate_table import EstimateTable, Methods, unit_of
from hwsim.show.rounding import shown
from hwsim.study.conduct import conduct, prepared
from hwsim.study.estimate import LEVEL, Estimate, ratio
from hwsim.study.pair import policies_of

SCENARIOS = Path(__file__).resolve().parents[1] / "scenarios"
UNIFORM = "errors are single bad lines at uniform places, not DRAM faults of rows or banks"
ALONE = "one error a machine, as in the field hardly any has two: shares per error are the result, not counts per year"
ACCELERATED = "fault rates are accelerated, so that shares per error are the result, not counts per year"
MODEL_TIMES = "times inside the machine (locks, writeback, signals) are assumptions, listed in the README"

Vector = list[float]


@dataclass(frozen=True)
class Effort:
    """How much to run: ``scale`` multiplies the number of machines, ``workers`` as elsewhere."""

    scale: float = 1.0
    workers: int | None = None

    def repeat(self, machines: int) -> int:
        """``machines`` scaled, at least four."""
        return max(4, round(machines * self.scale))


@dataclass
class Answer:
    """What an experiment found: a table of estimates, a figure, a paragraph, and what it rests on.

    ``lines`` are (label, estimates); ``unit`` is count, ns or bytes.
    """

    number: str
    question: str
    head: Sequence[str]
    lines: list[tuple[str, list[Estimate]]]
    figure: Figure
    text: str
    assumptions: Sequence[str]
    unit: str = "count"
    notes: Sequence[str] = field(default_factory=tuple)


def study(
    scenario: str, vary: dict[str, Sequence[Any]], effort: Effort, machines: int, *overrides: str
) -> Any:
    """Run a shipped scenario under the policies of ``vary`` on the same errors; the Results of all."""
    ready = prepared(SCENARIOS / f"{scenario}.toml", overrides=overrides)
    repeat = effort.repeat(machines)
    return conduct(ready, policies_of(vary), repeat=repeat, overrides=overrides, workers=effort.workers)


def alone(scenario: str, effort: Effort, machines: int, *overrides: str) -> Any:
    """Run a shipped scenario under one policy; its Results."""
    path = SCENARIOS / f"{scenario}.toml"
    return hwsim.run(path, repeat=effort.repeat(machines), overrides=overrides, workers=effort.workers)


def of(table: pd.DataFrame, policy: int) -> pd.DataFrame:
    """The rows of one policy."""
    return table[table["policy"] == policy]


def sums(rows: pd.DataFrame, machines: int, column: str | None = None) -> Vector:
    """Rows counted, or one column summed, for each machine replication: ``machines`` numbers."""
    places = rows["replication"].to_numpy(dtype=np.int64)
    weights = None if column is None else rows[column].to_numpy(dtype=np.float64, na_value=0.0)
    return [float(each) for each in np.bincount(places, weights=weights, minlength=machines)]


def fraction(tops: Vector, bottoms: Vector) -> Estimate:
    """A ratio of sums that is a share of the whole: no interval goes beyond one."""
    found = ratio(tops, bottoms)
    return found if found.high is None or found.high <= 1.0 else replace(found, high=1.0)


def share(top: pd.DataFrame, bottom: pd.DataFrame, machines: int) -> Estimate:
    """Which share of the rows of ``bottom`` those of ``top`` are, which are among them."""
    return fraction(sums(top, machines), sums(bottom, machines))


def per(rows: pd.DataFrame, machines: int, column: str) -> Estimate:
    """The mean of a column per row."""
    return ratio(sums(rows, machines, column), sums(rows, machines))


def median(rows: pd.DataFrame, column: str, resamples: int = 999) -> Estimate:
    """Median of a column over all rows: percentile bootstrap that draws whole machines."""
    groups = [part[column].to_numpy(dtype=np.float64) for _, part in rows.groupby("replication")]
    n = len(groups)
    if n < 2:
        return Estimate(None, None, None, "too few machines with any", n)
    draw = np.random.Generator(np.random.Philox(20090604))
    found = [
        float(np.median(np.concatenate([groups[i] for i in draw.integers(0, n, n)])))
        for _ in range(resamples)
    ]
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(
        float(np.median(np.concatenate(groups))), float(low), float(high), "bootstrap of machines", n
    )


def words(estimate: Estimate, percent: bool = False) -> str:
    """The estimate as prose: ``12 % (10 to 14)``."""
    if percent and estimate.value is not None:
        factor = 100.0
        ends = [None if x is None else x * factor for x in (estimate.low, estimate.high)]
        text = shown(Estimate(estimate.value * factor, ends[0], ends[1], estimate.method, estimate.n))
        return f"{text.number} % ({text.interval})"
    return shown(estimate).text


def lines_figure(
    title: str,
    x: Sequence[float],
    series: dict[str, list[Estimate]],
    xlabel: str,
    ylabel: str,
    *,
    ticks: Sequence[str] | None = None,
    log: bool = False,
    caption: str = "Points with 95 % intervals (jackknife over machines unless the table says otherwise).",
) -> Figure:
    """One line a series with its interval at every point; ``ticks`` name the points instead of numbers."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH_IN, 3.4), layout=style.layout())
        axes = figure.add_subplot()
        for number, (label, estimates) in enumerate(series.items()):
            look = style.series(number)
            places = np.arange(len(x)) if ticks is not None else np.asarray(x, dtype=np.float64)
            shift = (number - (len(series) - 1) / 2) * (0.06 if ticks is not None else 0.0)
            values = np.array([np.nan if e.value is None else e.value for e in estimates])
            low = np.array([v if e.low is None else e.low for e, v in zip(estimates, values, strict=True)])
            high = np.array([v if e.high is None else e.high for e, v in zip(estimates, values, strict=True)])
            axes.errorbar(
                places + shift, values, yerr=[np.maximum(values - low, 0), np.maximum(high - values, 0)],
                color=look.colour, marker=look.marker, markersize=5, capsize=3, linewidth=1.3, label=label,
                markeredgecolor=style.INK, markeredgewidth=0.5,
            )  # fmt: skip
        if ticks is not None:
            axes.set_xticks(np.arange(len(x)), list(ticks))
        elif log:
            axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(style.wrap(title, 90))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(axis="y")
        if len(series) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        style.caption(figure, caption)
    return figure


def bars_figure(
    title: str, groups: Sequence[str], series: dict[str, list[Estimate]], ylabel: str, *, note: str = ""
) -> Figure:
    """Bars beside one another for each group, each with its interval."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH_IN, 3.6), layout=style.layout())
        axes = figure.add_subplot()
        width = 0.8 / len(series)
        for number, (label, estimates) in enumerate(series.items()):
            look = style.series(number)
            places = np.arange(len(groups)) + (number - (len(series) - 1) / 2) * width
            values = np.array([0.0 if e.value is None else e.value for e in estimates])
            low = np.array([v if e.low is None else e.low for e, v in zip(estimates, values, strict=True)])
            high = np.array([v if e.high is None else e.high for e, v in zip(estimates, values, strict=True)])
            axes.bar(
                places, values, width * 0.92, color=look.colour, hatch=look.hatch, edgecolor=style.INK,
                linewidth=0.6, label=label,
            )  # fmt: skip
            axes.errorbar(
                places, values, yerr=[np.maximum(values - low, 0), np.maximum(high - values, 0)],
                fmt="none", ecolor=style.INK, capsize=2, linewidth=0.9,
            )  # fmt: skip
        axes.set_xticks(np.arange(len(groups)), [style.wrap(each, 18) for each in groups])
        axes.set_ylim(bottom=0)
        axes.set_title(style.wrap(title, 90))
        axes.set_ylabel(ylabel)
        axes.grid(axis="y")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        style.caption(
            figure, f"Bars with 95 % intervals (jackknife over machines).{' ' + note if note else ''}"
        )
    return figure


def show(answer: Answer, console: Console) -> None:
    """Print the answer as a person reads it."""
    methods = Methods()
    table = EstimateTable(f"{answer.number}  {answer.question}", answer.head)
    for label, estimates in answer.lines:
        unit = unit_of(answer.unit, estimates)
        name = f"{label} ({unit.name})" if unit.name else label
        table.rows.append((name, [methods.cell(estimate, unit) for estimate in estimates]))
    console.print(table)
    console.print(methods.legend())
    console.print(Padding(Text(answer.text), (1, 0, 0, 0)))
    for note in answer.notes:
        console.print(Text(note))
    console.print(
        Padding(Text("It assumes: " + "; ".join(answer.assumptions) + ".", style="dim"), (1, 0, 1, 0))
    )


Experiment = Callable[[Effort], Answer]
