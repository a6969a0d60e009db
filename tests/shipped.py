"""The shipped scenarios, and one run of each that several tests look at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from hwsim.machine import run_replication
from hwsim.plan import Plan
from hwsim.record import Replication
from hwsim.scenario.load import load
from hwsim.spec import Spec

SCENARIOS = Path(__file__).resolve().parents[1] / "scenarios"
BY_CHANCE = (
    "database-server",
    "desktop",
    "error-storm",
    "file-server",
    "kernel-heavy",
    "kvm-host",
    "swap-box",
    "web-server",
)
# Nobody maps what goes bad, or it cannot be unmapped: what these show is not kills.
WITHOUT_KILLS = ("fsync-race", "hugetlb-database", "metadata", "nfs-writer")
SCRIPTED = ("aftermath", "drill")  # no chance: what comes after the handler, and what it hardly ever meets
FROM_FAULTS = ("dram-server", "row-fault")  # errors are what DRAM faults leave: rare, and then many at once
NAMES = (*BY_CHANCE, *WITHOUT_KILLS, *FROM_FAULTS, *SCRIPTED)
REPLICATIONS = 20  # with the seeds of the files, enough for the rarest path twice over


@dataclass(frozen=True)
class Run:
    """Some replications of one scenario under one policy."""

    name: str
    early_kill: int
    replications: tuple[Replication, ...]

    def total(self, field: str) -> int:
        """The sum of a field of the replication rows."""
        return sum(getattr(each.row, field) for each in self.replications)

    @property
    def reach(self) -> Counter[str]:
        """What was met, over all replications."""
        met: Counter[str] = Counter()
        for each in self.replications:
            met.update(each.reach)
        return met


@cache
def spec_of(name: str) -> Spec:
    """The compiled scenario file."""
    return load(SCENARIOS / f"{name}.toml").spec


@cache
def run(name: str, early_kill: int = 1, replications: int = REPLICATIONS) -> Run:
    """Run once and keep: the tests only read it."""
    spec = spec_of(name)
    spec = replace(spec, machine=replace(spec.machine, early_kill=early_kill))
    plan = Plan(spec)
    return Run(name, early_kill, tuple(run_replication(spec, index, plan) for index in range(replications)))
