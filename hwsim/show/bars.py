"""Kills and recoveries by policy, beside what they cost: panics and downtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hwsim.record import Outcome
from hwsim.show import reading, rounding, style
from hwsim.show.rounding import Unit
from hwsim.study.estimate import Estimate

TITLE = "Kills and recoveries by policy"
NAME_WIDTH = 44
MANY_POLICIES = 4  # above this, causes that nobody died of leave the picture
_KILLS = (
    ("kills", "all kills"),
    ("kills_early", "early, AO not caught"),
    ("kills_late", "late, AR not survived"),
    ("kills_forced", "forced SIGKILL"),
    ("kills_group", "group death"),
    ("needless_kills", "early and needless"),
)
_OUTCOMES = (
    ("detected", "errors found"),
    ("recovered", Outcome.RECOVERED),
    ("delayed", Outcome.DELAYED),
    ("failed", Outcome.FAILED),
    ("ignored", Outcome.IGNORED),
)


@dataclass(frozen=True)
class _Panel:
    """One set of axes: its rows, and an estimate for each row and policy."""

    title: str
    unit: Unit
    rows: tuple[str, ...]
    estimates: tuple[tuple[Estimate, ...], ...]  # [row][policy]


def kills_and_recoveries(results: reading.Results) -> Figure:
    """Kills by cause, outcomes of memory_failure(), panics and downtime: means per machine with intervals."""
    with style.context():
        policies = reading.policies(results)
        if results.replications.empty or not policies:
            return style.message("There is no finished replication in these results.", TITLE)
        return _draw(results, policies)


def _draw(results: reading.Results, policies: Sequence[reading.Policy]) -> Figure:
    kills = _panel(results, policies, "Tasks killed", Unit("tasks"), _KILLS)
    outcomes = _panel(results, policies, "Errors and their outcome", Unit("errors"), _OUTCOMES)
    panics = _panel(results, policies, "Panics", Unit("panics"), (("panics", ""),))
    downtime = _panel(results, policies, "Downtime", None, (("downtime_ns", ""),))
    silent: list[str] = []
    if len(policies) > MANY_POLICIES:
        kills, silent = _seen(kills)
    bar_in = min(0.19, max(0.125, 1.1 / len(policies)))
    tall = max(len(kills.rows), len(outcomes.rows)) * (len(policies) * bar_in + 0.14)
    low = len(policies) * bar_in + 0.14
    labels = [style.wrap(p.label, NAME_WIDTH) for p in policies]
    columns = 2 if len(policies) > 1 and max(len(p.label) for p in policies) <= 50 else 1
    if len(policies) > 3 and max(len(p.label) for p in policies) <= 22:
        columns = 4
    legend_lines = sum(text.count("\n") + 1 for text in labels) / columns
    height = tall + low + 1.9 + 0.19 * legend_lines
    figure = Figure(figsize=(style.WIDTH_IN, height), layout=style.layout(hspace=0.02, wspace=0.04))
    grid = figure.subplots(2, 2, height_ratios=[tall, low + 0.02], squeeze=False)
    for axes, panel in zip(grid.flat, (kills, outcomes, panics, downtime), strict=True):
        _bars(axes, panel, len(policies), rim=1.9 if bar_in > 0.15 else 1.3)
    figure.legend(
        handles=[_patch(i, text) for i, text in enumerate(labels)],
        loc="outside upper left",
        ncols=columns,
        handlelength=2.2,
        handleheight=1.1,
    )
    style.caption(figure, _caption(results, (kills, outcomes, panics, downtime), silent))
    return figure


def _seen(panel: _Panel) -> tuple[_Panel, list[str]]:
    """The panel without rows that are zero under every policy, and the names of those with their bound."""
    rows = list(zip(panel.rows, panel.estimates, strict=True))
    kept = [(name, row) for i, (name, row) in enumerate(rows) if i == 0 or any(m.value for m in row)]
    silent = [
        f"{name} ({rounding.shown(max(row, key=lambda m: m.high or 0.0)).interval})"
        for name, row in rows
        if (name, row) not in kept
    ]
    return _Panel(panel.title, panel.unit, tuple(n for n, _ in kept), tuple(r for _, r in kept)), silent


def _panel(
    results: reading.Results,
    policies: Sequence[reading.Policy],
    title: str,
    unit: Unit | None,
    rows: Sequence[tuple[str, str]],
) -> _Panel:
    estimates = tuple(
        tuple(reading.mean(results, policy.number, column) for policy in policies) for column, _ in rows
    )
    if unit is None:
        unit = rounding.time_unit(e for row in estimates for e in (x for m in row for x in (m.value, m.high)))
    return _Panel(title, unit, tuple(name for _, name in rows), estimates)


def _bars(axes: Axes, panel: _Panel, policies: int, rim: float) -> None:
    """Horizontal bars, so that long names stay level; each with its interval and its number."""
    step = 0.86 / policies
    reach = max(
        (x / panel.unit.size for row in panel.estimates for m in row for x in (m.value, m.high)
         if rounding.known(x)),
        default=0.0,
    )  # fmt: skip
    reach = reach or 1.0
    for r, row in enumerate(panel.estimates):
        for p, estimate in enumerate(row):
            y = r + (p - (policies - 1) / 2) * step
            _bar(axes, y, step * 0.86, style.series(p), (estimate, panel.unit), rim)
            _number(axes, y, estimate, panel.unit, reach)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.set_yticks(range(len(panel.rows)), panel.rows)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, reach * 1.42)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.grid(axis="x")
    axes.set_title(panel.title)
    axes.set_xlabel(f"{panel.unit.name} per machine")


def _bar(
    axes: Axes, y: float, thick: float, look: style.Look, shown: tuple[Estimate, Unit], rim: float
) -> None:
    """The bar and, over it, its interval."""
    estimate, unit = shown
    if not rounding.known(estimate.value):
        return
    value = estimate.value / unit.size
    axes.barh(y, value, thick, color=look.colour, hatch=look.hatch, edgecolor=style.INK, linewidth=0.5)
    if not (rounding.known(estimate.low) and rounding.known(estimate.high)):
        return
    low, high = estimate.low / unit.size, estimate.high / unit.size
    axes.errorbar(
        (low + high) / 2,
        y,
        xerr=(high - low) / 2,
        fmt="none",
        ecolor=style.INK,
        elinewidth=1.1,
        capsize=2.2,
        capthick=1.1,
        path_effects=style.halo(rim),
        clip_on=False,
        zorder=5,
    )


def _number(axes: Axes, y: float, estimate: Estimate, unit: Unit, reach: float) -> None:
    """The value beside its bar; where there is no interval to draw, what can be said instead."""
    shown = rounding.shown(estimate, unit)
    ends = [x / unit.size for x in (estimate.value, estimate.high) if rounding.known(x)]
    no_interval = not rounding.known(estimate.high)
    text = f"{shown.number}, {shown.interval}" if estimate.value == 0 or no_interval else shown.number
    if (estimate.n == 1 or estimate.method == reading.EXACT) and rounding.known(estimate.value):
        text = shown.number  # the caption says why it has no interval
    axes.text(max(ends, default=0.0) + reach * 0.025, y, text, va="center", fontsize=7, color=style.INK)


def _patch(index: int, label: str) -> Patch:
    look = style.series(index)
    return Patch(facecolor=look.colour, hatch=look.hatch, edgecolor=style.INK, linewidth=0.5, label=label)


def _caption(results: reading.Results, panels: Sequence[_Panel], silent: Sequence[str]) -> str:
    every = [m for panel in panels for row in panel.estimates for m in row]
    zero = (
        "Where nothing was seen the whisker ends at the exact bound. "
        if any(m.value == 0 for m in every)
        else ""
    )
    if silent:
        zero += f"Seen under no policy and not drawn: {', '.join(silent)}. "
    mean = reading.per_machine(results, range(len(results.policies)))
    how = f"whiskers are 95 % intervals: {reading.methods(every)}"
    if reading.exact(results):
        how, zero = reading.ALL_ALIKE, ""
    return (
        f"{reading.name(results)}{mean}; {how}. {zero}Early and needless: the page would not have been "
        "touched again before the end; part of the early kills."
    )
