"""Plays jobs of ``same_bytes_jobs.py`` in one tree, the one on PYTHONPATH: a line of JSON a row.

It knows only names of hwsim that stay where they are.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

import hwsim
from hwsim.cli.main import app
from hwsim.machine import run_replication

Row = tuple[str, str, int, Any]  # table, world, number of the row, its fields
NAMES = {"log": ("time_ns", "level", "text"), "events": ("time_ns", "event", "facts")}
# Two numbers may differ.  How many events the engine processes says how the model is built and nothing of the
# machine; what they cost is watched elsewhere.  The other one is the speed of this computer.
BY_NATURE = re.compile(r'"(events|trials_per_second)": [\d.e+]+')


def world(file: str, overrides: list[str], replications: int) -> Iterator[Row]:
    """Everything that traced replications leave behind."""
    yield from _results(
        file, overrides, lambda spec: (run_replication(spec, n, trace=True) for n in range(replications))
    )


def together(file: str, overrides: list[str], replications: int) -> Iterator[Row]:
    """The results of replications run together, with the screen or, if this process is told so, without."""
    from hwsim.machine import run_replications  # trees before the screen do not have it

    screen = "--no-screen" not in sys.argv
    yield from _results(
        file, overrides, lambda spec: run_replications(spec, range(replications), screen=screen)
    )


def _results(file: str, overrides: list[str], play: Callable[[Any], Iterable[Any]]) -> Iterator[Row]:
    name = " ".join([file, *overrides])
    try:
        spec = hwsim.load(file, overrides).spec
    except hwsim.ScenarioError as refused:
        yield "refused", name, 0, str(refused)
        return
    for index, result in enumerate(play(spec)):
        for table, found in result._asdict().items():
            if table == "settled":  # how the result was found
                continue
            for number, row in enumerate(found if isinstance(found, list) else [found]):
                fields = row._asdict() if hasattr(row, "_asdict") else row
                if table in NAMES:
                    fields = dict(zip(NAMES[table], row, strict=True))
                if table == "row":
                    fields.pop("events", None)
                yield table, f"{name}, replication {index}", number, fields


def command(arguments: list[str], stdin: str = "") -> Iterator[Row]:
    """What a command answers."""
    done = CliRunner().invoke(app, arguments, input=stdin, prog_name="hwsim")
    name = " ".join(["hwsim", *arguments])
    yield "exit status", name, 0, done.exit_code
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        yield "exception", name, 0, repr(done.exception)
    for stream, text in (("stdout", done.stdout), ("stderr", done.stderr)):
        for number, line in enumerate(text.split("\n")):
            yield stream, name, number, BY_NATURE.sub(r'"\1": ...', line)


def files(folder: str, pattern: str) -> Iterator[Row]:
    """The lines of files."""
    for path in sorted(Path(folder).glob(pattern)):
        for number, line in enumerate(path.read_text("utf-8").split("\n")):
            yield "lines", path.name, number, line


def results(file: str) -> Iterator[Row]:
    """The schema of a results file, and what it says of itself; its rows are those of the worlds."""
    connection = sqlite3.connect(file)
    for number, row in enumerate(connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name")):
        yield "schema", file, number, row
    told = "SELECT * FROM manifest WHERE key NOT LIKE 'settled.%' ORDER BY key"  # not how results were found
    for number, row in enumerate(connection.execute(told)):
        yield "manifest", file, number, row
    connection.close()


def library() -> Iterator[Row]:
    """Public names, and the golden files of the tree."""
    yield "__all__", "hwsim", 0, hwsim.__all__
    yield from files(str(Path(hwsim.__file__).parents[1] / "tests"), "**/golden/*.json")


PLAYERS: dict[str, Callable[..., Iterator[Row]]] = {
    "world": world,
    "together": together,
    "command": command,
    "files": files,
    "results": results,
    "library": library,
}

if __name__ == "__main__":
    out = sys.stdout  # a command takes sys.stdout away while it runs
    for player, *arguments in json.loads(Path(sys.argv[1]).read_text("utf-8")):
        for found in PLAYERS[player](*arguments):
            out.write(json.dumps(found, default=repr) + "\n")
