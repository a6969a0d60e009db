"""``hwsim replay``: one replication again, event by event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.options import Json, ResultsFile
from hwsim.cli.shell import FAILED, SCRIPT_MISTAKE, guarded, note, print_json, wrong

if TYPE_CHECKING:
    from hwsim.record import Replication


@guarded
def replay(
    results: ResultsFile,
    replication: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of the replication.", show_default=False)
    ],
    policy: Annotated[int, typer.Option(min=0, metavar="P", help="Number of the policy, as compared.")] = 0,
    as_json: Json = False,
) -> None:
    """Run one replication again: events and kernel log."""
    from hwsim.study.replay import spec_of
    from hwsim.study.replicate import model
    from hwsim.study.results import open_results

    spec = spec_of(open_results(results), policy, replication)
    try:
        found = model()(spec, replication, trace=True)
    except Exception as error:  # noqa: BLE001  a replay is made to show this
        if type(error).__name__ == SCRIPT_MISTAKE:
            wrong(f"{results}: {error}")
        import traceback

        note("".join(traceback.format_exception(error)))
        raise typer.Exit(FAILED) from None
    if as_json:
        print_json(_as_json(found))
    else:
        _print(found)


def _print(found: Replication) -> None:
    from hwsim.cli.logs import event_line, log_line

    typer.echo("Events (seconds since the start)")
    for time_ns, event, facts in found.events:
        typer.echo(event_line(time_ns, event, facts))
    typer.echo("\nKernel log")
    for time_ns, _, text in found.log:
        typer.echo(log_line(time_ns, text))
    typer.echo(f"\n{found.meminfo.rstrip()}")


def _as_json(found: Replication) -> dict[str, Any]:
    return {
        "replication": found.row._asdict(),
        "errors": [row._asdict() for row in found.errors],
        "signals": [row._asdict() for row in found.signals],
        "events": [{"time_ns": at, "event": event, "facts": facts} for at, event, facts in found.events],
        "log": [{"time_ns": at, "level": level, "text": text} for at, level, text in found.log],
        "meminfo": found.meminfo,
    }
