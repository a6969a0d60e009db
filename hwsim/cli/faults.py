"""``hwsim faults``: DRAM faults of very many DIMMs, without machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.options import Json, Quiet, ScenarioFile, Seed, Set
from hwsim.cli.shell import guarded, note, print_json, say, wrong

if TYPE_CHECKING:
    from hwsim.study.estimate import Estimate


@guarded
def faults(
    file: ScenarioFile,
    overrides: Set = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, max=10**12, metavar="N", help="DIMMs to sample.", show_default="as the scenario says"
        ),
    ] = None,
    seed: Seed = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Sample DRAM faults and what ECC leaves of them."""
    from hwsim.scenario.foreign import belongs_to
    from hwsim.study.faults import fault_study
    from hwsim.study.rehearsal import load

    scenario = load(file, overrides or [])
    if scenario.dram is None:
        told = belongs_to("scenario", str(file))
        wrong(f"{file}: dram: required table is missing; {told}\n    allowed: [dram], see scenarios/faults")
    number = scenario.dram.trials if trials is None else trials
    model = scenario.dram.to_model()
    found = fault_study(model, number, scenario.spec.seed if seed is None else seed)
    if as_json:
        print_json(
            {
                "scenario": scenario.name,
                "trials": found.trials,
                "p_any_fault": _plain(found.p_any_fault),
                "p_uncorrected": _plain(found.p_uncorrected),
                "p_by_year": [
                    {"year": min(year, model.years), **_plain(each)}
                    for year, each in enumerate(found.p_by_year, start=1)
                ],
                "trials_per_second": found.trials_per_second,
            }
        )
        return
    dimms, years = "DIMM" + "s" * (found.trials > 1), "year" + "s" * (model.years != 1)
    say(f"{scenario.name}: {found.trials:,} {dimms} over {model.years:g} {years}, ECC {model.ecc}")
    say(f"  any fault         {_text(found.p_any_fault)}")
    say(f"  uncorrected       {_text(found.p_uncorrected)}")
    for year, each in enumerate(found.p_by_year, start=1):
        say(f"    by year {min(year, model.years):3g}     {_text(each)}")
    say(f"Share of DIMMs, 95 % interval ({found.p_any_fault.method}).")
    if not quiet:
        note(f"{found.trials_per_second:.3g} DIMMs a second")


def _plain(each: Estimate) -> dict[str, Any]:
    return {"estimate": each.value, "low": each.low, "high": each.high, "n": each.n, "method": each.method}


def _text(each: Estimate) -> str:
    return f"{each.value:.4g} ({each.low:.4g} to {each.high:.4g})"
