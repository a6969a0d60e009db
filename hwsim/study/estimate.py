"""Estimates: every number with its interval, the method's name and n.

The unit of analysis is the machine replication; tasks and errors of one machine share causes and are
not independent.  Intervals are two-sided, 95 % unless told otherwise.  scipy is imported only when
an interval is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

LEVEL = 0.95
BOOTSTRAP_SEED = 20090603
BOOTSTRAP_RESAMPLES = 4999
BOOTSTRAP_LEAST = 8  # with fewer values resampling only repeats them; t is wider and more honest
COCHRAN = 25.0  # t needs n > 25 skewness^2 (Cochran, Sampling Techniques, 3rd ed., section 2.15)
_SINGLY = "the upper end holds for events that come singly"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and what is known about it.

    ``value`` is None when it is undefined (a rate per detected error with no error detected).  ``low``
    and ``high`` are None when no interval exists; ``note`` then says what can be said exactly.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    n: int
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: ``estimate``, ``low``, ``high``, ``method``, ``n`` and, if there is one, ``note``."""
        found = asdict(self)
        found = {"estimate": found.pop("value"), **found}
        if not self.note:
            del found["note"]
        return found


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """A paired difference: second minus first, on the same replications.

    ``correlation`` is that of the pairs (None when one side never varies); ``p_value`` tests "no
    difference", ``p_adjusted`` is Holm's over the policies compared with the baseline.
    """

    correlation: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None


def mean(
    values: Sequence[float], *, floor: float | None = 0.0, counts: bool = True, level: float = LEVEL
) -> Estimate:
    """Mean over replications: Student's t, or a BCa bootstrap where the values are too skewed for t.

    ``floor`` is the least possible value (None: unbounded); no interval reaches below it.  ``counts``:
    the values count events, so that seeing none still bounds their number; amounts have no such bound.
    """
    import numpy as np

    x = np.asarray(values, dtype=np.float64)
    n = int(x.size)
    if n == 0:
        return Estimate(None, None, None, "no replications", 0)
    value = float(x.mean())
    if n == 1:
        return Estimate(value, None, None, "one replication, no interval", 1)
    if float(np.ptp(x)) == 0.0:
        return _constant(value, n, counts, level)
    method, low, high = _interval(x, level)
    if floor is not None:
        low = max(low, floor)
    return Estimate(value, low, high, method, n)


def proportion(successes: int, n: int, *, level: float = LEVEL) -> Estimate:
    """A share: Wilson's score interval (E. B. Wilson, 1927)."""
    if n == 0:
        return Estimate(None, None, None, "no trials", 0)
    from scipy.special import ndtri

    z = float(ndtri((1 + level) / 2))
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else middle - half  # exact at the ends, without rounding
    high = 1.0 if successes == n else middle + half
    return Estimate(share, low, high, "Wilson", n)


def rate(events: int, exposure: float, n: int, *, level: float = LEVEL) -> Estimate:
    """Independent events by exposure: the exact Poisson interval in its chi-square form (Garwood, 1936)."""
    if exposure <= 0:
        return Estimate(None, None, None, "no exposure", n)
    from scipy.special import chdtri

    tail = (1 - level) / 2
    low = 0.0 if events == 0 else float(chdtri(2 * events, 1 - tail)) / 2
    high = float(chdtri(2 * events + 2, tail)) / 2
    return Estimate(events / exposure, low / exposure, high / exposure, "exact Poisson", n)


def zero_share_bound(n: int, *, level: float = LEVEL) -> float:
    """Upper end of the exact (Clopper-Pearson) interval for a share when 0 of n showed it."""
    return float(1.0 - ((1 - level) / 2) ** (1 / n))


