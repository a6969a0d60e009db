"""``hwsim plot``: figures of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import ResultsFile
from hwsim.cli.shell import guarded, say, wrong


@guarded
def plot(
    results: ResultsFile,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the figures.")] = Path(
        "plots"
    ),
) -> None:
    """Draw the figures of a study, each as SVG and PNG."""
    from hwsim.show import plots
    from hwsim.study.results import open_results

    opened = open_results(results)
    if out.exists() and not out.is_dir():
        wrong(f"--out {out}: this is a file; allowed is a folder, such as {out.parent / 'plots'}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        paths = plots.write_all(opened, out)
    except OSError as error:
        wrong(f"{error.filename or out}: {error.strerror or error}")
    for path in paths:
        say(str(path))
