"""What identifies a study: the compiled scenario, the policies, the version of the model.

Two runs belong to the same study when these agree; the number of replications does not count, so
that more can be added later.  Nothing here depends on the machine or the clock: the same command
gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwsim.scenario import Scenario

FREE_KEYS = ("repeat", "description")  # may change without changing any replication


@dataclass(frozen=True, slots=True)
class Policy:
    """One variant of the scenario: the overrides that make it, and how it is called."""

    label: str
    overrides: tuple[str, ...] = ()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def study_hash(scenario: Scenario, policies: Sequence[Policy]) -> str:
    """SHA-256, in hex, of all that decides what a replication of each policy gives."""
    facts = [scenario.hash, [list(policy.overrides) for policy in policies]]
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def manifest(
    scenario: Scenario,
    policies: Sequence[Policy],
    repeat: int,
    *,
    overrides: Sequence[str] = (),
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything needed to run the study again, as JSON values."""
    from hwsim import __version__
    from hwsim.scenario import MODEL_VERSION

    return {
        "study_hash": study_hash(scenario, policies),
        "scenario_hash": scenario.hash,
        "name": scenario.name,
        "scenario": json.loads(canonical(scenario.data)),
        "overrides": list(overrides),
        "command": list(command),
        "seed": scenario.spec.seed,
        "horizon_ns": scenario.spec.horizon_ns,
        "repeat": repeat,
        "hwsim": __version__,
        "model_version": MODEL_VERSION,
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
