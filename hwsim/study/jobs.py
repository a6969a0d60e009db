"""What is asked of a study, replication by replication, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from hwsim.record import Replication


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


@dataclass(frozen=True, slots=True)
class Done:
    """A finished replication under one policy."""

    policy: int
    result: Replication

    @property
    def replication(self) -> int:
        return self.result.row.replication


JobOutcome = Done | Failure
