"""``hwsim kernels``: the kernel profiles, or two of them side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.options import PlainJson
from hwsim.cli.shell import guarded, print_json, say, show

if TYPE_CHECKING:
    from hwsim.explaining.side_by_side import Line


@guarded
def kernels(
    names: Annotated[
        list[str] | None, typer.Argument(help="Kernels to put side by side, such as v5 2.6.32.")
    ] = None,
    differences: Annotated[bool, typer.Option("--differences", help="Only the lines that differ.")] = False,
    as_json: PlainJson = False,
) -> None:
    """List the kernel profiles, or put some side by side."""
    from hwsim.explaining.side_by_side import profiles, side_by_side

    if not names:
        found = profiles()
        if as_json:
            print_json(found)
        else:
            for each in found:
                say(f"{each['name']:8} {each['released']}  {each['source']}")
        return
    every = side_by_side(*names)
    lines = [line for line in every if line.differs or not differences]
    if as_json:
        print_json([_plain(line, names) for line in lines])
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    part = ""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("", "", *names):
        table.add_column(Text(head), overflow="fold")
    for line in lines:
        if line.part != part:
            part = line.part
            table.add_section()
            table.add_row("", Text(part, style="bold underline"), *[""] * len(names))
        table.add_row("*" if line.differs else "", Text(line.what), *(Text(value) for value in line.values))
    show(table)
    count = sum(line.differs for line in every)
    say(f"{count} of {len(every)} lines differ (marked *).")


def _plain(line: Line, names: list[str]) -> dict[str, Any]:
    values = dict(zip(names, line.values, strict=True))
    return {"part": line.part, "what": line.what, "differs": line.differs, "kernels": values}
