"""What some machines of each shipped scenario come to, in whole numbers: ``make golden`` renews.

A number that changes here is a change of results: name it in CHANGELOG and raise ``model_version`` of the
kernel's profile.  The accelerated forms have files of their own: there errors meet.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwsim.machine import run_replication
from hwsim.memory.layout import MemoryLayout
from hwsim.record import Replication
from hwsim.spec import Spec
from tests.support.rows import allowed, values
from tests.whole.accelerated import OVERRIDES, accelerated_spec
from tests.whole.shipped import NAMES, spec_of

FOLDER = Path(__file__).with_name("golden")
ERRORS = 200  # at least so many errors under each policy,
MACHINES = 3  # and at least so many machines
_NOT_SUMS = ("replication", "end_ns")
ACCELERATED = {f"{name}-accelerated": name for name in OVERRIDES}
KEPT = (*NAMES, *ACCELERATED)
ALLOWED = allowed()


def _spec(kept: str) -> Spec:
    return accelerated_spec(ACCELERATED[kept]) if kept in ACCELERATED else spec_of(kept)


def _machines(spec: Spec, least: int) -> list[Replication]:
    """The first machines that together have ``least`` errors."""
    plan, errors = MemoryLayout(spec), 0
    found: list[Replication] = []
    while errors < least or len(found) < MACHINES:
        found.append(run_replication(spec, len(found), plan))
        errors += found[-1].row.errors
    strange = {column: odd for column, held in values(found).items() if (odd := held - ALLOWED[column])}
    assert not strange, f"not as record.py allows: {strange}"
    return found


def summary(kept: str) -> dict[str, Any]:
    """Sums over the machines under both policies, and everything that was met."""
    found: dict[str, Any] = {}
    least = 0 if kept in ACCELERATED or _spec(kept).script else ERRORS
    for early_kill in (0, 1):
        spec = _spec(kept)
        spec = replace(spec, machine=replace(spec.machine, early_kill=early_kill))
        machines = _machines(spec, least)
        rows = [each.row for each in machines]
        sums = {
            key: sum(getattr(row, key) for row in rows) for key in rows[0]._fields if key not in _NOT_SUMS
        }
        reach: dict[str, int] = {}
        for each in machines:
            for key, times in each.reach.items():
                reach[key] = reach.get(key, 0) + times
        found[f"early_kill={early_kill}"] = {"sums": sums, "reach": dict(sorted(reach.items()))}
    return found


def text(kept: str) -> str:
    """The summary as it is committed."""
    return json.dumps(summary(kept), indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for each in KEPT:
        (FOLDER / f"{each}.json").write_text(text(each), encoding="utf-8")
