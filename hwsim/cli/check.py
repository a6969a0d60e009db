"""``hwsim check``: read scenarios and report every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Set
from hwsim.cli.shell import WRONG, guarded, note


@guarded
def check(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Scenario files.", show_default=False)
    ],
    overrides: Set = None,
) -> None:
    """Check scenario files and report every mistake at once."""
    from hwsim.scenario import ScenarioError
    from hwsim.study.rehearsal import load

    bad = 0
    for file in files:
        try:
            scenario = load(file, overrides or [])
        except ScenarioError as error:
            bad += 1
            note(str(error))
        else:
            typer.echo(f"{file}: {scenario.name}: no mistakes")
    if bad:
        raise typer.Exit(WRONG)
