"""``hwsim census``: the memory of a machine as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.options import PlainJson, ScenarioFile, Seed, Set
from hwsim.cli.shell import guarded, print_json, say, show

if TYPE_CHECKING:
    from rich.table import Table

    from hwsim.explaining.verdicts import Verdict
    from hwsim.study.census import Census, ClassRow


@guarded
def census(
    file: ScenarioFile,
    overrides: Set = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help='How long after the boot, as "30 d".', show_default="the middle of the run"
        ),
    ] = None,
    kernel: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Kernel profile; may be repeated.", show_default="all"),
    ] = None,
    replication: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of the machine that is drawn.")
    ] = 0,
    seed: Seed = None,
    memory_map: Annotated[
        str | None, typer.Option("--map", metavar="FILE", help="Also draw it: FILE.svg and FILE.png.")
    ] = None,
    as_json: PlainJson = False,
) -> None:
    """Count a machine's pages, and what the handler would do.

    By class, page flags and row of the error-state table, under each kernel.  Nothing has happened to the
    machine: no error has fallen, no script was played.
    """
    from hwsim import census as count
    from hwsim.cli.replay import stem_of_map, write_map

    stem = None if memory_map is None else stem_of_map(memory_map)
    found = count(
        file, at=at, kernels=kernel or (), replication=replication, seed=seed, overrides=overrides or ()
    )
    if as_json:
        print_json(found.as_dict())
    else:
        _print(found)
    if stem is not None:
        write_map(found.snapshot, stem)


def _print(found: Census) -> None:
    from hwsim import units

    size = units.human_bytes(found.memory_pages * units.PAGE_BYTES)
    when = units.human_duration(found.time_ns)
    say(f"{found.name}: {size}, {found.memory_pages:,} pages, {when} after the boot")
    show(_classes(found))
    drawn = f"replication {found.replication} of seed {found.seed}"
    say(f"Pages of one machine, {drawn}; a range holds 95 % of all machines.")
    say("memory_failure() says: row of error_states, none if it leaves before; message: outcome.")
    say("SIGBUS to tasks that map the page, with early_kill 1|0: now, or later, at its next touch.")
    if any("killed" in (each.sigbus_if_early, each.sigbus_if_late) for each in _verdicts(found)):
        say("killed: it could not be unmapped, and they get SIGKILL now.")
    show(_rows(found))
    say("Shares of all pages, mean of all machines by the law; SIGBUS besides the outcome:")
    for kernel in found.by_row:
        say(f"{kernel}: {_summary(found, kernel)}")


def _classes(found: Census) -> Table:
    from rich import box
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("memory, page flags", overflow="fold")
    table.add_column("pages", justify="right")
    for name in found.by_row:
        table.add_column(f"{name}: memory_failure()", overflow="fold")
    for each in found.classes:
        if not each.drawn and each.high < 0.5:
            continue
        memory = Group(each.memory, Padding(" ".join(each.state) or "no flags", (0, 0, 0, 2)))
        verdicts = ("\n".join(map(_verdict, each.verdicts[name])) for name in found.by_row)
        table.add_row(memory, _pages(each), *verdicts)
        table.add_section()
    return table


def _verdicts(found: Census) -> Iterator[Verdict]:
    return (verdict for each in found.classes for said in each.verdicts.values() for verdict in said)


def _pages(each: ClassRow) -> str:
    from hwsim import units

    lines = [f"{each.drawn:,}", units.human_bytes(each.drawn * units.PAGE_BYTES)]
    if each.low != each.high:
        lines.append(f"{each.low:,.0f} to {each.high:,.0f}")
    return "\n".join(lines)


def _verdict(each: Verdict) -> str:
    row = f"{each.row} " if each.row else ""
    line = f"{_share(each.chance)}{row}{each.message}: {each.outcome}"
    early, late = each.sigbus_if_early, each.sigbus_if_late
    told = early if early == late else f"{early}|{late}"
    if told == "nobody":
        return line
    return f"{line}\n  {told}" if "killed" in told else f"{line}\n  SIGBUS {told}"


def _share(chance: float) -> str:
    return "" if chance > 0.9999 else f"{100.0 * chance:.1f} %: "


def _summary(found: Census, kernel: str) -> str:
    """Shares of all pages by outcome, and of those where somebody is signalled, by the law."""
    shares: dict[str, float] = {}
    signalled = 0.0
    for each in found.classes:
        for verdict in each.verdicts[kernel]:
            part = each.pages * verdict.chance / found.memory_pages
            shares[verdict.outcome] = shares.get(verdict.outcome, 0.0) + part
            if (verdict.sigbus_if_early, verdict.sigbus_if_late) != ("nobody", "nobody"):
                signalled += part
    outcomes = ", ".join(f"{word} {100.0 * share:.1f} %" for word, share in sorted(shares.items()))
    return f"{outcomes}; SIGBUS {100.0 * signalled:.1f} %"


def _rows(found: Census) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("pages by the row that their flags match")
    for name in found.by_row:
        table.add_column(name, justify="right")
    names = {row: name for kernel in found.messages.values() for row, name in kernel.items()}
    for row in sorted({row for rows in found.by_row.values() for row in rows}):
        counts = (rows.get(row, 0) for rows in found.by_row.values())
        table.add_row(f"{row:2} {names[row]}", *(f"{count:,}" for count in counts))
    return table
