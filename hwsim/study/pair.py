"""Compare policies on the same errors: paired differences with their intervals.

Every policy runs the same replications; a replication draws the same errors at the same times and
addresses under each (checked, not assumed).  The difference is therefore taken pair by pair, which
needs far fewer replications than two separate runs.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwsim.study.conduct import Progress, conduct, prepared, variants
from hwsim.study.errors import StudyError
from hwsim.study.estimate import (
    Difference,
    Estimate,
    holm,
    mean,
    paired_difference,
    paired_ratio_difference,
    ratio,
)
from hwsim.study.fell import COUNTS, fell, field_rates, what_falls
from hwsim.study.manifest import Policy
from hwsim.study.metrics import EXTRA_METRICS, METRICS, PATHS, Metric, Tally, common_replications, tally
from hwsim.study.results import Results

if TYPE_CHECKING:
    from hwsim.scenario import Scenario

EARLY_KILL = "vm.memory_failure_early_kill"
DEFAULT_VARY: Mapping[str, Sequence[Any]] = {EARLY_KILL: (0, 1)}


@dataclass(frozen=True, slots=True)
class Row:
    """One metric compared: an estimate per policy, and each policy's difference to the baseline."""

    metric: Metric
    per: str  # replication | error or DRAM fault (that fell) | detected (error)
    found: str  # '' for all errors, or the way they were found (per detected error only)
    estimates: tuple[Estimate, ...]
    differences: tuple[Difference | None, ...]  # None for the baseline

    def as_dict(self) -> dict[str, Any]:
        return {
            "metric": self.metric.name,
            "unit": self.metric.unit,
            "per": self.per,
            "found": self.found,
            "estimates": [estimate.as_dict() for estimate in self.estimates],
            "differences": [None if d is None else d.as_dict() for d in self.differences],
        }


