"""The time line of one replication: days of latency on the left, microseconds of handling on the right.

One lane an error.  The left half is the calendar of the machine (onset, detection, end); the right half
starts every lane again at its detection, on an axis that is linear up to a microsecond and logarithmic
after it, so that a handler of 50 microseconds and a late kill after two days fit one picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from hwsim.record import Cause, End, Found, Result, Sent
from hwsim.show import reading, rounding, style

TITLE = "Time line of one replication"
MOST_LANES = 24
_MOST_TICKS = 6  # more of the fine ones run into one another
_FINE = (
    (0, "0"), (1e3, "1 \u00b5s"), (1e4, "10 \u00b5s"), (1e5, "100 \u00b5s"), (1e6, "1 ms"), (1e7, "10 ms"),
    (1e8, "100 ms"), (1e9, "1 s"), (1e10, "10 s"), (6e10, "1 min"), (6e11, "10 min"), (3.6e12, "1 h"),
    (8.64e13, "1 d"), (8.64e14, "10 d"), (8.64e15, "100 d"),
)  # fmt: skip
_COARSE = ("0", "1 \u00b5s", "1 ms", "1 s", "1 min", "1 h", "1 d", "100 d")


@dataclass(frozen=True)
class _Mark:
    marker: str
    colour: str
    size: float = 6.0
    hollow: bool = False


_MARKS: dict[str, _Mark] = {
    "onset": _Mark("o", style.INK, 4.5, hollow=True),
    "detected": _Mark("D", "#0072B2", 4.8),
    "poisoned (PG_hwpoison set)": _Mark("|", "#0072B2", 9.0),
    "contained": _Mark("s", "#009E73", 5.5),
    "early SIGBUS (AO)": _Mark("^", "#E69F00", 6.8),
    "late SIGBUS": _Mark("v", "#D55E00", 6.8),
    Sent.SIGKILL: _Mark("X", "#000000", 6.8),
    "group death": _Mark("x", "#000000", 5.8),
    "healed": _Mark("*", "#009E73", 7.5),
    "panic": _Mark("P", "#D55E00", 7.5),
    "still latent at the end": _Mark(">", style.SOFT, 5.0),
}


def most_instructive(results: reading.Results) -> tuple[int, int] | None:
    """(policy, replication) with the most signals; without any, the one with most found errors."""
    frame = results.replications
    if frame.empty:
        return None
    signals = results.signals.groupby(["policy", "replication"]).size()
    found = frame.set_index(["policy", "replication"])["detected"]
    keys = [(int(p), int(r)) for p, r in zip(frame["policy"], frame["replication"], strict=True)]
    return max(keys, key=lambda key: (int(signals.get(key, 0)), int(found[key]), -key[0], -key[1]))


def time_line(results: reading.Results, policy: int | None = None, replication: int | None = None) -> Figure:
    """Onset, detection, memory_failure(), signals and deaths of one replication, one lane an error.

    Without numbers: the replication with the most signals.  At most 24 errors fit; those with
    signals under any policy come first, then found ones, then the latent.
    """
    with style.context():
        chosen = _choose(results, policy, replication)
        if chosen is None:
            return style.message("There is no finished replication in these results.", TITLE)
        mine = _rows(results.errors, *chosen)
        if mine.empty:
            return style.message(f"No error fell on replication {chosen[1]}.", TITLE)
        return _draw(results, chosen, mine)


def _choose(results: reading.Results, policy: int | None, replication: int | None) -> tuple[int, int] | None:
    """Fill in what was not asked for; refuse what is not there, saying what is."""
    frame = results.replications
    if frame.empty:
        return None
    for name, value in (("policy", policy), ("replication", replication)):
        if value is not None and not (frame[name] == value).any():
            numbers = sorted(int(x) for x in frame[name].unique())
            raise ValueError(
                f"{name} {value} is not in these results (from {numbers[0]} to {numbers[-1]} are)"
            )
        if value is not None:
            frame = frame[frame[name] == value]
    if frame.empty:
        raise ValueError(f"replication {replication} of policy {policy} is not in these results")
    narrowed = _Narrow(frame, results.signals)
    return most_instructive(narrowed)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Narrow:
    replications: pd.DataFrame
    signals: pd.DataFrame


def _rows(frame: pd.DataFrame, policy: int, replication: int) -> pd.DataFrame:
    return frame[(frame["policy"] == policy) & (frame["replication"] == replication)]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _lanes(results: reading.Results, replication: int, errors: pd.DataFrame) -> pd.DataFrame:
    """The errors to draw, in order of onset; the choice is the same under every policy."""
    signals = results.signals
    known = set(signals[signals["replication"] == replication]["error"])
    everyone = results.errors[results.errors["replication"] == replication]
    found = set(everyone[everyone["found"] != Found.NONE]["error"])
    rank = [0 if e in known else 1 if e in found else 2 for e in errors["error"]]
    kept = errors.assign(rank=rank).sort_values(["rank", "onset_ns", "error"]).head(MOST_LANES)
    return kept.sort_values(["onset_ns", "error"])


def _draw(results: reading.Results, chosen: tuple[int, int], errors: pd.DataFrame) -> Figure:
    policy, replication = chosen
    lanes = _lanes(results, replication, errors)
    signals = _rows(results.signals, policy, replication)
    signals = signals[signals["error"].isin(lanes["error"])]
    label = next((p.label for p in reading.policies(results) if p.number == policy), "")
    figure = Figure(figsize=(style.WIDTH_IN, len(lanes) * 0.24 + 2.75), layout=style.layout(wspace=0.01))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.0, 1.2])
    drawn: set[str] = set()
    end_ns = reading.horizon_ns(results)
    day = rounding.time_unit([end_ns])
    for y, error in enumerate(_records(lanes)):
        own = _records(signals[signals["error"] == error["error"]])
        drawn |= _calendar(left, y, error, own, day.size)
        drawn |= _zoom(right, y, error, own)
    _finish(left, right, lanes, end_ns, day)
    title = f"Replication {replication}" + (f", {label}" if label else "")
    figure.suptitle(style.wrap(title, 92), fontsize=9.5, fontweight="bold", x=0.01, ha="left")
    figure.legend(
        handles=[_handle(name) for name in _MARKS if name in drawn],
        loc="outside lower left",
        ncols=4,
        fontsize=7.5,
        columnspacing=1.4,
        handletextpad=0.5,
        title=_note(errors, lanes),
        title_fontsize=7.5,
        alignment="left",
    )
    return figure


def _note(errors: pd.DataFrame, lanes: pd.DataFrame) -> str:
    thick = "Thick line: latent; thin line: found, until its story ends."
    if len(lanes) == len(errors):
        count = f"All {len(errors)} errors" if len(errors) > 1 else "The one error"
        return f"{count} of this machine. {thick}"
    count = f"{len(lanes)} of the {len(errors):,} errors"
    return f"{count} of this machine: those with signals first, then the found ones. {thick}"


def _calendar(
    axes: Axes, y: int, error: dict[str, Any], signals: Sequence[dict[str, Any]], unit: float
) -> set[str]:
    """The whole life of an error on the machine's own clock: thick while latent, thin afterwards."""
    onset, end = error["onset_ns"] / unit, error["end_ns"] / unit
    found = None if pd.isna(error["found_ns"]) else error["found_ns"] / unit
    axes.plot([onset, end if found is None else found], [y, y], color="#bdbdbd", linewidth=3.2, zorder=1)
    if found is not None and end > found:
        axes.plot([found, end], [y, y], color="#bdbdbd", linewidth=0.8, zorder=1)
    drawn = {_mark(axes, onset, y, "onset")}
    if error["end"] == End.HEALED:
        drawn.add(_mark(axes, end, y, "healed"))
    elif error["end"] == End.PANIC:
        drawn.add(_mark(axes, end, y, "panic"))
    elif found is None:
        drawn.add(_mark(axes, end, y, "still latent at the end"))
    if found is not None:
        drawn.add(_mark(axes, found, y, "detected"))
    for signal in signals:
        if signal["cause"] in (Cause.LATE, Cause.GROUP_DEATH) or signal["signal"] == Sent.SIGKILL:
            drawn.add(_mark(axes, signal["time_ns"] / unit, y, _name(signal)))
    return drawn


