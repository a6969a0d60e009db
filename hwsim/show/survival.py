"""How long until an error kills: survival curves from detection to the first death, policy by policy.

Kaplan and Meier's estimate (1958) over errors that were found in a page some task had mapped; an error that
kills nobody is censored when its machine ends.  Errors of one machine are not independent, so the band
is a bootstrap over machines, not Greenwood's formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from hwsim.show import reading, style
from hwsim.study.estimate import LEVEL

TITLE = "Time from detection to the first death"
MOST_POLICIES = 5
RESAMPLES = 400
_SEED = 20090605
_TICKS = {
    1e3: "1 µs",
    1e6: "1 ms",
    1e9: "1 s",
    6e10: "1 min",
    3.6e12: "1 h",
    8.64e13: "1 d",
    8.64e14: "10 d",
    8.64e15: "100 d",
}

Vector = NDArray[np.float64]


class Times(NamedTuple):
    """One row an error: time at risk in ns, whether it ended in a death, and the place of its machine."""

    time_ns: Vector
    died: NDArray[np.bool_]
    machine: NDArray[np.int64]


def times_to_kill(results: reading.Results, policy: int) -> Times:
    """Found errors with mappers: until the first death they caused, or until the machine's end."""
    keys = ["replication", "error"]
    errors = reading.of_policy(results.errors, policy)
    errors = errors[errors["found_ns"].notna() & (errors["mappers"] > 0)]
    signals = results.signals
    deaths = signals[(signals["policy"] == policy) & (signals["result"] == "killed")]
    first = deaths.groupby(keys)["done_ns"].min().rename("death_ns").reset_index()
    ends = reading.of_policy(results.replications, policy)[["replication", "end_ns"]]
    table = (
        errors[[*keys, "found_ns"]]
        .merge(first, on=keys, how="left")
        .merge(ends.rename(columns={"end_ns": "last_ns"}), on="replication")
    )
    died = table["death_ns"].notna().to_numpy(dtype=bool)
    until = table["death_ns"].fillna(table["last_ns"]).to_numpy(dtype=np.float64)
    time = np.maximum(until - table["found_ns"].to_numpy(dtype=np.float64), 1.0)
    machines = {int(number): place for place, number in enumerate(ends["replication"])}
    return Times(time, died, np.array([machines[int(x)] for x in table["replication"]], dtype=np.int64))


def survival(times: Times, weights: Vector | None = None) -> tuple[Vector, Vector]:
    """Kaplan-Meier: the times of deaths, and the share alive after each; ``weights`` one an error."""
    order = np.argsort(times.time_ns, kind="stable")
    time, died = times.time_ns[order], times.died[order]
    weight = np.ones(time.size) if weights is None else weights[order]
    start = np.unique(time, return_index=True)[1]
    at: Vector = np.asarray(time[start], dtype=np.float64)
    risk = np.cumsum(weight[::-1])[::-1][start]
    deaths = np.add.reduceat(weight * died, start) if time.size else np.zeros(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(risk > 0, 1.0 - deaths / risk, 1.0)
    keep = np.add.reduceat(died.astype(np.float64), start) > 0 if time.size else np.zeros(0, dtype=bool)
    alive: Vector = np.asarray(np.cumprod(factor), dtype=np.float64)
    return at[keep], alive[keep]


def at_risk(times: Times, after_ns: float) -> int:
    """Errors that have neither killed nor been censored before this time."""
    return int((times.time_ns >= after_ns).sum())


def time_to_kill(results: reading.Results) -> Figure:
    """Survival curves with 95 % bands and the number at risk, one a policy (the first five)."""
    with style.context():
        policies = reading.policies(results)[:MOST_POLICIES]
        samples = [times_to_kill(results, policy.number) for policy in policies]
        if not any(sample.died.any() for sample in samples):
            return style.message("Nobody was killed in these results.", TITLE)
        figure = Figure(figsize=(style.WIDTH_IN, 3.3 + 0.2 * len(policies)), layout=style.layout())
        axes = figure.add_subplot()
        low, high = _range(samples)
        for number, (policy, sample) in enumerate(zip(policies, samples, strict=True)):
            _curve(axes, sample, number, style.shorten(policy.label, 60), low, high)
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.set_ylim(0, 1.02)
        ticks = [at for at in _TICKS if low <= at <= high]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        _at_risk_table(axes, samples, ticks)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axes.set_ylabel("errors that have killed nobody yet")
        axes.grid(axis="both")
        axes.set_title(TITLE)
        figure.legend(loc="outside upper left", ncols=1)
        sizes = sorted({len(reading.column(results, p.number, "replication")) for p in policies})
        style.caption(
            figure,
            f"{reading.name(results)}Errors found in mapped pages over {reading.span(results)} "
            f"({reading.replications(sizes)}). Kaplan-Meier; an error that kills nobody is censored at the "
            "end of its machine. Bands: 95 %, bootstrap over machines, as the errors of one machine are not "
            "independent. Under the axis: errors at risk.",
        )
    return figure


def _range(samples: Sequence[Times]) -> tuple[float, float]:
    every = np.concatenate([sample.time_ns for sample in samples])
    deaths = np.concatenate([sample.time_ns[sample.died] for sample in samples])
    return float(10 ** np.floor(np.log10(deaths.min()))), float(every.max() * 1.3)


def _curve(axes: Axes, sample: Times, number: int, label: str, low: float, high: float) -> None:
    look = style.series(number)
    if not sample.time_ns.size:
        axes.plot([], [], color=look.colour, label=f"{label} (no error in a mapped page)")
        return
    grid = np.geomspace(low, high, 240)
    axes.plot(
        grid,
        _on(grid, *survival(sample)),
        drawstyle="steps-post",
        color=look.colour,
        linewidth=1.6,
        label=label,
        marker=look.marker,
        markevery=(10 + 12 * number, 60),
        markersize=5,
        markeredgecolor=style.INK,
        markeredgewidth=0.5,
    )
    band = _band(sample, grid)
    if band is not None:
        axes.fill_between(grid, *band, step="post", color=look.colour, alpha=0.22, linewidth=0)


def _on(grid: Vector, at: Vector, alive: Vector) -> Vector:
    """The step function on a grid."""
    place = np.searchsorted(at, grid, side="right")
    return np.concatenate([[1.0], alive])[place]


def _band(sample: Times, grid: Vector) -> tuple[Vector, Vector] | None:
    machines = int(sample.machine.max()) + 1
    if np.unique(sample.machine).size < 2:
        return None
    draw = np.random.Generator(np.random.Philox(_SEED))
    curves = np.empty((RESAMPLES, grid.size))
    for number in range(RESAMPLES):
        times = np.bincount(draw.integers(0, machines, machines), minlength=machines).astype(np.float64)
        curves[number] = _on(grid, *survival(sample, times[sample.machine]))
    low, high = np.quantile(curves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def _at_risk_table(axes: Axes, samples: Sequence[Times], ticks: Sequence[float]) -> None:
    """The ticks' own labels carry the table, so that numbers stand under their times."""
    labels = []
    for at in ticks:
        counts = [f"{at_risk(sample, at):,}" for sample in samples]
        labels.append("\n".join([_TICKS[at], *counts]))
    axes.set_xticks(list(ticks), labels)
    axes.tick_params(axis="x", labelsize=7.5)
