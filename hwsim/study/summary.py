"""The numbers of a study as JSON values: every one with its interval, method and n."""

from __future__ import annotations

from typing import Any

from hwsim.study.fell import fell, field_rates
from hwsim.study.pair import estimates
from hwsim.study.results import Results


def summary(results: Results) -> dict[str, Any]:
    """What was run and every metric per machine, per error, per detected error, by the way of detection."""
    policies = [policy.label for policy in results.policy_list]
    rows = []
    for row in estimates(results):
        found = row.as_dict()
        del found["differences"]
        rows.append(found)
    return {
        "name": results.manifest["name"],
        "study_hash": results.manifest["study_hash"],
        "seed": results.manifest["seed"],
        "horizon_ns": results.manifest["horizon_ns"],
        "repeat": results.manifest["repeat"],
        "finished": len(results.replications),
        "failed": len(results.failures),
        "policies": policies,
        "fell": [fell(results, number).as_dict() for number in range(len(policies))],
        "field_rate": field_rates(results.manifest),
        "rows": rows,
    }