def _zoom(axes: Axes, y: int, error: dict[str, Any], signals: Sequence[dict[str, Any]]) -> set[str]:
    """What followed detection, each lane on its own clock; its result in words at the right."""
    beside = axes.get_yaxis_transform()
    axes.text(1.03, y, _result(error, signals), transform=beside, va="center", fontsize=7, color=style.INK)
    start = error["found_ns"]
    if pd.isna(start):
        return set()
    single = {"detected": 0.0}
    if not pd.isna(error["poisoned_ns"]):
        single["poisoned (PG_hwpoison set)"] = error["poisoned_ns"] - start
    if not pd.isna(error["contained_ns"]):
        single["contained"] = error["contained_ns"] - start
    if error["end"] == End.PANIC:
        single["panic"] = error["end_ns"] - start
    sent: dict[str, list[float]] = {}
    for signal in signals:
        sent.setdefault(_name(signal), []).append(max(0.0, signal["time_ns"] - start))
    last = max([*single.values(), *(t for times in sent.values() for t in times)])
    axes.plot([0, last], [y, y], color="#bdbdbd", linewidth=0.8, zorder=1)
    for name, time in single.items():
        _mark(axes, max(0.0, time), y, name)
    for name, times in sent.items():  # many signals of one kind: the first, the last, and a bar between
        axes.plot([min(times), max(times)], [y, y], color=_MARKS[name].colour, linewidth=2.6, zorder=2)
        for time in {min(times), max(times)}:
            _mark(axes, time, y, name)
    return {*single, *sent}


