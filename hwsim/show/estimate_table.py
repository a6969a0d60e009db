"""A table of estimates on a terminal: every cell with its interval and a letter for its method.

On a wide terminal a cell is one line, ``3.1 (2.7 to 3.5) a``; where that does not fit the interval
goes under the number, and where that does not fit either every number has a line of its own.  Letters are
explained once under a group of tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hwsim.printable import IN_ASCII
from hwsim.show import rounding
from hwsim.show.reading import replications
from hwsim.show.rounding import Unit
from hwsim.study.estimate import Estimate

_UNBOUNDED = 100_000
_NARROW = 72  # from this width on columns may be folded a little; below, numbers would be cut off
_PLAIN = str.maketrans(IN_ASCII)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Cell:
    """One estimate as text, without interval and mark if it is exact; ``seen`` False dims what is zero
    everywhere."""

    number: str
    interval: str
    mark: str
    seen: bool = True

    def __str__(self) -> str:
        return f"{self.number} ({self.interval}) {self.mark}" if self.interval else self.number

    def text(self, stacked: bool) -> Text:
        body = Text(self.number, style="bold" if self.seen else "", justify="right")
        if self.interval:
            rest = f" {self.mark}\n{self.interval}" if stacked else f" ({self.interval}) {self.mark}"
            body.append(rest, style="not bold")
        if not self.seen:
            body.stylize("dim")
        return body


class Methods:
    """Gives each method a letter, in order of appearance, and explains the letters.

    ``exact``: the machines are without chance, all the same, so that no number has an interval.
    """

    def __init__(self, *, exact: bool = False) -> None:
        self._exact = exact
        self._letters: dict[str, str] = {}
        self._sizes: set[int] = set()

    def cell(self, estimate: Estimate, unit: Unit, seen: bool = True) -> Cell:
        """The estimate in ``unit`` with the letter of its method."""
        if self._exact:
            return Cell(rounding.shown(estimate, unit).number, "", "", seen)
        letter = self._letters.setdefault(estimate.method, _LETTERS[len(self._letters) % len(_LETTERS)])
        self._sizes.add(estimate.n)
        shown = rounding.shown(estimate, unit)
        same = shown.interval == estimate.method
        return Cell(shown.number, "no interval" if same else shown.interval, letter, seen)

    def legend(self) -> Text:
        """``Intervals are 95 %. a: t, b: BCa bootstrap; 400 replications.``"""
        if self._exact:
            return Text("Exact: without chance all machines are the same.", style="dim")
        letters = ", ".join(f"{letter}: {name}" for name, letter in self._letters.items())
        text = f"Intervals are 95 %. {letters}; {replications(sorted(self._sizes))}."
        if any(
            name.startswith(("constant", "equal", "exact binomial", "exact, all")) for name in self._letters
        ):
            text += " A bound in % is on the share of machines (exact binomial)."
        if any("Poisson" in name for name in self._letters):
            text += " Poisson bounds hold for events that come singly."
        return Text(text, style="dim")


@dataclass
class EstimateTable:
    """One table: a title that says what the numbers are per, a head, and rows of cells."""

    title: str
    head: Sequence[str]
    rows: list[tuple[str, list[Cell | str]]] = field(default_factory=list)
    below: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self._in_ascii() if options.ascii_only else self  # before anything is measured
        if self.title:
            yield Text(self.title, style="bold")
        if self.rows:
            flat, stacked = shown.table(stacked=False), shown.table(stacked=True)
            if _width(console, options, flat) <= options.max_width:
                yield flat
            elif options.max_width >= _NARROW or _width(console, options, stacked) <= options.max_width:
                yield stacked
            else:
                yield shown.listed()
        if self.below:
            yield Padding(Text(shown.below, style="dim"), (0, 0, 1, 1))

    def _in_ascii(self) -> EstimateTable:
        below = self.below.translate(_PLAIN)
        rows = [(name.translate(_PLAIN), [_plain(cell) for cell in cells]) for name, cells in self.rows]
        return EstimateTable(self.title, [name.translate(_PLAIN) for name in self.head], rows, below)

    def listed(self) -> Text:
        """Every number on a line of its own."""
        lines = []
        for name, cells in self.rows:
            shown = [f"    {head}: {cell}" for head, cell in zip(self.head, cells, strict=True) if str(cell)]
            lines += [f" {name}", *(line.replace("\n", " ") for line in shown)]
        return Text("\n".join(lines) + "\n")

    def table(self, *, stacked: bool) -> Table:
        """A column for each of the head; ``stacked``: intervals under their numbers."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=True, padding=(0, 1))
        table.add_column("", no_wrap=False, min_width=14)
        for name in self.head:
            table.add_column(Text(name), justify="right", overflow="fold")
        for name, cells in self.rows:
            shown = [cell.text(stacked) if isinstance(cell, Cell) else Text(cell) for cell in cells]
            table.add_row(Text(name), *shown)
        return table


def _width(console: Console, options: ConsoleOptions, table: Table) -> int:
    return Measurement.get(console, options.update(width=_UNBOUNDED), table).maximum


def _plain(cell: Cell | str) -> Cell | str:
    if isinstance(cell, str):
        return cell.translate(_PLAIN)
    number, interval = cell.number.translate(_PLAIN), cell.interval.translate(_PLAIN)
    return Cell(number, interval, cell.mark, cell.seen)


def unit_of(kind: str, estimates: Sequence[Estimate | None]) -> Unit:
    """The unit for a row of estimates: none for counts, else what fits the largest of them."""
    values = [x for e in estimates if e is not None for x in (e.value, e.high, e.low)]
    if kind == "ns":
        return rounding.time_unit(values)
    if kind == "bytes":
        return rounding.bytes_unit(values)
    return Unit("")
