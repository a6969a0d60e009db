"""``hwsim run``: replications of one scenario."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.options import (
    Detected,
    Json,
    NoScreen,
    Out,
    Quiet,
    Repair,
    Repeat,
    ScenarioFile,
    Seed,
    Set,
    Verbose,
    Workers,
)  # fmt: skip
from hwsim.cli.shell import guarded, note, print_json, say, show

if TYPE_CHECKING:
    from hwsim.study.results import Results


@guarded
def run(
    file: ScenarioFile,
    seed: Seed = None,
    repeat: Repeat = None,
    overrides: Set = None,
    out: Out = None,
    as_json: Json = False,
    dmesg: Annotated[bool, typer.Option("--dmesg", help="Print the kernel log of replication 0.")] = False,
    reach: Annotated[
        bool, typer.Option("--reach", help="Report which exits, table rows and PTE results were met.")
    ] = False,
    detected: Detected = False,
    workers: Workers = None,
    repair: Repair = False,
    no_screen: NoScreen = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Run a scenario: many machines, each on its own errors."""
    from hwsim.cli.studying import command_line, default_out, note_uneventful, report_failures, studied
    from hwsim.study.conduct import prepared
    from hwsim.study.manifest import Policy

    scenario = prepared(file, seed=seed, overrides=overrides or [])
    policies = [Policy(scenario.name)]
    note_uneventful(scenario, policies, quiet=quiet)
    path = out or default_out(scenario.name, scenario, policies)
    command = command_line("run", file, seed=seed, repeat=repeat, set=overrides)
    results = studied(
        scenario, policies, path, command,
        repeat=repeat, overrides=overrides or [], workers=workers, repair=repair, screen=not no_screen,
        verbose=verbose, quiet=quiet,
    )  # fmt: skip
    # A replication that failed has no log; report_failures() says why and how to see it.
    dmesg = dmesg and not any(failure.replication == 0 for failure in results.failures)
    if as_json:
        print_json(_as_json(results, dmesg=dmesg, reach=reach))
    else:
        _print(results, detected=detected, dmesg=dmesg, reach=reach)
    if not quiet:
        note(f"results in {path}")
    report_failures(results, file)


def _print(results: Results, *, detected: bool, dmesg: bool, reach: bool) -> None:
    from hwsim.show import tables

    if len(results.replications):
        show(tables.summary(results, detected=detected))
    if reach:
        show(tables.reach(results.reach, _possible(results)))
    if dmesg:
        from hwsim.cli.logs import log_line
        from hwsim.study.replay import replay

        for time_ns, _, text in replay(results, 0).log:
            say(log_line(time_ns, text))


def _as_json(results: Results, *, dmesg: bool, reach: bool) -> dict[str, Any]:
    from hwsim.study.summary import summary

    found = summary(results)
    if reach:
        found["reach"] = {"met": results.reach, "possible": _possible(results)}
    if dmesg:
        from hwsim.study.replay import replay

        found["dmesg"] = [
            {"time_ns": time_ns, "level": level, "text": text}
            for time_ns, level, text in replay(results, 0).log
        ]
    return found


def _possible(results: Results) -> dict[str, str]:
    """What the kernel of this scenario can do at all, with a word on each; from its profile."""
    from hwsim.explaining.reach import possible_reach
    from hwsim.study.replay import spec_of

    return possible_reach(spec_of(results, 0))
