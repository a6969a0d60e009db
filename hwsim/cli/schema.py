"""``hwsim schema``: the JSON Schema of scenario files."""

from __future__ import annotations

from hwsim.cli.shell import guarded, say


@guarded
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from hwsim.scenario import schema_json

    say(schema_json().rstrip("\n"))
