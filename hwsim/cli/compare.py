"""``hwsim compare``: policies on the same errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
from hwsim.cli.shell import guarded, note, print_json, say, show, wrong

if TYPE_CHECKING:
    from hwsim.study.pair import Comparison


@guarded
def compare(
    file: ScenarioFile,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B",
            help="Values to compare, the first being the baseline; repeated keys are combined.",
            show_default="vm.memory_failure_early_kill=0,1",
        ),
    ] = None,
    repeat: Repeat = None,
    seed: Seed = None,
    overrides: Set = None,
    out: Out = None,
    as_json: Json = False,
    detected: Detected = False,
    workers: Workers = None,
    repair: Repair = False,
    no_screen: NoScreen = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Compare policies on the same errors, pair by pair.

    Ends in one sentence with the paired difference and its 95 % interval.
    """
    from hwsim.cli.studying import command_line, default_out, note_uneventful, report_failures, studied
    from hwsim.study import pair
    from hwsim.study.conduct import prepared

    values = _parsed(vary) if vary else dict(pair.DEFAULT_VARY)
    policies = pair.policies_of(values)
    scenario = prepared(file, seed=seed, overrides=overrides or [])
    note_uneventful(scenario, policies, quiet=quiet)
    path = out or default_out(f"{scenario.name} compare", scenario, policies)
    command = command_line("compare", file, vary=vary, seed=seed, repeat=repeat, set=overrides)
    results = studied(
        scenario, policies, path, command,
        repeat=repeat, overrides=overrides or [], workers=workers, repair=repair, screen=not no_screen,
        verbose=verbose, quiet=quiet,
    )  # fmt: skip
    if len(results.replications):
        _print(pair.comparison(results), as_json=as_json, detected=detected)
    if not quiet:
        note(f"results in {path}")
    report_failures(results, file)


def _print(found: Comparison, *, as_json: bool, detected: bool) -> None:
    from hwsim.show import tables

    sentence = tables.sentence(found)
    if as_json:
        print_json({**found.as_dict(), "sentence": sentence})
    else:
        show(tables.comparison(found, detected=detected))
        say(sentence)
    if found.pairing.mismatches and not found.pairing.faults:
        first = found.pairing.mismatches[0]
        note(f"hwsim: warning: the policies did not meet the same errors; the first: {first}")


def _parsed(vary: list[str]) -> dict[str, list[str]]:
    """``KEY=a,b`` as a key with its values; commas inside quotes, brackets and braces do not divide."""
    found: dict[str, list[str]] = {}
    problems = []
    for text in vary:
        key, sign, values = text.partition("=")
        key = key.strip()
        if not sign or not key or not values.strip():
            problems.append(f"--vary {text}: allowed is KEY=a,b such as vm.memory_failure_early_kill=0,1")
        elif key in found:
            problems.append(f"--vary {text}: {key} is given twice; put all its values into one --vary")
        else:
            found[key] = _divided(values)
            if not all(found[key]):
                problems.append(f"--vary {text}: a value is missing beside a comma")
    if problems:
        wrong("\n".join(problems))
    return found


def _divided(values: str) -> list[str]:
    parts = [""]
    depth = 0
    quote = ""
    for character in values:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts]
