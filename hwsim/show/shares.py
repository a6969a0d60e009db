"""What became of found errors, by kind of page: stacked shares with their counts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from hwsim.record import End, Found, Outcome
from hwsim.show import reading, rounding, style
from hwsim.study import estimate
from hwsim.study.estimate import Estimate

TITLE = "Outcome of found errors by kind of page"
MOST_POLICIES = 6
_NAME_WIDTH = 26
_CHAR_IN = 0.064  # width of a digit of the small labels
_UNITS = {"Wilson": "errors"}  # what was resampled or counted


def outcome_by_page_type(results: reading.Results, policies: Sequence[int] | None = None) -> Figure:
    """Shares of Recovered, Delayed, Failed, Ignored, panic and not handled for each kind of page.

    Errors that nothing found have no outcome and are left out.  ``policies``: the numbers of those
    to show (at most six fit a page; default: the first six).
    """
    with style.context():
        every = reading.policies(results)
        chosen = [p for p in every if policies is None or p.number in policies]
        found = sort_out(results.errors)
        found = found[found["policy"].isin([p.number for p in chosen])]
        if found.empty:
            return style.message("No error was found by anything in these results.", TITLE)
        return _draw(results, found, chosen[:MOST_POLICIES], len(chosen))


def sort_out(errors: pd.DataFrame) -> pd.DataFrame:
    """The found errors with a column ``fate``: the outcome of memory_failure(), or what came instead."""
    found = errors[errors["found"] != Found.NONE]
    fate = (
        found["outcome"].astype(object).where(found["outcome"].isin(list(style.OUTCOMES)), style.NOT_HANDLED)
    )
    panicked = (found["panic_boot"] == found["boot"]).fillna(False).astype(bool)  # as this kind of page
    fate = fate.mask((fate == style.NOT_HANDLED) & panicked, End.PANIC)
    return found.assign(fate=fate, kind=found["kind"].astype(object).where(found["kind"] != "", "unknown"))


def _draw(
    results: reading.Results, found: pd.DataFrame, policies: Sequence[reading.Policy], of_policies: int
) -> Figure:
    columns = 1 if len(policies) == 1 else 2
    lines = -(-len(policies) // columns)
    most = {1: 20, 2: 12}.get(lines, 8)
    kinds, found = _merge(found, most)
    labels = [style.wrap(p.label, 84 if columns == 1 else 38) for p in policies]
    title_lines = max(text.count("\n") + 1 for text in labels)
    height = lines * (len(kinds) * 0.3 + 0.35 + 0.17 * title_lines) + 1.7
    figure = Figure(figsize=(style.WIDTH_IN, height), layout=style.layout())
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    room = {1: 5.0, 2: 2.3}[columns]
    intervals: list[Estimate] = []
    exact = reading.exact(results)
    for i, axes in enumerate(grid.flat):
        if i >= len(policies):
            axes.set_visible(False)
            continue
        mine = found[found["policy"] == policies[i].number]
        numbers = reading.column(results, policies[i].number, "replication")
        intervals += _panel(axes, mine, kinds, numbers, room, exact)
        axes.set_title(labels[i], fontsize=8.5)
        if i + columns >= len(policies):
            axes.set_xlabel("share of found errors")
            axes.tick_params(labelbottom=True)
    present = set(found["fate"])
    figure.legend(
        handles=[_patch(name) for name in style.OUTCOMES if name in present],
        loc="outside upper left",
        ncols=6,
        handlelength=1.9,
        handleheight=1.1,
        columnspacing=1.3,
    )
    sizes = sorted({len(reading.column(results, p.number, "replication")) for p in policies})
    methods = ", ".join(sorted({f"{m.method} over {_UNITS.get(m.method, 'machines')}" for m in intervals}))
    unhandled = "not handled" in present
    how = f"Bracket under a bar: 95 % interval of the share Recovered ({methods})"
    if exact:
        how = f"The numbers are {reading.ALL_ALIKE}"
    left_out = " Not handled: only logged, or lost before memory_failure()." if unhandled else ""
    if of_policies > len(policies):
        left_out += f" The first {len(policies)} of {of_policies} policies are shown."
    style.caption(
        figure,
        f"{reading.name(results)}Errors found over {reading.span(results)} on all machines "
        f"({reading.replications(sizes)}); numbers in the bars are errors, n their sum. "
        f"{how}.{left_out}",
    )
    return figure


def _merge(found: pd.DataFrame, most: int) -> tuple[list[str], pd.DataFrame]:
    """Kinds by number of errors; those that do not fit the page become one row that says how many."""
    counts = found["kind"].value_counts()
    kinds = sorted(counts.index, key=lambda kind: (-int(counts[kind]), str(kind)))
    if len(kinds) <= most:
        return [str(k) for k in kinds], found
    rest = kinds[most - 1 :]
    name = f"{len(rest)} other kinds"
    kept = found["kind"].where(~found["kind"].isin(rest), name)
    return [*(str(k) for k in kinds[: most - 1]), name], found.assign(kind=kept)


def _panel(
    axes: Axes,
    mine: pd.DataFrame,
    kinds: Sequence[str],
    replications: Sequence[float],
    room_in: float,
    exact: bool,
) -> list[Estimate]:
    intervals = []
    table = mine.groupby(["kind", "fate"]).size().to_dict()
    for y, kind in enumerate(kinds):
        counts = {name: int(table.get((kind, name), 0)) for name in style.OUTCOMES}
        total = sum(counts.values())
        if total == 0:
            axes.text(0.01, y, "none found", va="center", fontsize=7, color=style.SOFT)
            continue
        left = 0.0
        for name, look in style.OUTCOMES.items():
            if counts[name]:
                _segment(axes, y, left, counts[name] / total, counts[name], look, room_in)
                left += counts[name] / total
        if not exact:
            share = _share_recovered(mine[mine["kind"] == kind], replications)
            _bracket(axes, y, share)
            intervals.append(share)
        axes.text(1.015, y, f"n = {total:,}", va="center", fontsize=7, color=style.INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(kinds) - 0.4, -0.6)
    axes.set_yticks(range(len(kinds)), [style.shorten(kind, _NAME_WIDTH) for kind in kinds])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.spines["left"].set_visible(False)
    return intervals


def _segment(
    axes: Axes, y: float, left: float, share: float, count: int, look: style.Look, room_in: float
) -> None:
    axes.barh(
        y, share, 0.62, left=left, color=look.colour, hatch=look.hatch, edgecolor=style.INK, linewidth=0.5
    )
    text = f"{count:,}"
    if share * room_in < (len(text) + 0.9) * _CHAR_IN:
        return
    dark = sum(to_rgb(look.colour)) < 0.9 and not look.hatch
    box = None if dark else {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none"}
    axes.text(
        left + share / 2,
        y,
        text,
        ha="center",
        va="center_baseline",
        fontsize=7,
        color="white" if dark else style.INK,
        bbox=box,
    )


def _share_recovered(mine: pd.DataFrame, replications: Sequence[float]) -> Estimate:
    """Share Recovered with the machine as the unit: errors of one machine are not independent."""
    recovered = mine["fate"] == Outcome.RECOVERED
    if len(replications) < 2 or recovered.all() or not recovered.any():
        return estimate.proportion(int(recovered.sum()), len(mine))
    index = pd.Index([int(r) for r in replications])
    of_machine = mine.assign(hit=recovered).groupby("replication")["hit"].agg(["sum", "count"])
    of_machine = of_machine.reindex(index, fill_value=0)
    return estimate.ratio([float(x) for x in of_machine["sum"]], [float(x) for x in of_machine["count"]])


def _bracket(axes: Axes, y: float, share: Estimate) -> None:
    if not (rounding.known(share.low) and rounding.known(share.high)):
        return
    low, high = max(0.0, share.low or 0.0), min(1.0, share.high or 0.0)
    line = y + 0.4
    axes.plot([low, high], [line, line], color=style.INK, linewidth=1.0, clip_on=False, solid_capstyle="butt")
    for end in (low, high):
        axes.plot([end, end], [line - 0.07, line + 0.07], color=style.INK, linewidth=1.0, clip_on=False)


def _patch(name: str) -> Patch:
    look = style.OUTCOMES[name]
    return Patch(facecolor=look.colour, hatch=look.hatch, edgecolor=style.INK, linewidth=0.5, label=name)
