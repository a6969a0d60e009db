"""The shipped scenarios with so many errors that they meet, and one run of each that several tests look at.

Shipped, each machine has one error, and two errors never touch the same page, task or ring.  Here they come
thousands of times faster than in the field, with few permanent faults: with many, a machine would only crash.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache

from hwsim.machine import run_replication
from hwsim.memory.layout import MemoryLayout
from hwsim.record import Replication
from hwsim.scenario.load import load
from hwsim.spec import Spec
from tests.whole.shipped import SCENARIOS


def _rate(rate: str, permanent: str) -> tuple[str, ...]:
    return f"errors.0.rate={rate}", f"errors.0.permanent={permanent}"


def _two(rate: str, other_rate: str, file: str, other: str) -> tuple[str, ...]:
    """A stream for each of two files, as one stream would not have it."""
    streams = (
        f'{{ rate = "{rate}", where = {{ region = "file:{name}" }}, permanent = "2 %" }}'
        for rate, name in ((rate, file), (other_rate, other))
    )
    return (f"errors=[{', '.join(streams)}]",)


OVERRIDES = {
    "database-server": _rate("2 / day", "5 %"),
    "desktop": _rate("1 / 2 d", "10 %"),
    "file-server": _rate("1 / d", "5 %"),
    "fsync-race": _rate("1 / h", "2 %"),
    "hugetlb-database": _rate("1 / d", "2 %"),
    "kernel-heavy": _rate("1 / d", "5 %"),
    "kvm-host": _rate("2 / d", "5 %"),
    "metadata": _two("1 / 3 h", "1 / 6 h", "inodes", "raw"),
    "nfs-writer": _two("1 / h", "1 / h", "remote", "local"),
    "swap-box": _rate("1 / d", "5 %"),
    "web-server": _rate("1 / d", "5 %"),
}
REPLICATIONS = 20  # with the seeds of the files, enough for the rarest path twice over
FEWER = {"nfs-writer": 5, "fsync-race": 7, "error-storm": 7, "metadata": 9}  # each has hundreds of errors


@cache
def accelerated_spec(name: str) -> Spec:
    """The accelerated form of a shipped scenario; of those whose errors meet anyway, themselves."""
    return load(SCENARIOS / f"{name}.toml", OVERRIDES.get(name, ())).spec


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
def run(name: str, early_kill: int = 1) -> Run:
    """Run the accelerated form once and keep it: the tests only read it."""
    spec = accelerated_spec(name)
    spec = replace(spec, machine=replace(spec.machine, early_kill=early_kill))
    plan, numbers = MemoryLayout(spec), range(FEWER.get(name, REPLICATIONS))
    return Run(name, early_kill, tuple(run_replication(spec, index, plan) for index in numbers))
