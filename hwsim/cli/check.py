"""``hwsim check``: every mistake of a scenario, every damage of a results file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Set
from hwsim.cli.shell import WRONG, guarded, note, say


@guarded
def check(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Scenario files and results files.", show_default=False),
    ],
    overrides: Set = None,
) -> None:
    """Check scenarios for mistakes, results for damage."""
    bad = 0
    for file in files:
        good = _results(file) if _is_results(file) else _scenario(file, overrides or [])
        bad += not good
    if bad:
        raise typer.Exit(WRONG)


def _is_results(file: Path) -> bool:
    from hwsim.scenario.foreign import is_results

    try:
        with file.open("rb") as stream:
            return is_results(stream.read(100))
    except OSError:
        return False  # whoever reads scenarios says why


def _scenario(file: Path, overrides: list[str]) -> bool:
    from hwsim.scenario import ScenarioError
    from hwsim.scenario.foreign import belongs_to
    from hwsim.scenario.load import UNEVENTFUL
    from hwsim.study.rehearsal import load

    try:
        scenario = load(file, overrides)
    except ScenarioError as error:
        note(str(error))
        return False
    say(f"{file}: {scenario.name}: no mistakes")
    if scenario.only_dimms:
        note(f"hwsim: {file}: {belongs_to('dimms', str(file))}")
    elif scenario.uneventful:
        note(f"hwsim: {file}: {UNEVENTFUL}")
    return True


def _results(file: Path) -> bool:
    """Every row against its digest; what is damaged, and how to go on."""
    from hwsim.study.errors import StudyError
    from hwsim.study.opening import checked

    try:
        say(checked(file))
    except StudyError as error:
        note(f"hwsim: {error}")
        return False
    return True
