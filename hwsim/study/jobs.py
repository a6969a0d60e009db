"""What is asked of a study, replication by replication, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Rows = list[tuple[int | str | None, ...]]


class Job(NamedTuple):
    """One replication under one policy."""

    policy: int
    replication: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A replication that did not finish, and where to look."""

    policy: int
    replication: int
    kind: str  # name of the exception
    message: str
    place: str  # module:line, no path of the machine it ran on

    def __str__(self) -> str:
        where = f" at {self.place}" if self.place else ""
        return f"replication {self.replication} (policy {self.policy}): {self.kind}: {self.message}{where}"


class Done(NamedTuple):
    """A finished replication under one policy, as it is stored."""

    policy: int
    replication: int
    tables: list[Rows]  # in the order of the result tables, rows in their order, the policy first in each
    reach: dict[str, int]
    settled: str  # how its result was found; empty if it was played


JobOutcome = Done | Failure
