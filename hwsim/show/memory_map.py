"""All memory of a machine on one page: what each frame is used for, with bad and poisoned frames marked.

A cell stands for many frames and has the colour of what most of them are; a mark stands for a single
frame and is as large as a letter, so that one bad page in hundreds of millions is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from hwsim import units
from hwsim.memory.kinds import FREE, KINDS
from hwsim.show import style

if TYPE_CHECKING:
    from hwsim.machine.snapshot import Snapshot

COLUMNS, ROWS = 128, 48
# Words and colours, each once: several kinds may share them.  Of a cell that is half free, free wins.
CLASSES = list(dict.fromkeys(kind.shown for kind in (KINDS[FREE], *KINDS.values())))
MARKS = {
    "latent": ("bad line, nobody knows", "o", "none"),
    "known": ("found, not poisoned", "s", "none"),
    "reachable": ("poisoned, still reachable", "X", "#D55E00"),
    "isolated": ("poisoned and isolated", "D", "#111111"),
}


def cells(snapshot: Snapshot, count: int) -> NDArray[np.uint8]:
    """The class most frames of each cell belong to, as its place in CLASSES; uint8, shape (count,).

    A frame is of the class of its run, unless nobody has it.
    """
    edges = np.linspace(0, snapshot.pages, count + 1)
    weight = np.zeros((len(CLASSES), count))
    free = CLASSES.index(KINDS[FREE].shown)
    for run in snapshot.runs:
        place = CLASSES.index(KINDS[run.kind].shown)
        covered = np.minimum(edges[1:], run.first_pfn + run.pages) - np.maximum(edges[:-1], run.first_pfn)
        weight[place] += np.maximum(covered, 0.0)
        if place != free:
            for pfns in snapshot.free_frames(run):
                weight[place] -= np.bincount(pfns * count // snapshot.pages, minlength=count)
    # What was given out since the boot lies on top of the run of free frames it came from.
    weight[free] = np.diff(edges) - np.delete(weight, free, axis=0).sum(axis=0)
    found: NDArray[np.uint8] = weight.argmax(axis=0).astype(np.uint8)
    return found


def memory_map(snapshot: Snapshot) -> Figure:
    """The picture: physical addresses run along the rows, from the top left to the bottom right."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH_IN, 4.4), layout=style.layout())
        axes = figure.add_subplot()
        grid = cells(snapshot, COLUMNS * ROWS).reshape(ROWS, COLUMNS)
        colours = ListedColormap([colour for _, colour in CLASSES])
        norm = BoundaryNorm(np.arange(len(CLASSES) + 1) - 0.5, len(CLASSES))
        axes.imshow(grid, cmap=colours, norm=norm, aspect="auto", interpolation="nearest")
        _draw_marks(axes, snapshot)
        axes.set_xlim(-0.5, COLUMNS - 0.5)
        axes.set_ylim(ROWS - 0.5, -0.5)
        rows = np.linspace(0, ROWS, 9)[:-1]
        begins = [int(row * snapshot.pages / ROWS) * units.PAGE_BYTES for row in rows]
        axes.set_yticks(rows - 0.5, [units.human_bytes(each) for each in begins])
        axes.set_xticks([])
        axes.set_ylabel("physical address")
        axes.set_xlabel("addresses run along the rows")
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_title(f"{style.shorten(snapshot.name, 50)} after {units.human_duration(snapshot.time_ns)}")
        used = [shown for place, shown in enumerate(CLASSES) if (grid == place).any()]
        handles = [*_class_handles(used), *_mark_handles(snapshot)]
        figure.legend(handles=handles, loc="outside upper left", ncols=4, columnspacing=1.2)
        memory = snapshot.pages * units.PAGE_BYTES
        cell = units.human_bytes(memory / (COLUMNS * ROWS))
        style.caption(
            figure,
            f"{units.human_bytes(memory)} of memory; a cell is {cell}, in the colour of what "
            "most of it is used for. A mark is a single page of 4 KiB.",
        )
    return figure


def _draw_marks(axes: Axes, snapshot: Snapshot) -> None:
    for state, (_, marker, colour) in MARKS.items():
        places = [
            mark.pfn * COLUMNS * ROWS / snapshot.pages for mark in snapshot.marks if mark.state == state
        ]
        (marks,) = axes.plot(
            [place % COLUMNS - 0.5 for place in places],
            [int(place // COLUMNS) for place in places],
            marker,
            color=style.INK,
            markerfacecolor=colour,
            markersize=5.5,
            markeredgewidth=0.9,
            linestyle="none",
            clip_on=False,
        )
        marks.set_in_layout(False)  # else room is made for marks that stand over the edge


def _class_handles(used: Iterable[tuple[str, str]]) -> Iterator[Patch]:
    for text, colour in used:
        yield Patch(facecolor=colour, edgecolor=style.INK, linewidth=0.4, label=text)


def _mark_handles(snapshot: Snapshot) -> Iterator[Line2D]:
    for state, (label, marker, colour) in MARKS.items():
        number = sum(mark.state == state for mark in snapshot.marks)
        yield Line2D(
            [],
            [],
            marker=marker,
            color=style.INK,
            markerfacecolor=colour,
            markersize=5.5,
            linestyle="none",
            label=f"{label}: {number:,}",
        )
