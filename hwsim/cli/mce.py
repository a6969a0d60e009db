"""``hwsim mce``: what a kernel does with machine checks written in mce-inject's format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.options import Json
from hwsim.cli.shell import guarded, print_json, wrong

if TYPE_CHECKING:
    from hwsim.hardware.mce_inject import Problem, Record
    from hwsim.kernel.mce_raise import Played


@guarded
def mce(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="mce-inject text, - is stdin.", show_default=False),
    ],
    kernel: Annotated[str, typer.Option(metavar="NAME", help="2.6.32 or modern.")] = "2.6.32",
    ser: Annotated[bool, typer.Option("--ser/--no-ser", help="The CPUs have MCG_SER_P.")] = True,
    tolerant: Annotated[
        int | None,
        typer.Option(min=0, max=3, metavar="0..3", help="2.6.32 only.", show_default="1"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Grade machine checks, and say what becomes of the machine."""
    from hwsim.hardware.mce_inject import MceTextError
    from hwsim.kernel.do_machine_check import HANDLING
    from hwsim.kernel.mce_raise import play_mce

    if kernel not in HANDLING:
        wrong(f"--kernel {kernel}: no such kernel\n    allowed: {', '.join(HANDLING)}")
    if tolerant is not None and not HANDLING[kernel].tolerant:
        wrong(f"--tolerant {tolerant}: {kernel} has no such setting\n    allowed: with --kernel 2.6.32")
    texts: dict[Path, list[Record]] = {}
    problems: list[Problem] = []
    for file in files:
        try:
            texts[file] = _read(file, HANDLING[kernel].banks)
        except MceTextError as mistakes:
            problems += sorted(mistakes.problems, key=lambda each: each.line)
    if problems:
        wrong("\n".join(["the machine checks cannot be read", *map(str, problems)]))
    found = [
        (file, play_mce(records, kernel, ser=ser, tolerant=1 if tolerant is None else tolerant))
        for file, records in texts.items()
    ]
    if as_json:
        print_json([_plain(file, played) for file, played in found])
        return
    for number, (file, played) in enumerate(found):
        if number:
            typer.echo()
        _show(file, played)


def _read(file: Path, banks: int) -> list[Record]:
    from hwsim.hardware.mce_inject import MAX_BYTES, MceTextError, Problem, parse_mce

    name = "stdin" if str(file) == "-" else str(file)
    try:
        if name == "stdin":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with file.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise MceTextError([Problem(name, 0, error.strerror or str(error))]) from None
    return parse_mce(data, name, banks=banks)


def _plain(file: Path, played: Played) -> dict[str, Any]:
    fate = played.fate
    return {
        "file": str(file),
        "records": [
            {
                "cpu": each.record.cpu,
                "bank": each.record.bank,
                "severity": each.grade.severity.name,
                "reason": each.grade.reason,
            }
            for each in played.records
        ],
        "fate": {
            "panic": fate.panic,
            "message": fate.message,
            "reason": fate.reason,
            "rendezvous_timeout": fate.rendezvous_timeout,
            "queued_pfns": fate.queued_pfns,
            "signals": [signal._asdict() for signal in fate.signals],
            "logged": fate.logged,
            "dropped": fate.dropped,
        },
    }


def _show(file: Path, played: Played) -> None:
    fate, machine = played.fate, played.machine
    recovery = "" if machine.ser else " without MCG_SER_P"
    typer.echo(f"{file}: kernel {machine.kernel}, {machine.cpus} CPUs{recovery}")
    for each in played.records:
        record = each.record
        said = f" ({each.fell_away})" if each.fell_away else ""
        typer.echo(
            f"  CPU {record.cpu} bank {record.bank}  {each.grade.severity.name:5}  {each.grade.reason}{said}"
        )
    if not played.records:
        typer.echo("  no record")
    if fate.rendezvous_timeout:
        typer.echo("  rendezvous: not all CPUs came within 1 s")
    if fate.queued_pfns:
        lost = "; nobody fetches them after the panic" if fate.panic else ""
        typer.echo(f"  memory_failure: {', '.join(f'pfn {pfn:#x}' for pfn in fate.queued_pfns)}{lost}")
    for signal in fate.signals:
        typer.echo(f"  {signal.signal} ({signal.code}) to the task that was current on CPU {signal.cpu}")
    if fate.panic:
        typer.echo(f"  Kernel panic - not syncing: {fate.message}")
        if fate.reason:
            typer.echo(f"  Machine check: {fate.reason}")
    else:
        full = f"; the log is full, dropped: {fate.dropped}" if fate.dropped else ""
        typer.echo(f"  goes on; records logged: {fate.logged}{full}")
