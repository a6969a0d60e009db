"""A progress bar on stderr, only where somebody watches."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yields the function to call with (finished, asked for), or None when nothing is to be shown."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hwsim.cli.outlet import below
    from hwsim.printable import escaped

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("replications"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=below(sys.stderr)), transient=True) as bar:
        task = bar.add_task(escaped(what), total=None)
        yield lambda finished, asked: bar.update(task, completed=finished, total=asked)