def ratio(
    tops: Sequence[float],
    bottoms: Sequence[float],
    *,
    floor: float | None = 0.0,
    counts: bool = True,
    level: float = LEVEL,
) -> Estimate:
    """Ratio of sums, such as kills per detected error: jackknife over replications, t with n - 1.

    Where all are alike, the bound is on the share of those that have something to divide by: the others
    show nothing.
    """
    import numpy as np

    top, bottom = np.asarray(tops, dtype=np.float64), np.asarray(bottoms, dtype=np.float64)
    n = int(top.size)
    total = float(bottom.sum())
    if total == 0.0:
        return Estimate(None, None, None, "nothing to divide by", n)
    value = float(top.sum()) / total
    telling = int(np.count_nonzero(bottom))
    if not top.any():
        if not counts:
            note = _none_seen(telling, zero_share_bound(telling, level=level))
            return Estimate(0.0, None, None, "exact binomial, none seen", telling, note)
        bound = rate(0, total, n, level=level).high
        note = f"none in {total:.0f}; {_SINGLY}"
        return Estimate(0.0, 0.0, bound, "exact Poisson, zero events", n, note)
    half = _jackknife_half(_leave_one_out(top, bottom), level)
    if half is None:
        return Estimate(value, None, None, "too few replications with errors", n)
    if half == 0.0:
        return Estimate(value, None, None, f"equal in all {telling} replications", telling)
    low = value - half if floor is None else max(value - half, floor)
    return Estimate(value, low, value + half, "jackknife", n)


def paired_difference(first: Sequence[float], second: Sequence[float], *, level: float = LEVEL) -> Difference:
    """Mean of ``second - first`` over pairs: t on the pairs, BCa bootstrap where they are too skewed."""
    import numpy as np

    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    d = b - a
    n = int(d.size)
    if n == 0:
        return Difference(None, None, None, "no pairs", 0)
    value = float(d.mean())
    together = _correlation(a, b)
    if n == 1:
        return Difference(value, None, None, "one pair, no interval", 1, "", together)
    if float(np.ptp(d)) == 0.0:
        return _constant_difference(value, n, level, together)
    method, low, high = _interval(d, level)
    from scipy.special import stdtr

    score = abs(value) * math.sqrt(n) / float(d.std(ddof=1))
    p_value = float(2 * stdtr(n - 1, -score))
    return Difference(value, low, high, f"paired {method}", n, "", together, p_value)


