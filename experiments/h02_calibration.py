"""H2: uncorrected errors of a year under textbook codes and codes as built, against what the field reports."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from experiments.common import Answer, Effort, words
from hwsim.hardware.dram.dimms import GEOMETRIES
from hwsim.hardware.dram.fault_model import FaultModel
from hwsim.hardware.dram.fit_tables import FIT_TABLES
from hwsim.show import style
from hwsim.study.estimate import Estimate
from hwsim.study.faults import fault_study

QUESTION = "Do FIT tables and textbook codes give the uncorrected errors of the field?"
DIMMS, YEARS = 16, 7.0
CASES = {
    "Jaguar, SECDED": ("jaguar", "secded"),
    "Jaguar, chipkill": ("jaguar", "chipkill"),
    "Alibaba, SECDED": ("alibaba", "secded"),
    "Alibaba, chipkill": ("alibaba", "chipkill"),
    "Alibaba, SDDC as built": ("alibaba", "sddc"),
}
# Machines with an uncorrected error in a year.
FIELD = {
    "Google, 2009": (0.013, 0.013),
    "Alibaba, 12 to 24 DIMMs": (0.004, 0.008),
}


def run(effort: Effort) -> Answer:
    """The sampler for one kind of DIMM; a machine-year is 16 of them for a seventh of their life."""
    found = {name: _per_machine_year(*case, trials=effort.repeat(30_000_000)) for name, case in CASES.items()}
    text = (
        f"Neither. With the faults of Jaguar a machine of {DIMMS} DIMMs has an uncorrected error in "
        f"{words(found['Jaguar, SECDED'], True)} of the years under SECDED, and in "
        f"{words(found['Jaguar, chipkill'], True)} under ideal chipkill; the field reports 0.4 to 1.3 %. Textbook SECDED is too "
        "pessimistic, as few servers have it, and two faulty chips that meet are too rare to explain the field: most of its "
        "uncorrected errors come from one chip. With the share of faults of each mode that had an uncorrected error in "
        f"Alibaba's logs it is {words(found['Alibaba, SDDC as built'], True)}, which is what those logs say and no prediction."
    )
    assumptions = (
        f"{DIMMS} DIMMs of one rank of 18 x4 chips, {YEARS:g} years, a scrub of 24 h; DIMMs are alike and fail apart",
        "Jaguar: DDR2, Sridharan and Liberty, SC 2012. Alibaba: DDR4, as classified in lpharch/DRAM_FAULT_SIM",
        "field: Schroeder, Pinheiro and Weber, SIGMETRICS 2009; Alibaba's rate for each DIMM times 12 to 24 DIMMs",
    )
    lines = [(name, [each]) for name, each in found.items()]
    return Answer("H2", QUESTION, ["machines a year"], lines, _figure(found), text, assumptions)


def _per_machine_year(table: str, ecc: str, trials: int) -> Estimate:
    model = FaultModel(GEOMETRIES["ddr2-faultsim"], FIT_TABLES[table], ecc, YEARS, 24.0)
    one = fault_study(model, trials, 1).p_uncorrected

    def scaled(p: float | None) -> float | None:
        return None if p is None else 1.0 - (1.0 - p) ** (DIMMS / YEARS)

    return replace(one, value=scaled(one.value), low=scaled(one.low), high=scaled(one.high))


def _figure(found: dict[str, Estimate]) -> Figure:
    with style.context():
        figure = Figure(figsize=(style.WIDTH_IN, 3.2), layout=style.layout())
        axes = figure.add_subplot()
        names = [*found, *FIELD]
        for place, each in enumerate(found.values()):
            value = each.value or 0.0
            low, high = each.low or 0.0, each.high or value
            look = style.series(0)
            axes.errorbar(
                [value], [place], xerr=[[value - low], [high - value]], color=look.colour, marker=look.marker,
                markersize=6, capsize=3, markeredgecolor=style.INK, markeredgewidth=0.5,
            )  # fmt: skip
        look = style.series(1)
        for place, (low, high) in enumerate(FIELD.values(), start=len(found)):
            axes.plot([low, high], [place, place], color=look.colour, linewidth=4, solid_capstyle="butt")
            axes.plot([low, high], [place, place], color=look.colour, marker=look.marker, linestyle="none")
        axes.axvspan(0.004, 0.013, color=look.colour, alpha=0.12, zorder=0)
        axes.set_xscale("log")
        axes.set_xlim(3e-4, 0.3)
        axes.set_xticks([1e-3, 1e-2, 1e-1], ["0.1 %", "1 %", "10 %"])
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("machines with an uncorrected error in a year")
        axes.set_title("Textbook codes against the field")
        axes.grid(axis="x")
        style.caption(
            figure,
            f"Points: {DIMMS} DIMMs, sampled, with 95 % intervals (Wilson; mostly smaller than the marker). "
            "Last two rows and the band: what the field reports.",
        )
    return figure
