"""``hwsim mce``: what a kernel does with machine checks, in mce-inject's format or out of a log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.options import PlainJson
from hwsim.cli.shell import guarded, print_json, wrong

if TYPE_CHECKING:
    from hwsim.hardware.mce_record import Problem
    from hwsim.hardware.mce_text import MceText
    from hwsim.kernel.machine_checks import Handling


@guarded
def mce(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="mce-inject text or a log, - is stdin.", show_default=False),
    ],
    kernel: Annotated[
        str, typer.Option(metavar="NAME", help="2.6.32, modern, or one that hwsim kernels lists.")
    ] = "2.6.32",
    ser: Annotated[
        bool | None,
        typer.Option("--ser/--no-ser", help="The CPUs have MCG_SER_P.", show_default="as MCGCAP says"),
    ] = None,
    tolerant: Annotated[
        int | None,
        typer.Option(min=0, max=3, metavar="0..3", help="If the kernel has it.", show_default="1"),
    ] = None,
    phys_bits: Annotated[
        int | None,
        typer.Option(
            min=36,
            max=52,
            metavar="36..52",
            help="Address bits, if the kernel masks ADDR.",
            show_default="52",
        ),
    ] = None,
    as_json: PlainJson = False,
) -> None:
    """Grade machine checks, and say what becomes of the machine."""
    from hwsim.cli.mce_answer import answer, plain
    from hwsim.hardware.mce_record import MceTextError
    from hwsim.kernel.mce.printed import play_text
    from hwsim.units import MAX_PHYS_BITS

    handling = _handling(kernel, tolerant, phys_bits)
    texts: dict[Path, MceText] = {}
    problems: list[Problem] = []
    for file in files:
        try:
            texts[file] = _read(file, handling.banks)
        except MceTextError as mistakes:
            problems += sorted(mistakes.problems, key=lambda each: each.line)
    if len(problems) == 1:
        wrong(str(problems[0]))
    if problems:
        wrong("\n".join(["the machine checks cannot be read", *map(str, problems)]))
    level, bits = 1 if tolerant is None else tolerant, phys_bits or MAX_PHYS_BITS
    found = [
        (file, text, play_text(text, handling, ser=ser, tolerant=level, phys_bits=bits))
        for file, text in texts.items()
    ]
    if as_json:
        print_json([each for file, text, boots in found for each in plain(str(file), text, boots)])
        return
    for number, (file, text, boots) in enumerate(found):
        if number:
            typer.echo()
        for line in answer(str(file), text, boots):
            typer.echo(line)


def _handling(kernel: str, tolerant: int | None, phys_bits: int | None) -> Handling:
    """The machine-check code of the kernel, which has the settings that are asked for."""
    from hwsim.kernel.versions.boot import machine_checks

    known = machine_checks()
    if kernel not in known:
        wrong(f"--kernel {kernel}: no such kernel\n    allowed: {', '.join(known)}")
    handling = known[kernel]
    if tolerant is not None and not handling.tolerant:
        having = ", ".join(name for name, each in known.items() if each.tolerant)
        wrong(f"--tolerant {tolerant}: {kernel} has no such setting\n    allowed: with --kernel {having}")
    if phys_bits is not None and not handling.masks_addr:
        having = ", ".join(name for name, each in known.items() if each.masks_addr)
        wrong(f"--phys-bits {phys_bits}: {kernel} takes ADDR as it is\n    allowed: with --kernel {having}")
    return handling


def _read(file: Path, banks: int) -> MceText:
    from hwsim.hardware.mce_record import MAX_BYTES, MceTextError, Problem
    from hwsim.hardware.mce_text import read_mce
    from hwsim.scenario.foreign import belongs_to, kind_of

    name = "stdin" if str(file) == "-" else str(file)
    try:
        if name == "stdin":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with file.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise MceTextError([Problem(name, 0, error.strerror or str(error))]) from None
    kind = kind_of(data)
    if kind not in {"", "mce"}:
        raise MceTextError([Problem(name, 0, belongs_to(kind, name))])
    return read_mce(data, name, banks=banks)
