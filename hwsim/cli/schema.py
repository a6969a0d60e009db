"""``hwsim schema``: the JSON Schema of scenario files."""

from __future__ import annotations

import typer

from hwsim.cli.shell import guarded


@guarded
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from hwsim.scenario import schema_json

    typer.echo(schema_json().rstrip("\n"))
