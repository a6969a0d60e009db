"""E4: innocents that anon_vma-wide collection kills, against the number of forked children."""

from __future__ import annotations

from experiments.common import ALONE, UNIFORM, Answer, Effort, lines_figure, of, study, sums, words
from hwsim.study.estimate import Estimate, ratio

QUESTION = "How many innocents does collecting the whole anon_vma kill, against the number of children?"
CHILDREN = (0, 1, 2, 4, 8, 16)
POLICIES = ("anon_vma_wide", "mapped_only")


def run(effort: Effort) -> Answer:
    """A web server that forks its workers, under both rules of collection."""
    series: dict[str, list[Estimate]] = {name: [] for name in POLICIES}
    mapped: list[Estimate] = []
    for children in CHILDREN:
        results = study(
            "web-server",
            {"machine.switches.collect_anon": POLICIES},
            effort,
            3000,
            f"task.web.children={children}",
            'errors.0.where={ region = "web/preloaded" }',
        )
        n = len(of(results.replications, 0))
        for number, name in enumerate(POLICIES):
            errors, signals = of(results.errors, number), of(results.signals, number)
            hit = errors[errors["mappers"] > 0]
            guiltless = signals[
                (signals["innocent"] == 1)
                & (signals["result"] == "killed")
                & signals["cause"].isin(["early", "forced"])
            ]
            series[name].append(ratio(sums(guiltless, n), sums(hit, n)))
            if number == 0:
                mapped.append(ratio(sums(hit, n, "mappers"), sums(hit, n)))
    lines = [
        *[(f"innocents killed, {name}", values) for name, values in series.items()],
        ("tasks that had it mapped", mapped),
    ]
    text = (
        f"With {CHILDREN[-1]} children an error in preloaded memory kills "
        f"{words(series['anon_vma_wide'][-1])} tasks that did not map the page, besides those that did; collecting "
        f"mapped processes only, as 2.6.32 does, {words(series['mapped_only'][-1])}. With no children there is nobody "
        "to share the guilt. The innocents are relatives that have copied the page, or never touched it."
    )
    figure = lines_figure(
        "Innocents killed for each error in forked memory",
        CHILDREN,
        series,
        "children of the server",
        "innocents killed per handled error",
        ticks=[str(each) for each in CHILDREN],
    )
    head = [f"{each} children" for each in CHILDREN]
    assumptions = (
        UNIFORM,
        ALONE,
        "workers share preloaded pages until their first store; early_kill = 1",
    )
    return Answer("E4", QUESTION, head, lines, figure, text, assumptions)
