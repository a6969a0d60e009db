"""How long until an error kills: survival curves from detection to the first death, policy by policy.

Kaplan and Meier's estimate (1958) over errors that were found in a page some task had mapped; an error that
kills nobody is censored when its machine ends.  Errors of one machine are not independent, so the band
is a bootstrap over machines, not Greenwood's formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from hwsim.record import Result
from hwsim.show import reading, style
from hwsim.study import estimate
from hwsim.study.estimate import LEVEL

TITLE = "Time from detection to the first death"
MOST_POLICIES = 5
NAME_WIDTH = 90
RESAMPLES = 400
MOST_STEPS = 500  # of one curve; more deaths than that are drawn in equal parts
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

_MARKER: dict[str, Any] = {"markersize": 5, "markeredgecolor": style.INK, "markeredgewidth": 0.5}

Vector = NDArray[np.float64]


class Times(NamedTuple):
    """One row an error: time at risk in ns, whether it ended in a death, and the place of its machine."""

    time_ns: Vector
    died: NDArray[np.bool_]
    machine: NDArray[np.int64]
    machines: int  # all of the policy, those without an error too


def times_to_kill(results: reading.Results, policy: int) -> Times:
    """Found errors with mappers: until the first death they caused, or until the machine's end."""
    keys = ["replication", "error"]
    errors = reading.of_policy(results.errors, policy)
    errors = errors[errors["found_ns"].notna() & (errors["mappers"] > 0)]
    signals = results.signals
    deaths = signals[(signals["policy"] == policy) & (signals["result"] == Result.KILLED)]
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
    places = np.array([machines[int(x)] for x in table["replication"]], dtype=np.int64)
    return Times(time, died, places, len(machines))


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
        every = reading.policies(results)
        policies = every[:MOST_POLICIES]
        samples = [times_to_kill(results, policy.number) for policy in policies]
        if not any(sample.died.any() for sample in samples):
            return style.message("Nobody was killed in these results.", TITLE)
        count = len(policies)
        labels = [
            style.wrap(policy.label + _remark(sample), NAME_WIDTH)
            for policy, sample in zip(policies, samples, strict=True)
        ]
        lines = sum(text.count("\n") + 1 for text in labels)
        figure = Figure(
            figsize=(style.WIDTH_IN, 3.7 + 0.18 * (count + lines)), layout=style.layout(hspace=0.0)
        )
        axes, table = figure.subplots(2, 1, sharex=True, height_ratios=[2.5, 0.16 * count])
        low, last = _range(samples)
        high = last * 1.15
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        ticks = [at for at in _TICKS if low <= at <= last]
        handles, banded = [], False
        for number, (label, sample) in enumerate(zip(labels, samples, strict=True)):
            banded |= _curve(axes, sample, number, low)
            handles.append(_handle(number, label))
        _at_risk_table(table, samples, [low, *ticks])
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(ticks, [_TICKS[at] for at in ticks])
        axes.tick_params(axis="x", labelbottom=True)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axes.set_ylabel("errors that killed nobody yet")
        axes.grid(axis="both")
        axes.set_title(TITLE)
        figure.legend(handles=handles, loc="outside upper left", ncols=1)
        style.caption(figure, _caption(results, policies, len(every), banded))
    return figure


def _caption(
    results: reading.Results, policies: Sequence[reading.Policy], of_policies: int, banded: bool
) -> str:
    sizes = sorted({len(reading.column(results, p.number, "replication")) for p in policies})
    bands = (
        "Bands: 95 %, bootstrap over machines, as the errors of one machine are not independent; they have "
        "no width where all resamples agree."
        if banded
        else "No bands: the machine is the unit, and no policy has errors on two of them."
    )
    if reading.exact(results):
        bands = f"The curves are {reading.ALL_ALIKE}."
    more = (
        f" The first {len(policies)} of {of_policies} policies are shown."
        if of_policies > len(policies)
        else ""
    )
    return (
        f"{reading.name(results)}Errors found in mapped pages over {reading.span(results)} "
        f"({reading.replications(sizes)}). Kaplan-Meier; an error that kills nobody is censored at the "
        f"end of its machine, and a curve ends with the last error at risk. {bands}{more}"
    )


