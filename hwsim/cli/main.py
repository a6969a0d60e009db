"""The ``hwsim`` command.  Commands import what they need when they run, so that help stays quick."""

from __future__ import annotations

from typing import Annotated

import typer

from hwsim.cli import census, check, compare, explain, faults, kernels, mce, outlet, plot, replay, run, schema
from hwsim.cli.shell import say, unwritable
from hwsim.version import __version__

app = typer.Typer(
    name="hwsim",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich alone would double the time of `hwsim --help`
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        say(f"hwsim {__version__}")
        raise typer.Exit


@app.callback()
def hwsim(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Simulate what an uncorrected memory error does to a Linux machine.

    Results go to stdout, progress and mistakes to stderr.  Exit status: 0 done, 1 finished with failed
    replications, 2 wrong command line, scenario or file, 130 or 143 interrupted.
    """


app.command()(check.check)
app.command()(run.run)
app.command()(compare.compare)
app.command()(census.census)
app.command()(mce.mce)
app.command()(plot.plot)
app.command()(explain.explain)
app.command()(faults.faults)
app.command()(kernels.kernels)
app.command()(replay.replay)
app.command()(schema.schema)


def main() -> None:
    """Entry point of the console script."""
    outlet.prepare()
    try:
        app()
    except OSError as error:  # help and version are printed outside of any command
        unwritable(error)


if __name__ == "__main__":
    main()
