"""The shipped scenarios."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hwsim.scenario.load import load
from hwsim.spec import Spec

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
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


@cache
def spec_of(name: str) -> Spec:
    """The compiled scenario file."""
    return load(SCENARIOS / f"{name}.toml").spec