@dataclass(frozen=True, slots=True)
class Pairing:
    """Whether the policies met the same errors: how many were compared, the first that differ.

    ``by_policy``: those of each policy alone.  ``faults``: the number of DRAM faults that all policies met,
    if only what their ECC makes of these differs.
    """

    errors: int
    mismatches: tuple[str, ...] = ()
    by_policy: tuple[tuple[str, ...], ...] = ()
    faults: int = 0

    @property
    def ok(self) -> bool:
        return not self.mismatches

    def of(self, policy: int) -> tuple[str, ...]:
        """The first errors that differ under one policy."""
        return self.by_policy[policy] if self.by_policy else self.mismatches


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Policies on the same errors.  ``rows`` hold every metric; ``results`` the data behind them."""

    results: Results
    labels: tuple[str, ...]
    baseline: int
    replications: int  # finished under every policy
    rows: tuple[Row, ...]
    pairing: Pairing

    def row(self, metric: str, per: str = "replication", found: str = "") -> Row:
        """The row of one metric: ``per`` replication, error, fault or detected, ``found`` one way or any."""
        for row in self.rows:
            if (row.metric.name, row.per, row.found) == (metric, per, found):
                return row
        raise KeyError(f"no row for {metric} per {per} {found}".rstrip())

    def same_count(self, policy: int) -> bool:
        """Whether as many errors, or DRAM faults, fell on each machine as under the baseline."""
        difference = self.row(COUNTS[what_falls(self.results.manifest)]).differences[policy]
        return difference is None or (difference.value == 0 and difference.low is None)

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.labels)}: {self.replications} replications each>"

    @property
    def paths(self) -> tuple[str, ...]:
        """The ways of detection that occurred."""
        return tuple(path for path in PATHS if any(row.found == path for row in self.rows))

    def as_dict(self) -> dict[str, Any]:
        return {
            "policies": list(self.labels),
            "baseline": self.labels[self.baseline],
            "replications": self.replications,
            "pairing": {"errors": self.pairing.errors, "mismatches": list(self.pairing.mismatches)},
            "fell": [fell(self.results, policy).as_dict() for policy in range(len(self.labels))],
            "field_rate": field_rates(self.results.manifest),
            "rows": [row.as_dict() for row in self.rows],
        }


def compare(
    scenario: Scenario | str | os.PathLike[str],
    vary: Mapping[str, Sequence[Any]] | None = None,
    *,
    repeat: int | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    out: str | os.PathLike[str] | None = None,
    workers: int | None = 1,
    progress: Progress | None = None,
    repair: bool = False,
    screen: bool = True,
) -> Comparison:
    """Run a scenario under every combination of ``vary`` (default: early kill 0 and 1), paired.

    ``vary`` maps a scenario key to its values; the first combination is the baseline.
    """
    policies = policies_of(vary or DEFAULT_VARY)
    ready = prepared(scenario, seed=seed, overrides=overrides)
    results = conduct(
        ready, policies, repeat=repeat, overrides=overrides, out=out, workers=workers, progress=progress,
        repair=repair, screen=screen,
    )  # fmt: skip
    return comparison(results)


def policies_of(vary: Mapping[str, Sequence[Any]]) -> list[Policy]:
    """Every combination of the values; the first is the baseline."""
    problems = [
        f"vary: {key} gives every replication other errors, so nothing would be paired"
        for key in vary
        if key in ("seed", "repeat")
    ]
    problems += [
        f"vary: {key}: a list of values is needed, such as [0, 1], not {values!r}"
        for key, values in vary.items()
        if isinstance(values, str) or not isinstance(values, Iterable)
    ]
    if problems:
        raise StudyError("\n".join(problems))
    policies = variants(vary)
    if len(policies) < 2:
        problems.append("vary: at least two values are needed to compare, as in --vary KEY=a,b")
    if len({policy.overrides for policy in policies}) < len(policies):
        problems.append("vary: a value is given twice")
    if problems:
        raise StudyError("\n".join(problems))
    return policies


def comparison(results: Results, baseline: int = 0) -> Comparison:
    """Compare the policies of results that are already there."""
    if len(results.policy_list) < 2:
        raise StudyError("these results hold one policy; use hwsim compare to make results of two or more")
    rows = estimates(results, baseline)
    labels = tuple(policy.label for policy in results.policy_list)
    count = len(common_replications(results))
    return Comparison(results, labels, baseline, count, rows, pairing(results, baseline))


def estimates(results: Results, baseline: int = 0) -> tuple[Row, ...]:
    """Every metric of every policy: per machine, per error, per detected error, by the way of detection.

    Where all errors are those of DRAM faults it is per fault: how many lines of one are met is an answer.
    """
    common, what = common_replications(results), what_falls(results.manifest)
    tallies = [tally(results, policy, common, COUNTS[what]) for policy in range(len(results.policy_list))]
    rows = [_row_per_replication(metric, tallies, baseline) for metric in (*METRICS, *EXTRA_METRICS)]
    rows += [_row_per_error(metric, tallies, baseline, what) for metric in METRICS]
    rows += [_row_per_detected(metric, tallies, baseline, "") for metric in METRICS]
    for path in PATHS:
        if any(path in found.path for found in tallies):
            rows += [
                _row_per_detected(metric, tallies, baseline, path) for metric in METRICS if metric.by_path
            ]
    return tuple(rows)


def pairing(results: Results, baseline: int = 0, show: int = 5) -> Pairing:
    """Check that error by error onset, frame and line agree, up to the earlier end of the two machines."""
    keys = ["replication", "error"]
    place = ["onset_ns", "pfn", "line"]
    errors, machines = results.errors, results.replications
    compared = 0
    wrong: list[tuple[str, ...]] = []
    sources: set[int] = set()
    base = errors[errors["policy"] == baseline][keys + place + ["source"]]
    base_end = machines[machines["policy"] == baseline][["replication", "end_ns"]]
    for policy, variant in enumerate(results.policy_list):
        if policy == baseline:
            wrong.append(())
            continue
        end = base_end.merge(
            machines[machines["policy"] == policy][["replication", "end_ns"]],
            on="replication",
            suffixes=("", "_b"),
        )
        end["until_ns"] = end[["end_ns", "end_ns_b"]].min(axis=1)
        other = errors[errors["policy"] == policy][keys + place + ["source"]]
        both = base.merge(other, on=keys, how="outer", suffixes=("", "_b"))
        both = both.merge(end[["replication", "until_ns"]], on="replication")
        onset = both["onset_ns"].fillna(both["onset_ns_b"])
        both = both[onset < both["until_ns"]]
        same = (both["onset_ns"] == both["onset_ns_b"]) & (both["pfn"] == both["pfn_b"])
        same &= both["line"] == both["line_b"]
        same = same.fillna(False).astype(bool)  # missing on one side: not the same
        compared = max(compared, len(both))
        differing = both[~same]
        sources.update(differing["source"].fillna(differing["source_b"]).astype(int))
        wrong.append(
            tuple(
                f"replication {row.replication}, error {row.error}: not the same under {variant.label}"
                for row in differing.head(show).itertuples()
            )
        )
    every = tuple(line for lines in wrong for line in lines)
    return Pairing(compared, every[:show], tuple(wrong), _same_faults(results, sources) if every else 0)


def _same_faults(results: Results, sources: set[int]) -> int:
    """DRAM faults of every policy, if they are the same under all and no error of another source differs."""
    faults = results.faults
    if faults.empty or not sources <= set(faults["source"]):
        return 0
    what = [
        "replication",
        "fault",
        "onset_ns",
        "mode",
        "permanence",
        "dimm",
        "rank",
        "chip",
        "bank",
        "row",
        "column",
    ]
    tables = [
        faults[faults["policy"] == n][what].reset_index(drop=True) for n in range(len(results.policy_list))
    ]
    return len(tables[0]) if all(table.equals(tables[0]) for table in tables) else 0


def _row_per_replication(metric: Metric, tallies: Sequence[Tally], baseline: int) -> Row:
    values = [found.whole[metric.name] for found in tallies]
    estimates = tuple(mean(x.tolist(), counts=metric.counts) for x in values)
    raw = [
        None if policy == baseline else paired_difference(values[baseline].tolist(), x.tolist())
        for policy, x in enumerate(values)
    ]
    return Row(metric, "replication", "", estimates, _adjusted(raw))


def _row_per_error(metric: Metric, tallies: Sequence[Tally], baseline: int, what: str) -> Row:
    """Per error or fault that fell; no difference where another number fell than under the baseline."""
    pairs = [(found.whole[metric.name].tolist(), found.fell.tolist()) for found in tallies]
    estimates = tuple(ratio(*pair, counts=metric.counts) for pair in pairs)
    raw: list[Difference | None] = []
    for policy, pair in enumerate(pairs):
        if policy == baseline:
            raw.append(None)
        elif pair[1] == pairs[baseline][1]:
            raw.append(paired_ratio_difference(pairs[baseline], pair))
        else:
            raw.append(Difference(None, None, None, f"the numbers of {what}s differ", len(pair[1])))
    return Row(metric, what, "", estimates, _adjusted(raw))


def _row_per_detected(metric: Metric, tallies: Sequence[Tally], baseline: int, path: str) -> Row:
    pairs = [_detected(found, metric.name, path) for found in tallies]
    estimates = tuple(ratio(*pair, counts=metric.counts) for pair in pairs)
    raw = [
        None if policy == baseline else paired_ratio_difference(pairs[baseline], pair)
        for policy, pair in enumerate(pairs)
    ]
    return Row(metric, "detected", path, estimates, _adjusted(raw))


def _detected(found: Tally, name: str, path: str) -> tuple[list[float], list[float]]:
    if not path:
        return found.whole[name].tolist(), found.detected.tolist()
    zeros = [0.0] * len(found.replications)
    if path not in found.path:
        return zeros, zeros
    return found.path[path][name].tolist(), found.path_detected[path].tolist()


def _adjusted(raw: Sequence[Difference | None]) -> tuple[Difference | None, ...]:
    """Holm over the alternatives when there is more than one."""
    if sum(d is not None for d in raw) < 2:
        return tuple(raw)
    adjusted = holm([None if d is None else d.p_value for d in raw])
    return tuple(
        None if d is None else dataclasses.replace(d, p_adjusted=p)
        for d, p in zip(raw, adjusted, strict=True)
    )
