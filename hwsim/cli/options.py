"""Options that several commands share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ScenarioFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="Scenario file (TOML).", show_default=False)
]
ResultsFile = Annotated[
    Path,
    typer.Argument(metavar="RESULTS", help="Results file of an earlier run or compare.", show_default=False),
]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0, max=2**63 - 1, metavar="N", help="Root of all randomness.", show_default="as the scenario says"
    ),
]
Repeat = Annotated[
    int | None,
    typer.Option(
        min=1, max=100_000_000, metavar="N", help="Replications.", show_default="as the scenario says"
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the scenario; may be repeated."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Results file. Running again into it adds only what is missing.",
        show_default="results/NAME-HASH.sqlite",
    ),
]
Repair = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Keep what is sound of a damaged results file and run the rest again; "
        "the damaged file stays beside it as FILE.damaged.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: every number with low, high, method and n.")]
PlainJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Detected = Annotated[
    bool, typer.Option("--detected", help="Also per detected error, and by the way of detection.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Processes; the results do not depend on it.", show_default="as many as pay"
    ),
]
NoScreen = Annotated[
    bool,
    typer.Option(
        "--no-screen",
        help="Play also machines whose results follow from their draws alone: the same, slower.",
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Say how many machines were played and what settled the others."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr.")]