def _result(error: dict[str, Any], signals: Sequence[dict[str, Any]]) -> str:
    """``Recovered; 24 signals, 20 died``: what the lane came to."""
    if pd.isna(error["found_ns"]):
        return f"never found, {error['end']}"
    outcome = error["outcome"] or ("panic" if error["end"] == End.PANIC else f"not handled, {error['end']}")
    if error["outcome"] and error["end"] == End.PANIC:
        outcome += ", panic"
    if not signals:
        return str(outcome)
    died = sum(s["result"] == Result.KILLED for s in signals)
    plural = "s" if len(signals) > 1 else ""
    return f"{outcome}; {len(signals)} signal{plural}, {died} died"


def _name(signal: dict[str, Any]) -> str:
    if signal["cause"] == Cause.GROUP_DEATH:
        return "group death"
    if signal["signal"] == Sent.SIGKILL:
        return Sent.SIGKILL
    return "early SIGBUS (AO)" if signal["cause"] == Cause.EARLY else "late SIGBUS"


def _mark(axes: Axes, x: float, y: float, name: str) -> str:
    axes.add_line(_handle(name, x, y))
    return name


def _handle(name: str, x: float = 0.0, y: float = 0.0) -> Line2D:
    """The marker of one event, for the lane and for the legend alike."""
    mark = _MARKS[name]
    thin = mark.marker in ("|", "x")
    return Line2D(
        [x],
        [y],
        linestyle="none",
        marker=mark.marker,
        markersize=mark.size,
        markerfacecolor="white" if mark.hollow else mark.colour,
        markeredgecolor=mark.colour if mark.hollow or thin else "white",
        markeredgewidth=1.5 if thin else 1.1 if mark.hollow else 0.5,
        clip_on=False,
        zorder=3 + list(_MARKS).index(name) * 0.01,
        label=name,
    )


def _finish(left: Axes, right: Axes, lanes: pd.DataFrame, end_ns: int, day: rounding.Unit) -> None:
    names = [
        f"#{e}  {style.shorten(str(region) or str(kind), 24)}"
        for e, region, kind in zip(lanes["error"], lanes["region"], lanes["kind"], strict=True)
    ]
    left.set_yticks(range(len(names)), names, fontsize=7.5)
    left.set_ylim(len(names) - 0.4, -0.6)
    left.set_xlim(0, end_ns / day.size)
    left.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 3, 5, 10]))
    left.set_xlabel(f"time of the machine ({day.name})")
    left.set_title("Latency")
    last = max([1e6, *_marked(right)]) * 1.5
    right.set_xscale("symlog", linthresh=1e3, linscale=0.1 * math.log10(last))
    ticks = [(time, text) for time, text in _FINE if time <= last]
    if len(ticks) > _MOST_TICKS:
        ticks = [(time, text) for time, text in ticks if text in _COARSE]
    right.set_xlim(0, last)
    right.xaxis.set_major_locator(FixedLocator([time for time, _ in ticks]))
    right.xaxis.set_minor_locator(NullLocator())
    right.set_xticklabels([text for _, text in ticks])
    right.set_xlabel("time since detection of each error")
    right.set_title("From detection on")
    right.grid(axis="x")
    for axes in (left, right):
        axes.tick_params(axis="y", length=0)
        for y in range(len(names)):
            axes.axhline(y, color="#efefef", linewidth=0.5, zorder=0)
    right.spines["left"].set_color(style.SOFT)


def _marked(axes: Axes) -> list[float]:
    """The x of every marker drawn so far."""
    lines = [line for line in axes.lines if line.get_marker() != "None"]
    return [float(x) for line in lines for x in np.asarray(line.get_xdata(), dtype=float)]
