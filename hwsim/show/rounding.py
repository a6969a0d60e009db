"""Numbers as people read them: no digit beyond the error, a bound where nothing was seen, a fitting unit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

from hwsim.study.estimate import Estimate, zero_share_bound

MINUS = "\u2212"


@dataclass(frozen=True)
class Unit:
    """A unit and how many of the stored unit it holds."""

    name: str
    size: float = 1.0


_TIMES = (Unit("ns"), Unit("\u00b5s", 1e3), Unit("ms", 1e6), Unit("s", 1e9), Unit("min", 6e10),
          Unit("h", 3.6e12), Unit("d", 8.64e13))  # fmt: skip
_BYTES = (Unit("B"), Unit("KiB", 2.0**10), Unit("MiB", 2.0**20), Unit("GiB", 2.0**30), Unit("TiB", 2.0**40))


def time_unit(values_ns: Iterable[float | None]) -> Unit:
    """The largest unit of time that the largest of these fills."""
    return _fitting(_TIMES, values_ns, _TIMES[3])


def bytes_unit(values_bytes: Iterable[float | None]) -> Unit:
    """The largest binary unit that the largest of these fills."""
    return _fitting(_BYTES, values_bytes, _BYTES[1])


def _fitting(units: tuple[Unit, ...], values: Iterable[float | None], if_nothing: Unit) -> Unit:
    largest = max((abs(v) for v in values if known(v)), default=0.0)
    if largest == 0.0:
        return if_nothing
    return next((u for u in reversed(units) if largest >= u.size), units[0])


def known(x: float | None) -> TypeGuard[float]:
    """True for a number that can be shown."""
    return x is not None and math.isfinite(x)


def decimals(value: float, low: float | None, high: float | None) -> int:
    """Digits after the point that the interval supports: one digit of its half-width, two if that is a 1.

    Negative: round before the point.  Without an interval, three figures of the value.
    """
    if known(low) and known(high) and high > low:
        half = (high - low) / 2
    elif not known(value) or float(value).is_integer():
        return 0
    else:
        return 2 - math.floor(math.log10(abs(value)))
    exponent = math.floor(math.log10(half))
    return -exponent + (1 if half / 10.0**exponent < 2 else 0)


def plain(x: float, places: int) -> str:
    """``x`` with ``places`` digits after the point, thousands apart, never a minus before zero."""
    rounded = round(x, places)
    text = f"{abs(rounded):,.{max(places, 0)}f}"
    negative = rounded < 0 and any(c in "123456789" for c in text)
    return (MINUS if negative else "") + text


def bound(x: float) -> str:
    """A limit with two figures, rounded away from zero so that it still holds."""
    if x == 0 or not known(x):
        return "0" if x == 0 else "unknown"
    places = 1 - math.floor(math.log10(abs(x)))
    step = 10.0**-places
    return plain(math.copysign(math.ceil(abs(x) / step - 1e-9) * step, x), places)


@dataclass(frozen=True)
class Shown:
    """An estimate in words: the number, its interval, and both as one text."""

    number: str
    interval: str

    @property
    def text(self) -> str:
        return f"{self.number} ({self.interval})"


def shown(estimate: Estimate, unit: Unit = Unit("")) -> Shown:
    """The estimate in ``unit``: ``3.1`` and ``2.7 to 3.5``; ``0`` and ``≤ 0.0093``."""
    if not known(estimate.value):
        return Shown("-", estimate.method)
    value = estimate.value / unit.size
    if not (known(estimate.low) and known(estimate.high)):
        return Shown(plain(value, decimals(value, None, None)), _without_interval(estimate))
    low, high = estimate.low / unit.size, estimate.high / unit.size
    if value == 0 and low == 0 and high > 0:
        return Shown("0", f"\u2264 {bound(high)}")
    places = decimals(value, low, high)
    return Shown(plain(value, places), f"{plain(low, places)} to {plain(high, places)}")


def _without_interval(estimate: Estimate) -> str:
    """What can be said exactly when every replication gave the same."""
    share = f"\u2264 {bound(100 * zero_share_bound(estimate.n))} %" if estimate.n else ""
    if estimate.n > 1 and estimate.method == "exact binomial, none seen":
        return f"{share} have any"
    if estimate.n > 1 and estimate.method.startswith(("constant", "exact, all pairs alike", "equal in all")):
        return f"{share} differ"
    return estimate.method
