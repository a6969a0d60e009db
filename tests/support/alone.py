"""What one error costs a database server, counted in machines that have one each or hardly ever any.

Used small and large: the callers ask whether two ways to make errors give the same per error.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from hwsim.machine import run_replications
from hwsim.memory.layout import MemoryLayout
from hwsim.record import ReplicationRow
from hwsim.scenario.load import load
from tests.whole.shipped import SCENARIOS

FIGURES = ("restarts", "panics", "lost_writes")


class PerError(NamedTuple):
    """A mean per error that fell, and its standard error (ratio of sums over machines)."""

    mean: float
    error: float


@cache
def database_servers(machines: int, seed: int, early_kill: int, *overrides: str) -> list[ReplicationRow]:
    """The rows of so many machines of the shipped scenario."""
    spec = load(SCENARIOS / "database-server.toml", [*overrides, f"seed={seed}"]).spec
    spec = replace(spec, machine=replace(spec.machine, early_kill=early_kill))
    plan = MemoryLayout(spec)
    return [result.row for result in run_replications(spec, range(machines), plan)]


def per_error(rows: list[ReplicationRow], figure: str) -> PerError:
    """The linearised ratio estimator (Cochran, Sampling Techniques, 3rd ed., section 2.11)."""
    tops = np.array([getattr(row, figure) for row in rows], dtype=np.float64)
    errors = np.array([row.errors for row in rows], dtype=np.float64)
    mean = float(tops.sum() / errors.sum())
    residuals = tops - mean * errors
    return PerError(mean, float(sqrt((residuals**2).sum()) / errors.sum()))


def differ(first: PerError, second: PerError, alpha: float) -> bool:
    """Whether two independent means differ, two-sided; a false alarm in the share ``alpha`` of seeds."""
    bound = NormalDist().inv_cdf(1 - alpha / 2)
    return abs(first.mean - second.mean) > bound * sqrt(first.error**2 + second.error**2)
