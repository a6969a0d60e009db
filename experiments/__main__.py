"""``python -m experiments [E1 E5 ...] [--out DIR] [--scale S] [--workers N]``: run them and write figures."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console

from experiments.common import Effort, Experiment, show
from hwsim.show import style

MODULES = {
    "E1": "e01_early_or_late",
    "E2": "e02_inconsistency",
    "E4": "e04_guilt_by_association",
    "E5": "e05_who_is_told",
    "E6": "e06_stale_reads",
    "E7": "e07_sync_swallows",
    "E8": "e08_block_device",
    "E12": "e12_storms",
    "E13": "e13_touched_meanwhile",
    "H1": "h01_scrub_share",
    "H2": "h02_calibration",
    "H3": "h03_fault_patterns",
}


def experiment(number: str) -> Experiment:
    """The function that runs experiment ``number``."""
    run: Experiment = importlib.import_module(f"experiments.{MODULES[number]}").run
    return run


def main(arguments: list[str] | None = None) -> int:
    """Run the experiments asked for; 0, or 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("numbers", nargs="*", metavar="E1", help=f"which: {', '.join(MODULES)}; default: all")
    parser.add_argument("--out", type=Path, default=Path("experiment-results"), help="folder of the figures")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of machines")
    parser.add_argument("--workers", type=int, default=None, help="processes; default: all processors")
    given = parser.parse_args(arguments)
    unknown = [each for each in given.numbers if each.upper() not in MODULES]
    if unknown:
        parser.error(f"no experiment {', '.join(unknown)}; there are {', '.join(MODULES)}")
    if not given.scale > 0:
        parser.error(f"--scale {given.scale}: a number above 0")
    given.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    if console.width < 110:  # a table keeps its columns, also in a pipe
        console = Console(width=110)
    for number in given.numbers or MODULES:
        answer = experiment(number.upper())(Effort(given.scale, given.workers))
        show(answer, console)
        for path in style.save(answer.figure, given.out / MODULES[number.upper()]):
            console.print(str(path), style="dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
