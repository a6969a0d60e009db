"""Shares with their intervals, policy beside policy: how errors were found, who was told of a lost write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hwsim.record import End, Found, Told, Words
from hwsim.show import reading, rounding, style
from hwsim.study import estimate
from hwsim.study.estimate import Estimate

MOST_POLICIES = 7
NAME_WIDTH = 90


def detection_paths(results: reading.Results) -> Figure:
    """How errors were found: the share of each way, with intervals over machines.

    Further errors on a page that already had one are left out: they are found with it, or not at all.
    """
    errors = results.errors[results.errors["end"] != End.DUPLICATE]
    axis = "share of errors (the first of each page)"
    return _figure(results, errors, "found", Found, "How errors were found", "errors", axis)


def who_was_told(results: reading.Results) -> Figure:
    """Who learned of lost writes: the writer at least, only others, nobody; with intervals over machines."""
    title = "Who was told of a lost write"
    return _figure(results, results.lost_writes, "told", Told, title, "lost writes", "share of lost writes")


def _figure(
    results: reading.Results,
    rows: pd.DataFrame,
    column: str,
    words: type[Words],
    title: str,
    what: str,
    xlabel: str,
) -> Figure:
    with style.context():
        every = reading.policies(results)
        chosen = every[:MOST_POLICIES]
        rows = rows[rows["policy"].isin([p.number for p in chosen])]
        if rows.empty:
            return style.message(f"There are no {what} in these results.", title)
        names = words.meanings()
        seen = [name for name in names if (rows[column] == name).any()]
        mine = {p.number: rows[rows["policy"] == p.number] for p in chosen}
        labels = [style.wrap(f"{p.label} ({_counted(mine[p.number], what)})", NAME_WIDTH) for p in chosen]
        lines = sum(text.count("\n") + 1 for text in labels)
        bar_in = min(0.22, max(0.13, 1.1 / len(chosen)))
        height = len(seen) * (bar_in * len(chosen) + 0.22) + 1.5 + 0.16 * lines
        figure = Figure(figsize=(style.WIDTH_IN, height), layout=style.layout())
        axes = figure.add_subplot()
        methods, sizes = set(), set()
        for place, policy in enumerate(chosen):
            machines = [int(x) for x in reading.column(results, policy.number, "replication")]
            shares = [_share(mine[policy.number], column, name, machines) for name in seen]
            if reading.exact(results):
                shares = [reading.without_interval(each) for each in shares]
            methods |= {each.method for each in shares}
            sizes.add(len(machines))
            _bars(figure, shares, place, len(chosen), labels[place])
        axes.set_yticks(range(len(seen)), [names[name] for name in seen])
        axes.set_ylim(len(seen) - 0.45, -0.55)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axes.set_xlabel(xlabel)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper left", ncols=1)
        axes.set_title(title)
        how = f"95 % intervals over {what if sizes == {1} else 'machines'}: {'; '.join(sorted(methods))}"
        if reading.exact(results):
            how = reading.ALL_ALIKE
        more = (
            f" The first {len(chosen)} of {len(every)} policies are shown."
            if len(every) > len(chosen)
            else ""
        )
        style.caption(
            figure,
            f"{reading.name(results)}{what.capitalize()} over {reading.span(results)} "
            f"({reading.replications(sorted(sizes))}); {how}.{more}",
        )
    return figure


def _counted(rows: pd.DataFrame, what: str) -> str:
    """How many: "1 error", "12 errors"."""
    return f"{len(rows):,} {what if len(rows) != 1 else what[:-1]}"


def _share(rows: pd.DataFrame, column: str, name: str, machines: Sequence[int]) -> Estimate:
    """The share with the machine as the unit; one machine alone has only its rows."""
    hit = (rows[column] == name).to_numpy(dtype=bool)
    if len(machines) < 2:
        return estimate.proportion(int(hit.sum()), len(hit))
    place = np.searchsorted(np.asarray(machines), rows["replication"].to_numpy(dtype=np.int64))
    bottoms = np.bincount(place, minlength=len(machines))
    tops = np.bincount(place[hit], minlength=len(machines))
    if hit.size and hit.all():  # as far from certainty as a share that was never seen
        never = estimate.ratio([0.0] * len(machines), [float(x) for x in bottoms])
        low = 1.0 - min(never.high or 0.0, 1.0)
        return Estimate(1.0, low, 1.0, never.method, never.n, never.note)
    return estimate.ratio([float(x) for x in tops], [float(x) for x in bottoms])


def _bars(figure: Figure, shares: Sequence[Estimate], place: int, count: int, label: str) -> None:
    axes, look = figure.axes[0], style.series(place)
    width = 0.8 / count
    where = np.arange(len(shares)) - 0.4 + width * (place + 0.5)
    values = np.array([share.value or 0.0 for share in shares])
    axes.barh(
        where,
        values,
        width * 0.9,
        color=look.colour,
        hatch=look.hatch,
        edgecolor=style.INK,
        linewidth=0.5,
        label=label,
    )
    for at, share in zip(where, shares, strict=True):
        if rounding.known(share.low) and rounding.known(share.high) and share.high > share.low:
            low, high = share.low, min(share.high, 1.0)
            axes.plot([low, high], [at, at], color=style.INK, linewidth=1.0)
            for end in (low, high):
                axes.plot([end, end], [at - width / 4, at + width / 4], color=style.INK, linewidth=1.0)
