"""What fell: how many errors, how many of them alone in their machine, and what the field reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd


class Studied(Protocol):
    """The part of a study's results that tells."""

    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def replications(self) -> pd.DataFrame: ...


COUNTS = {"error": "errors", "fault": "dram_faults"}  # in ``replications``


@dataclass(frozen=True, slots=True)
class Fell:
    """The errors of one policy: all, and those that had another one in their machine; or its DRAM faults.

    Errors that meet change what becomes of each other, and field rates make meetings rare: a share that is
    not that of the field is acceleration.
    """

    what: str  # error | fault
    count: int
    not_alone: int
    one_each: bool  # every machine had exactly one: per machine is per error

    @property
    def share_not_alone(self) -> float | None:
        """None if none fell."""
        return self.not_alone / self.count if self.count else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {f"{self.what}s": self.count, "share_not_alone": self.share_not_alone}


def what_falls(manifest: Mapping[str, Any]) -> str:
    """``fault`` where all errors are those of DRAM faults: one of them makes any number, else ``error``."""
    streams = manifest.get("scenario", {}).get("errors", [])
    return "fault" if streams and all(each.get("kind") == "dram" for each in streams) else "error"


def fell(results: Studied, policy: int) -> Fell:
    """What fell under one policy."""
    what, replications = what_falls(results.manifest), results.replications
    counts = replications.loc[replications["policy"] == policy, COUNTS[what]]
    one_each = bool(len(counts)) and bool((counts == 1).all())
    return Fell(what, int(counts.sum()), int(counts[counts > 1].sum()), one_each)


def field_rates(manifest: Mapping[str, Any]) -> dict[str, str]:
    """``field_rate`` of each error stream that has one, as the scenario writes it."""
    streams = manifest.get("scenario", {}).get("errors", [])
    return {
        f"errors[{number}]": str(stream["field_rate"])
        for number, stream in enumerate(streams)
        if "field_rate" in stream
    }