def _range(samples: Sequence[Times]) -> tuple[float, float]:
    every = np.concatenate([sample.time_ns for sample in samples])
    deaths = np.concatenate([sample.time_ns[sample.died] for sample in samples])
    return float(10 ** (np.ceil(np.log10(deaths.min())) - 1)), float(every.max())


def _handle(number: int, label: str) -> Line2D:
    look = style.series(number)
    return Line2D([], [], color=look.colour, marker=look.marker, linewidth=1.6, label=label, **_MARKER)


def _remark(sample: Times) -> str:
    """What a curve cannot show: nothing to draw, or how sure it is that nobody dies."""
    if not sample.time_ns.size:
        return " (no error in a mapped page)"
    if sample.died.any():
        return ""
    bottoms = np.bincount(sample.machine, minlength=sample.machines)
    none = estimate.ratio([0.0] * sample.machines, [float(x) for x in bottoms])
    return f" (no death; at most {min(none.high or 1.0, 1.0):.2g} an error, {none.method})"


def _curve(axes: Axes, sample: Times, number: int, low: float) -> bool:
    """One policy's curve; whether it has a band."""
    if not sample.time_ns.size:
        return False
    look = style.series(number)
    at, alive = survival(sample)
    grid = _grid(at, low, float(sample.time_ns.max()))
    axes.plot(grid, _on(grid, at, alive), drawstyle="steps-post", color=look.colour, linewidth=1.6)
    marks = np.geomspace(*axes.get_xlim(), 26)[2 + 2 * number :: 2 * MOST_POLICIES]
    marks = marks[marks <= grid[-1]]
    axes.plot(marks, _on(marks, at, alive), look.marker, color=look.colour, **_MARKER)
    band = _band(sample, grid)
    if band is None:
        return False
    axes.fill_between(grid, *band, step="post", color=look.colour, alpha=0.22, linewidth=0)
    return True


def _grid(at: Vector, low: float, last: float) -> Vector:
    """Where the curve steps, from the left edge to the last error at risk."""
    steps = at[:: -(-at.size // MOST_STEPS)] if at.size else at
    return np.unique(np.concatenate([[min(low, last)], steps, at[-1:], [last]]))


def _on(grid: Vector, at: Vector, alive: Vector) -> Vector:
    """The step function on a grid."""
    place = np.searchsorted(at, grid, side="right")
    return np.concatenate([[1.0], alive])[place]


def _band(sample: Times, grid: Vector) -> tuple[Vector, Vector] | None:
    machines = sample.machines
    if np.unique(sample.machine).size < 2:
        return None
    draw = np.random.Generator(np.random.Philox(_SEED))
    curves = np.empty((RESAMPLES, grid.size))
    for number in range(RESAMPLES):
        times = np.bincount(draw.integers(0, machines, machines), minlength=machines).astype(np.float64)
        curves[number] = _on(grid, *survival(sample, times[sample.machine]))
    low, high = np.quantile(curves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def _at_risk_table(table: Axes, samples: Sequence[Times], columns: Sequence[float]) -> None:
    """A line a policy under the curves, each number under its time, each line behind its policy's mark."""
    for number, sample in enumerate(samples):
        look = style.series(number)
        table.plot(
            [-0.05], [number], look.marker, color=look.colour, clip_on=False,
            transform=table.get_yaxis_transform(), **_MARKER,
        )  # fmt: skip
        for after_ns in columns:
            text = f"{at_risk(sample, after_ns):,}"
            table.text(after_ns, number, text, ha="center", va="center", fontsize=7.5)
    table.set_ylim(len(samples) - 0.4, -0.6)
    table.set_yticks([])
    table.tick_params(axis="x", which="both", length=0, labelbottom=False)
    table.spines[["left", "bottom"]].set_visible(False)
    table.set_title("errors at risk", fontsize=7.5, fontweight="normal")
