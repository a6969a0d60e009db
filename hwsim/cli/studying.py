"""What ``run`` and ``compare`` share: where the results go, progress, failures, interrupts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hwsim.cli.progress import progress
from hwsim.cli.shell import FAILED, SCRIPT_MISTAKE, WRONG, Interrupted, Interrupts, note

if TYPE_CHECKING:
    from hwsim.scenario import Scenario
    from hwsim.study.manifest import Policy
    from hwsim.study.results import Results

FAILURES_SHOWN = 5


def default_out(name: str, scenario: Scenario, policies: Sequence[Policy]) -> Path:
    """``results/NAME-HASH.sqlite``: another scenario or another policy is another file, so that
    nothing is mixed up and running the same again finds its file."""
    from hwsim.study.manifest import study_hash, under

    plain = "".join(c if c.isalnum() else "-" for c in name.lower())
    slug = "-".join(part for part in plain.split("-") if part) or "study"
    return Path("results") / f"{slug}-{study_hash(under(scenario, policies), policies)[:8]}.sqlite"


def note_uneventful(scenario: Scenario, policies: Sequence[Policy], *, quiet: bool) -> None:
    """Say so where nothing can happen: a study of it is possible, and mostly not what was meant."""
    from hwsim.scenario.load import UNEVENTFUL
    from hwsim.study.manifest import under

    if quiet:
        return
    for one, policy in zip(under(scenario, policies), policies, strict=True):
        if one.uneventful:
            where = f" under {policy.label}" if len(policies) > 1 else ""
            note(f"hwsim: {scenario.path}{where}: {UNEVENTFUL}")


def studied(
    scenario: Scenario,
    policies: Sequence[Policy],
    out: Path,
    command: Sequence[str],
    *,
    repeat: int | None,
    overrides: Sequence[str],
    workers: int | None,
    repair: bool,
    screen: bool,
    verbose: bool,
    quiet: bool,
) -> Results:
    """Run what is missing of a study, with a progress bar; interrupted, say what is kept and how to go on."""
    from hwsim.study.conduct import conduct

    interrupts = Interrupts()
    try:
        with interrupts, progress(scenario.name, quiet=quiet) as report:
            results = conduct(
                scenario, policies, repeat=repeat, out=out, workers=workers, overrides=overrides,
                command=command, repair=repair, screen=screen, progress=report, shield=interrupts.shield,
            )  # fmt: skip
    except Interrupted as interrupt:
        note(f"hwsim: interrupted. {_kept(out)}")
        raise typer.Exit(128 + interrupt.number) from None
    if results.repaired:
        note(f"hwsim: {results.repaired}")
    if verbose:
        _note_settled(results)
    return results


def _note_settled(results: Results) -> None:
    """How many machines of the file were played under each policy, and what settled the others."""
    for policy, settled in zip(results.policy_list, results.settled, strict=True):
        machines = sum(settled.values())
        played = settled.pop("played", 0)
        others = ", the others:" if settled else ""
        note(f"{policy.label}: {played:,} of {machines:,} machines played{others}")
        for how, times in sorted(settled.items(), key=lambda each: (-each[1], each[0])):
            note(f"  {times:,} ({100.0 * times / machines:.1f} %) {how}")


def _kept(out: Path) -> str:
    from hwsim.study.errors import StoreError
    from hwsim.study.opening import read_store

    try:
        with read_store(out) as store:
            done = len(store.done())
            asked = store.manifest()["repeat"] * len(store.policies())
    except (StoreError, KeyError):
        return "Nothing was finished; run the same command again to start over."
    return f"{done} of {asked} replications are kept in {out}; run the same command again to go on."


def report_failures(results: Results, file: Path) -> None:
    """Name the failed replications with the command that shows each; leaves with status 1, or 2 when a
    script asked for something impossible."""
    failures = results.failures
    if not failures:
        return
    mistakes = sorted({failure.message for failure in failures if failure.kind == SCRIPT_MISTAKE})
    for message in mistakes:
        note(f"hwsim: {file}: {message}")
    if mistakes:
        raise typer.Exit(WRONG)
    note(f"hwsim: {len(failures)} replication{'s' if len(failures) > 1 else ''} failed")
    for failure in failures[:FAILURES_SHOWN]:
        note(f"  {failure}")
        policy = f" --policy {failure.policy}" if len(results.policy_list) > 1 else ""
        note(f"    hwsim replay {results.path} --replication {failure.replication}{policy}")
    if len(failures) > FAILURES_SHOWN:
        note(f"  and {len(failures) - FAILURES_SHOWN} more")
    raise typer.Exit(FAILED)


def command_line(name: str, file: Path, **options: Any) -> list[str]:
    """The command as recorded with the results: what shapes them, not where they went or how fast."""
    words = ["hwsim", name, str(file)]
    for option, value in options.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is not None:
                words += [f"--{option}", str(one)]
    return words
