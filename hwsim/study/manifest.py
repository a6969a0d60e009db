"""What identifies a study: the compiled scenario, the policies, the version of the model.

Two runs belong to the same study when these agree; the number of replications does not count, so
that more can be added later.  Nothing here depends on the machine or the clock: the same command
gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from hwsim.study.errors import StudyError
from hwsim.version import __version__

if TYPE_CHECKING:
    from hwsim.scenario import Scenario
    from hwsim.scenario.problems import Problem

FREE_KEYS = ("repeat", "description")  # may change without changing any replication


@dataclass(frozen=True, slots=True)
class Policy:
    """One variant of the scenario: the overrides that make it, and how it is called."""

    label: str
    overrides: tuple[str, ...] = ()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def under(scenario: Scenario, policies: Sequence[Policy]) -> list[Scenario]:
    """The scenario under each policy, compiled anew from what was read of its file; the mistakes of all
    policies at once."""
    from hwsim.scenario import ScenarioError
    from hwsim.scenario.sources import OVERRIDE

    found: list[Scenario] = []
    problems: dict[str, Problem] = {}
    for policy in policies:
        try:
            found.append(scenario.with_overrides(list(policy.overrides)))
        except ScenarioError as error:
            for problem in error.problems:
                file = "--vary" if problem.file == OVERRIDE else problem.file
                shown = dataclasses.replace(problem, file=file)
                problems.setdefault(str(shown), shown)
    if problems:
        raise ScenarioError(list(problems.values()))
    for one, policy in zip(found, policies, strict=True):
        if not policy.overrides and one.spec != scenario.spec:
            raise StudyError(f"{scenario.name}: the scenario was changed after it was checked; load it again")
    return found


def study_hash(scenarios: Sequence[Scenario], policies: Sequence[Policy]) -> str:
    """SHA-256, in hex, of all that decides what a replication of each policy gives: the compiled scenario of
    each policy, with the version of the model for its kernel."""
    facts = [[scenario.hash for scenario in scenarios], [list(policy.overrides) for policy in policies]]
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def manifest(
    scenarios: Sequence[Scenario],
    policies: Sequence[Policy],
    data: Mapping[str, Any],
    repeat: int,
    *,
    overrides: Sequence[str] = (),
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything needed to run the study again, as JSON values.

    ``scenarios`` are those that run, one a policy; ``data`` is the file before the policies' overrides.
    """
    first = scenarios[0]
    return {
        "study_hash": study_hash(scenarios, policies),
        "name": str(data.get("name", first.name)),
        "scenario": json.loads(canonical(data)),
        "overrides": list(overrides),
        "command": list(command),
        "seed": first.spec.seed,
        "horizon_ns": first.spec.horizon_ns,
        "repeat": repeat,
        "hwsim": __version__,
        "model_version": {one.spec.machine.kernel: one.model_version for one in scenarios},
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "simpy": metadata.version("simpy"),
    }


def differences(
    stored: Mapping[str, Any],
    stored_policies: Sequence[Policy],
    asked: Mapping[str, Any],
    policies: Sequence[Policy],
) -> list[str]:
    """What keeps two runs from being one study, one line a difference."""
    old = _flat({"model version": stored.get("model_version"), **_free(stored.get("scenario", {}))})
    new = _flat({"model version": asked.get("model_version"), **_free(asked.get("scenario", {}))})
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    lines = [f"{key}: {_shown(old, key)} in the file, {_shown(new, key)} asked for" for key in changed]
    was, now = [p.label for p in stored_policies], [p.label for p in policies]
    if [p.overrides for p in stored_policies] != [p.overrides for p in policies]:
        lines.append(f"policies: {', '.join(was)} in the file, {', '.join(now)} asked for")
    return lines


def _free(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in FREE_KEYS}


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(number), item) for number, item in enumerate(value)]
    else:
        return {path: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat.update(_flat(item, f"{path}.{key}" if path else key))
    return flat


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return canonical(flat[key]) if key in flat else "nothing"
