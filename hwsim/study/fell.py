"""What fell: how many errors, how many of them alone in their machine, and what the field reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Fell:
    """The errors of one policy: all, and those that had another one in their machine.

    Errors that meet change what becomes of each other, and field rates make meetings rare: a share that is
    not that of the field is acceleration.
    """

    errors: int
    not_alone: int
    one_each: bool  # every machine had exactly one: per machine is per error

    @property
    def share_not_alone(self) -> float | None:
        """None if no error fell."""
        return self.not_alone / self.errors if self.errors else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"errors": self.errors, "share_not_alone": self.share_not_alone}


def fell(replications: pd.DataFrame, policy: int) -> Fell:
    """What fell under one policy, from the table ``replications``."""
    counts = replications.loc[replications["policy"] == policy, "errors"]
    one_each = bool(len(counts)) and bool((counts == 1).all())
    return Fell(int(counts.sum()), int(counts[counts > 1].sum()), one_each)


def field_rates(manifest: Mapping[str, Any]) -> dict[str, str]:
    """``field_rate`` of each error stream that has one, as the scenario writes it."""
    streams = manifest.get("scenario", {}).get("errors", [])
    return {
        f"errors[{number}]": str(stream["field_rate"])
        for number, stream in enumerate(streams)
        if "field_rate" in stream
    }
