"""How every hwsim figure looks: colours and hatches that survive grey print, and files that do not change.

Colours are the Okabe-Ito set (Okabe & Ito, "Color Universal Design", 2008), distinguishable with the
common colour-vision deficiencies; each also has its own hatch or marker, so that no figure needs colour.
Figures are made with :class:`matplotlib.figure.Figure` and drawn by the Agg and SVG canvases directly:
pyplot is never imported, so a notebook's backend and its open figures are left alone.
"""

from __future__ import annotations

import io
import textwrap
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter

from hwsim.printable import escaped
from hwsim.record import End, Outcome

WIDTH_IN = 7.5  # a printed page between its margins
PNG_DPI = 200
INK = "#222222"
SOFT = "#8a8a8a"
PAPER = "white"


@dataclass(frozen=True)
class Look:
    """One series: fill colour, hatch of its bars, marker of its points."""

    colour: str
    hatch: str = ""
    marker: str = "o"


_SERIES = (
    Look("#56B4E9", "", "o"),
    Look("#E69F00", "///", "s"),
    Look("#009E73", "...", "^"),
    Look("#CC79A7", "xxx", "D"),
    Look("#F0E442", "\\\\\\", "v"),
    Look("#0072B2", "---", "P"),
    Look("#D55E00", "ooo", "X"),
)

NOT_HANDLED = "not handled"
OUTCOMES: dict[str, Look] = {
    Outcome.RECOVERED: Look("#009E73", ""),
    Outcome.DELAYED: Look("#56B4E9", "///"),
    Outcome.FAILED: Look("#D55E00", "xxx"),
    Outcome.IGNORED: Look("#F0E442", "..."),
    End.PANIC: Look("#000000", ""),
    NOT_HANDLED: Look("#DDDDDD", "---"),
}

_RC = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib: the same letters on every machine
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8.5,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.hashsalt": "hwsim",  # element ids depend on this and the drawing only
    "svg.fonttype": "path",
    "path.simplify": True,
    "text.parse_math": False,  # a name with two dollar signs is a name
}


def context() -> AbstractContextManager[None]:
    """matplotlib's own defaults plus the house style, whatever the user's matplotlibrc says."""
    return matplotlib.style.context(["default", _RC])


def layout(hspace: float = 0.02, wspace: float = 0.02) -> ConstrainedLayoutEngine:
    """Axes arranged so that no label meets another, with room around them (inches, shares)."""
    return ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.06, hspace=hspace, wspace=wspace)


def series(index: int) -> Look:
    """The look of policy number ``index``; after seven the hatches shift against the colours."""
    count = len(_SERIES)
    turn = index // count
    base = _SERIES[index % count]
    other = _SERIES[(index + turn) % count]
    return Look(base.colour, other.hatch, other.marker)


def halo(width: float = 2.2) -> list[withStroke]:
    """A white rim that keeps thin lines and letters readable on a hatch."""
    return [withStroke(linewidth=width, foreground=PAPER)]


def shorten(name: str, width: int) -> str:
    """``name`` in at most ``width`` letters; the middle goes, since names differ at their ends."""
    name = escaped(name)
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return name[:head] + "\u2026" + name[-(width - 1 - head) :]


def wrap(text: str, width: int) -> str:
    """``text`` broken into lines of at most ``width`` letters, long words too."""
    text = escaped(text, keep="\n")
    return "\n".join(textwrap.wrap(text, width)) or text


def caption(figure: Figure, text: str) -> None:
    """The small print under a figure: what the bars are, the method, the number of replications."""
    width = int(figure.get_figwidth() * 16.5)
    figure.supxlabel(wrap(text, width), x=0.01, ha="left", fontsize=7.5, color="#444444", linespacing=1.35)


def message(text: str, title: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = Figure(figsize=(WIDTH_IN, 1.8), layout=layout())
    axes: Axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_title(title)
    axes.text(0.5, 0.5, wrap(text, 80), ha="center", va="center", color="#444444", transform=axes.transAxes)
    return figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem.svg`` and ``stem.png``: the same bytes for the same figure, no dates inside.

    Both are drawn in memory first: a figure that cannot be drawn leaves earlier files untouched.
    """
    drawn: list[tuple[Path, bytes]] = []
    _make_harmless(figure)
    with context():
        for suffix, metadata in (
            ("svg", {"Date": None, "Creator": "hwsim"}),
            ("png", {"Software": "hwsim"}),
        ):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, dpi=PNG_DPI, metadata=metadata)
            drawn.append((stem.with_name(f"{stem.name}.{suffix}"), buffer.getvalue()))
    for path, data in drawn:
        path.write_bytes(data)
    return [path for path, _ in drawn]


def _make_harmless(figure: Figure) -> None:
    """Names from files as text that an SVG file can hold, also where it notes what its glyphs say."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, FixedFormatter):
                formatter.seq = [escaped(label, keep="\n") for label in formatter.seq]
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_text(escaped(text.get_text(), keep="\n"))