def paired_ratio_difference(
    first: tuple[Sequence[float], Sequence[float]],
    second: tuple[Sequence[float], Sequence[float]],
    *,
    level: float = LEVEL,
) -> Difference:
    """Difference of two ratios of sums on the same replications: jackknife that leaves out pairs."""
    import numpy as np
    from scipy.special import stdtr

    a_top, a_bottom, b_top, b_bottom = (np.asarray(x, dtype=np.float64) for x in (*first, *second))
    n = int(a_top.size)
    if a_bottom.sum() == 0.0 or b_bottom.sum() == 0.0:
        return Difference(None, None, None, "nothing to divide by", n)
    value = float(b_top.sum() / b_bottom.sum() - a_top.sum() / a_bottom.sum())
    telling = int(np.count_nonzero((a_bottom > 0) | (b_bottom > 0)))
    together = _correlation(a_top, b_top)
    if np.array_equal(a_top, b_top) and np.array_equal(a_bottom, b_bottom):
        return _constant_difference(0.0, telling, level, together)
    left = _leave_one_out(b_top, b_bottom) - _leave_one_out(a_top, a_bottom)
    half = _jackknife_half(left, level)
    if half is None:
        return Difference(value, None, None, "too few replications with errors", n, "", together)
    if half == 0.0:
        return Difference(value, None, None, f"equal in all {telling} pairs", telling, "", together)
    error = half / _t_quantile(n - 1, level)
    p_value = float(2 * stdtr(n - 1, -abs(value) / error))
    return Difference(value, value - half, value + half, "paired jackknife", n, "", together, p_value)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (S. Holm, 1979); None stays None and does not count."""
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p))
        adjusted[i] = running
    return adjusted


def _constant(value: float, n: int, counts: bool, level: float) -> Estimate:
    bound = zero_share_bound(n, level=level)
    if value == 0.0:
        note = _none_seen(n, bound)
        if not counts:
            return Estimate(0.0, None, None, "exact binomial, none seen", n, note)
        high = rate(0, n, n, level=level).high
        return Estimate(0.0, 0.0, high, "exact Poisson, zero events", n, f"{note}; {_SINGLY}")
    note = f"equal in all {n} replications; at most {bound:.2g} of all differ (exact binomial)"
    return Estimate(value, None, None, "constant", n, note)


def _none_seen(n: int, share: float) -> str:
    return f"none in {n} replications; at most {share:.2g} of all replications have any (exact binomial)"


def _constant_difference(value: float, n: int, level: float, together: float | None) -> Difference:
    bound = zero_share_bound(n, level=level)
    what = "no difference" if value == 0.0 else "the same difference"
    note = f"{what} in any of {n} pairs; at most {bound:.2g} of all pairs deviate (exact binomial)"
    if value != 0.0:
        note = note.replace("any of", "each of")
    return Difference(value, None, None, "exact, all pairs alike", n, note, together)


def _interval(x: Vector, level: float) -> tuple[str, float, float]:
    import numpy as np

    n = int(x.size)
    centred = x - x.mean()
    deviation = float(np.sqrt(np.mean(centred**2)))
    skewness = float(np.mean((centred / deviation) ** 3)) if deviation > 0 else 0.0
    if n < BOOTSTRAP_LEAST or n > COCHRAN * skewness**2:
        half = _t_quantile(n - 1, level) * float(x.std(ddof=1)) / math.sqrt(n)
        middle = float(x.mean())
        return "t", middle - half, middle + half
    low, high = _bca(x, level)
    return "BCa bootstrap", low, high


_FLEET = 2_000  # machines from which on that is worth while


def _bca(x: Vector, level: float) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap of the mean (B. Efron, 1987), the same every time.

    Written out because the mean needs no general resampler: resamples a block at a time; of a fleet, where
    nothing happens to most machines, first how many of the others are drawn, then which.
    """
    import numpy as np
    from scipy.special import ndtr, ndtri

    n = int(x.size)
    generator = np.random.Generator(np.random.Philox(BOOTSTRAP_SEED))
    some = x[x != 0.0]
    mostly_zero = n > _FLEET and some.size < n // 8
    block = max(1, 2_000_000 // (max(1, some.size) if mostly_zero else n))
    parts = []
    for start in range(0, BOOTSTRAP_RESAMPLES, block):
        size = min(block, BOOTSTRAP_RESAMPLES - start)
        if mostly_zero:
            ends_at = np.cumsum(generator.binomial(n, some.size / n, size))
            sums = np.append(0.0, np.cumsum(some[generator.integers(0, some.size, ends_at[-1])]))[ends_at]
            parts.append(np.diff(sums, prepend=0.0) / n)
        else:
            parts.append(x[generator.integers(0, n, size=(size, n))].mean(axis=1))
    means = np.sort(np.concatenate(parts))
    middle = float(x.mean())
    below = float(np.mean(means < middle) + np.mean(means == middle) / 2)
    bias = float(ndtri(min(max(below, 1 / means.size), 1 - 1 / means.size)))
    left = (middle * n - x) / (n - 1)
    pull = left.mean() - left
    acceleration = float((pull**3).sum() / (6 * (pull**2).sum() ** 1.5))
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + float(ndtri(tail))
        ends.append(float(np.quantile(means, float(ndtr(bias + z / (1 - acceleration * z))))))
    return ends[0], ends[1]


def _leave_one_out(top: Vector, bottom: Vector) -> Vector:
    """The ratio of sums without each replication in turn; nan where nothing is left to divide by."""
    import numpy as np

    rest = bottom.sum() - bottom
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Vector = np.where(rest > 0, (top.sum() - top) / rest, np.nan)
    return found


def _jackknife_half(left: Vector, level: float) -> float | None:
    import numpy as np

    n = int(left.size)
    if n < 2 or not bool(np.isfinite(left).all()):
        return None
    variance = float((n - 1) / n * ((left - left.mean()) ** 2).sum())
    half = _t_quantile(n - 1, level) * math.sqrt(variance)
    return half if half > 1e-12 * float(np.abs(left).max()) else 0.0  # below: rounding of equal values


def _t_quantile(freedom: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def _correlation(a: Vector, b: Vector) -> float | None:
    import numpy as np

    if a.size < 3 or float(np.ptp(a)) == 0.0 or float(np.ptp(b)) == 0.0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
