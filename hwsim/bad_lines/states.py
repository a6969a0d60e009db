"""Where a bad line stands, and what a boot has made of it."""

from __future__ import annotations

from typing import NamedTuple

# Nobody knows it -> a machine check is under way -> memory_failure() has returned -> nothing more can happen.
LATENT, CHECKING, HANDLED, OVER = range(4)


class Treatment(NamedTuple):
    """What memory_failure() made of the page in one boot; the columns of ErrorRow of the same names."""

    poisoned_ns: int | None
    contained_ns: int | None
    row: int
    message: str
    outcome: str
    context: str
    mappers: int
    isolated_pages: int
