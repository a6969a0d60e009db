"""``hwsim replay``: one replication again, event by event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.options import PlainJson, ResultsFile
from hwsim.cli.shell import FAILED, SCRIPT_MISTAKE, guarded, note, print_json, say, wrong

if TYPE_CHECKING:
    from pathlib import Path

    from hwsim.machine.snapshot import Snapshot
    from hwsim.record import Replication
    from hwsim.spec import Spec


@guarded
def replay(
    results: ResultsFile,
    replication: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of the replication.", show_default=False)
    ],
    policy: Annotated[int, typer.Option(min=0, metavar="P", help="Number of the policy, as compared.")] = 0,
    memory_map: Annotated[
        str | None,
        typer.Option("--map", metavar="FILE", help="Draw memory and its bad pages: FILE.svg and FILE.png."),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help='With --map: when, as "30 d"; default: at the end.')
    ] = None,
    as_json: PlainJson = False,
) -> None:
    """Run one replication again: events and log, or a map."""
    from hwsim.study.replay import compare, spec_of
    from hwsim.study.replicate import traced
    from hwsim.study.results import open_results

    opened = open_results(results)
    spec = spec_of(opened, policy, replication)
    if memory_map is not None:
        _draw(spec, replication, memory_map, at)
        return
    if at is not None:
        wrong("--at: says when the map of --map is drawn")
    try:
        found = traced(spec, replication)
    except Exception as error:  # noqa: BLE001  a replay is made to show this
        if type(error).__name__ == SCRIPT_MISTAKE:
            wrong(f"{results}: {error}")
        import traceback

        note("".join(traceback.format_exception(error)))
        raise typer.Exit(FAILED) from None
    compare(opened, policy, found)
    if as_json:
        print_json(_as_json(found))
    else:
        _print(found)


def _draw(spec: Spec, replication: int, name: str, at: str | None) -> None:
    from hwsim import units
    from hwsim.machine.snapshot import snapshot

    try:
        at_ns = None if at is None else units.parse_duration(at)
    except units.UnitError as error:
        wrong(f"--at {at}: {error.message}; allowed: {error.allowed}")
    if at_ns is not None and at_ns > spec.horizon_ns:
        wrong(f"--at {at}: allowed: up to {units.format_duration(spec.horizon_ns)}, the horizon of the run")
    stem = stem_of_map(name)
    write_map(snapshot(spec, replication, at_ns), stem)


def stem_of_map(name: str) -> Path:
    """What --map says, without an ending."""
    from pathlib import Path

    stem = Path(name)
    stem = stem.with_suffix("") if stem.suffix in (".svg", ".png") else stem
    if not stem.name:
        wrong(f"--map {name!r}: allowed: the name of a file; .svg and .png are added")
    if not stem.parent.is_dir():
        wrong(f"--map {name}: there is no folder {stem.parent}")
    return stem


def write_map(taken: Snapshot, stem: Path) -> None:
    """Draw the memory of a machine into STEM.svg and STEM.png."""
    from hwsim.show import style
    from hwsim.show.memory_map import memory_map

    for path in style.save(memory_map(taken), stem):
        say(str(path))


def _print(found: Replication) -> None:
    from hwsim.cli.logs import event_line, log_line

    say("Events (seconds since the start)")
    for time_ns, event, facts in found.events:
        say(event_line(time_ns, event, facts))
    say("\nKernel log")
    for time_ns, _, text in found.log:
        say(log_line(time_ns, text))
    say(f"\n{found.meminfo.rstrip()}")


def _as_json(found: Replication) -> dict[str, Any]:
    return {
        "replication": found.row._asdict(),
        "errors": [row._asdict() for row in found.errors],
        "signals": [row._asdict() for row in found.signals],
        "events": [{"time_ns": at, "event": event, "facts": facts} for at, event, facts in found.events],
        "log": [{"time_ns": at, "level": level, "text": text} for at, level, text in found.log],
        "meminfo": found.meminfo,
    }
