"""What figures and tables read from results: policies, the horizon in words, estimates with their method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from hwsim import units
from hwsim.printable import escaped
from hwsim.record import Cause, Found, Result
from hwsim.show.rounding import plain
from hwsim.study import estimate
from hwsim.study.columns import unit_of
from hwsim.study.estimate import Estimate
from hwsim.study.fell import Fell, fell, field_rates

EXACT = "exact"  # machines without chance: there is nothing to estimate
ALL_ALIKE = "exact, as without chance all machines are the same"


class Results(Protocol):
    """The part of a study's results that is shown."""

    @property
    def replications(self) -> pd.DataFrame: ...
    @property
    def errors(self) -> pd.DataFrame: ...
    @property
    def signals(self) -> pd.DataFrame: ...
    @property
    def lost_writes(self) -> pd.DataFrame: ...
    @property
    def policies(self) -> pd.DataFrame: ...
    @property
    def manifest(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Policy:
    """One column of a comparison: its number in the results and its name."""

    number: int
    label: str


def policies(results: Results) -> list[Policy]:
    """The policies that have at least one finished replication, in their order."""
    frame = results.policies.sort_values("policy")
    seen = set(results.replications["policy"].unique().tolist())
    named = [Policy(int(p), str(t)) for p, t in zip(frame["policy"], frame["label"], strict=True)]
    return [Policy(p.number, escaped(p.label) or "as in the scenario") for p in named if p.number in seen]


def of_policy(frame: pd.DataFrame, policy: int) -> pd.DataFrame:
    """The rows of one policy, in order of replication."""
    return frame[frame["policy"] == policy].sort_values("replication", kind="stable")


def without_interval(share: Estimate) -> Estimate:
    """What an estimate comes to on machines without chance."""
    return Estimate(share.value, None, None, EXACT, share.n)


def column(results: Results, policy: int, field: str) -> list[float]:
    """One number a replication."""
    return [float(x) for x in of_policy(results.replications, policy)[field]]


def mean(results: Results, policy: int, field: str) -> Estimate:
    """The mean of one column over the replications of a policy."""
    if exact(results):
        values = column(results, policy, field)
        return Estimate(values[0] if values else None, None, None, EXACT, len(values))
    return estimate.mean(column(results, policy, field), counts=not unit_of(field))


def horizon_ns(results: Results) -> int:
    """How long one machine was watched; untold, the longest run, since a panic can end one early."""
    told = results.manifest.get("horizon_ns")
    if told:
        return int(told)
    ends = results.replications["end_ns"]
    return int(ends.max()) if len(ends) else 0


def exact(results: Results) -> bool:
    """Whether the machines are without chance, so that all replications of a policy are the same."""
    varied = any("machine.chance" in text for texts in results.policies["overrides"] for text in texts)
    return not varied and results.manifest.get("scenario", {}).get("machine", {}).get("chance") == "off"


def span(results: Results) -> str:
    """The horizon in words: ``90 d``; of policies that differ in it ``1 d or 2 d``."""
    varied = [
        text.partition("=")[2].strip().strip("\"'")
        for texts in results.policies["overrides"]
        for text in texts
        if text.partition("=")[0].strip() == "horizon"
    ]
    return " or ".join(dict.fromkeys(varied)) or units.human_duration(horizon_ns(results))


def name(results: Results) -> str:
    """The scenario's name as the start of a caption, or nothing."""
    told = escaped(str(results.manifest.get("name") or ""))
    return f"{told[:1].upper()}{told[1:]}. " if told else ""


def methods(estimates: Iterable[Estimate]) -> str:
    """Every method in use, commonest first, and how many replications they stand on."""
    every = list(estimates)
    used = Counter(m.method for m in every)
    sizes = sorted({m.n for m in every})
    names = "; ".join(name for name, _ in sorted(used.items(), key=lambda item: (-item[1], item[0])))
    return f"{names}; n = {replications(sizes)}"


def replications(sizes: Sequence[int]) -> str:
    """``400 replications`` or ``380 to 400 replications``."""
    if not sizes:
        return "0 replications"
    if len(sizes) > 1:
        return f"{plain(min(sizes), 0)} to {plain(max(sizes), 0)} replications"
    return f"{plain(sizes[0], 0)} replication{'' if sizes[0] == 1 else 's'}"


def per_machine(results: Results, policies: Iterable[int]) -> str:
    """What a mean per machine stands for: the time it was watched, and one error if each had just that."""
    those = [fell(results, policy) for policy in policies]
    alone = f", one {named(those[0].what)} in each" if all(each.one_each for each in those) else ""
    return f"Mean per machine over {span(results)}{alone}"


def named(what: str) -> str:
    """What falls, in words."""
    return "DRAM fault" if what == "fault" else what


def company(fell: Fell) -> str:
    """What share of the errors was not alone in its machine, in words."""
    share = fell.share_not_alone
    if not share:
        return "each alone in its machine"
    return (
        "none alone in its machine"
        if share == 1.0
        else f"{100 * share:.3g} % of them not alone in their machine"
    )


def field_rate(results: Results) -> str:
    """The field rates of the scenario as a sentence; nothing if it has none."""
    rates = field_rates(results.manifest)
    if len(rates) == 1:
        return f" Field rate of a machine: {next(iter(rates.values()))}."
    listed = ", ".join(f"{rate} ({stream})" for stream, rate in rates.items())
    return f" Field rates of a machine: {listed}." if rates else ""


def found_by(results: Results, policy: int) -> dict[str, int]:
    """How many errors of all replications were found each way."""
    counts = of_policy(results.errors, policy)["found"].value_counts()
    return {str(path): int(count) for path, count in counts.items() if path != Found.NONE}


def times(results: Results, policy: int) -> list[tuple[str, Estimate, int]]:
    """Mean waits in ns with the number of cases: to detection, to containment, from there to a late kill."""
    errors = of_policy(results.errors, policy)
    signals = of_policy(results.signals, policy)
    # Early kills come while the page is still being contained: no wait from there to them exists.
    deaths = signals[(signals["result"] == Result.KILLED) & (signals["cause"] == Cause.LATE)].merge(
        errors[["replication", "error", "boot", "contained_ns"]],
        on=["replication", "error", "boot"],  # after a reboot the frame is another page, not contained
        how="inner",
    )
    machines = pd.Index([int(r) for r in column(results, policy, "replication")])
    found = []
    for name, frame, first, last in (
        ("onset to detection", errors, "onset_ns", "found_ns"),
        ("detection to containment", errors, "found_ns", "contained_ns"),
        ("containment to late kill", deaths, "contained_ns", "done_ns"),
    ):
        known = frame[frame[first].notna() & frame[last].notna()]
        known = known[known[last] >= known[first]]
        if known.empty:
            continue
        waits = (known[last] - known[first]).astype("float64")
        of_machine = waits.groupby(known["replication"]).agg(["sum", "count"]).reindex(machines, fill_value=0)
        tops, bottoms = ([float(x) for x in of_machine[key]] for key in ("sum", "count"))
        found.append((name, estimate.ratio(tops, bottoms, counts=False), len(known)))
    return found
