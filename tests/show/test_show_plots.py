"""Figures: they show what the data say, fit their page, and are the same bytes every time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from hwsim.show import plots, style
from hwsim.show.shares import sort_out
from tests.support.show_results import LABELS, results

LONG = "vm.memory_failure_early_kill=1 machine.scrub.period='24 h' task.postgres.sigbus=remap " * 2


def _texts(figure: Figure) -> str:
    """All the words of a figure, lines joined."""
    return " ".join(" ".join(t.get_text().split("\n")) for t in figure.findobj(match=Text))


def _bars(axes: Any) -> list[Any]:
    return list(axes.patches)


def _inside(figure: Figure) -> None:
    """No ink at the page's rim: a label that leaves the page would cross it."""
    figure.set_dpi(90)
    (canvas := FigureCanvasAgg(figure)).draw()
    page = np.asarray(canvas.buffer_rgba())[:, :, :3]
    rims = {"left": page[:, :2], "right": page[:, -2:], "top": page[:2], "bottom": page[-2:]}
    assert [name for name, rim in rims.items() if rim.min() < 250] == []


NASTY: dict[str, dict[str, Any]] = {
    "usual": {},
    "one policy": {"labels": LABELS[:1]},
    "no kills": {"kills": False},
    "forty kinds": {"kinds": [f"a_long_kind_of_page_{i}" for i in range(40)]},
    "long names": {"labels": [LONG, LONG[::-1], "short"]},
    "one replication": {"replications": 1},
    "nothing finished": {"replications": 0},
    "no errors": {"errors_each": 0},
    "twelve policies": {"labels": [f"scrub={i} h" for i in range(12)], "replications": 6},
    "a storm": {"errors_each": 200, "replications": 3},
    "dollars": {"labels": ["$a=1$", "$b_$"]},
}


@pytest.mark.parametrize("case", NASTY)
def test_every_figure_fits_its_page(case):
    data = results(**{"replications": 12, **NASTY[case]})
    for make in (*plots.FIGURES, plots.time_line):
        figure = make(data)
        assert figure.get_figwidth() == style.WIDTH_IN
        _inside(figure)


def test_bars_have_the_means_and_every_bar_its_interval_and_method():
    data = results(40)
    figure = plots.kills_and_recoveries(data)
    kills = figure.axes[0]
    widths = [patch.get_width() for patch in _bars(kills)]
    table = data.replications
    expected = [table.loc[table["policy"] == p, "kills"].mean() for p in (0, 1)]
    assert widths[:2] == pytest.approx(expected)
    for axes in figure.axes:
        assert len(axes.containers) == 2 * len(axes.patches)  # a bar and an error bar each
    text = _texts(figure)
    assert "n = 40 replications" in text
    assert "95 % intervals: t" in text
    assert "over 90 d" in text
    assert {p.get_hatch() for p in kills.patches} == {"", "///"}


def test_nothing_seen_is_shown_as_a_bound():
    text = _texts(plots.kills_and_recoveries(results(40, kills=False)))
    assert "0, \u2264 0.093" in text  # 3.69 / 40
    assert "exact Poisson" in text


def test_with_many_policies_unseen_causes_go_into_the_caption():
    text = _texts(plots.kills_and_recoveries(results(6, labels=[f"scrub={i}" for i in range(6)])))
    assert (
        "Seen under no policy and not drawn: forced SIGKILL (\u2264 0.62), group death (\u2264 0.62)." in text
    )


def test_shares_count_every_found_error_once():
    data = results(30)
    found = data.errors[(data.errors["found"] != "none") & (data.errors["policy"] == 0)]
    figure = plots.outcome_by_page_type(data, policies=[0])
    axes = figure.axes[0]
    counts = [int(t.get_text()[4:].replace(",", "")) for t in axes.texts if t.get_text().startswith("n = ")]
    assert sum(counts) == len(found)
    rows = {round(patch.get_y(), 3) for patch in _bars(axes)}
    for y in rows:
        assert sum(p.get_width() for p in _bars(axes) if round(p.get_y(), 3) == y) == pytest.approx(1.0)


def test_what_became_of_an_error_without_an_outcome():
    found = sort_out(results(30).errors)
    assert set(found.loc[found["found"] == "task_load", "fate"]) == {"panic"}
    assert set(found.loc[found["found"] == "device_read", "fate"]) == {"not handled"}
    assert set(found["fate"]) <= set(style.OUTCOMES)


def test_kinds_that_do_not_fit_are_merged_and_counted():
    data = results(30, kinds=[f"kind_{i}" for i in range(40)])
    axes = plots.outcome_by_page_type(data).axes[0]
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert len(labels) == 20
    shown = data.errors[data.errors["found"] != "none"]["kind"].nunique()
    assert labels[-1] == f"{shown - 19} other kinds"


def test_the_time_line_takes_the_replication_with_most_signals():
    data = results(25)
    counts = data.signals.groupby(["policy", "replication"]).size()
    text = _texts(plots.time_line(data))
    title = re.search(r"Replication (\d+), (\S+)", text)
    assert title is not None
    policy, replication = LABELS.index(title[2]), int(title[1])
    assert counts[policy, replication] == counts.max()
    most = data.errors[(data.errors["policy"] == policy) & (data.errors["replication"] == replication)]
    assert all(f"#{e}  " in text for e in most["error"])


def test_the_time_line_says_what_it_leaves_out():
    data = results(2, errors_each=200)
    figure = plots.time_line(data, 0, 1)
    assert len(figure.axes[0].get_yticklabels()) == 24
    number = len(data.errors[(data.errors["policy"] == 0) & (data.errors["replication"] == 1)])
    assert f"24 of the {number} errors" in _texts(figure)


def test_a_replication_that_is_not_there_is_refused_with_what_is():
    with pytest.raises(ValueError, match="replication 99 is not in these results \\(from 0 to 4 are\\)"):
        plots.time_line(results(5), replication=99)


def test_files_are_the_same_every_time_and_bear_no_date(tmp_path: Path):
    first = plots.write_all(results(3, errors_each=4), tmp_path / "a" / "new")
    second = plots.write_all(results(3, errors_each=4), tmp_path / "b")
    assert [p.name for p in first] == [p.name for p in second]
    assert {p.suffix for p in first} == {".svg", ".png"}
    assert len(first) == 2 * (len(plots.FIGURES) + 2), "a time line for each policy"
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert b"<dc:date>" not in one.read_bytes()


def test_a_users_settings_and_backend_are_left_alone(tmp_path: Path):
    before = dict(mpl.rcParams)
    style.save(plots.outcome_by_page_type(results(3, kinds=["anon"])), tmp_path / "one")
    assert dict(mpl.rcParams) == before


def test_pyplot_is_never_imported():
    code = "import sys, hwsim.show.plots, hwsim.show.tables; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_machines_without_chance_have_no_intervals_in_any_figure():
    data = results(4)
    data.manifest["scenario"] = {"machine": {"chance": "off"}}
    for draw in plots.FIGURES:
        figure = draw(data)
        text = _texts(figure)
        assert "exact, as without chance all machines are the same" in text, draw.__name__
        assert "95 %" not in text, draw.__name__
        assert "\u2264" not in text, draw.__name__
        if draw is not plots.time_to_kill:
            assert not any(axes.lines for axes in figure.axes), "whiskers and brackets are lines"
