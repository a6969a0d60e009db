"""What a few machines of each shipped scenario come to, in whole numbers: ``python -m tests.golden`` renews.

A number that changes here is a change of results: name it in CHANGELOG and raise MODEL_VERSION.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.shipped import NAMES, run

FOLDER = Path(__file__).with_name("golden")
REPLICATIONS = 3
_NOT_SUMS = ("replication", "end_ns", "events")


def summary(name: str) -> dict[str, Any]:
    """Sums over the replications under both policies, and everything that was met."""
    found: dict[str, Any] = {}
    for early_kill in (0, 1):
        rows = [each.row for each in run(name, early_kill).replications[:REPLICATIONS]]
        sums = {
            key: sum(getattr(row, key) for row in rows) for key in rows[0]._fields if key not in _NOT_SUMS
        }
        reach: dict[str, int] = {}
        for each in run(name, early_kill).replications[:REPLICATIONS]:
            for key, times in each.reach.items():
                reach[key] = reach.get(key, 0) + times
        found[f"early_kill={early_kill}"] = {"sums": sums, "reach": dict(sorted(reach.items()))}
    return found


def text(name: str) -> str:
    """The summary as it is committed."""
    return json.dumps(summary(name), indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for scenario in NAMES:
        (FOLDER / f"{scenario}.json").write_text(text(scenario), encoding="utf-8")
