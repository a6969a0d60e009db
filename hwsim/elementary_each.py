"""The functions of ``elementary.py`` for arrays: the same operations in the same order, equal bit for bit."""

from __future__ import annotations

from math import inf

import numpy as np
import numpy.typing as npt

from hwsim import elementary as one

Floats = npt.NDArray[np.float64]


# -- logarithms -------------------------------------------------------------------------------------------


def _log_of(f: Floats, exponent: Floats, lost: Floats) -> Floats:
    s = f / (2.0 + f)
    z = s * s
    h = 0.5 * f * f
    r = 2 / 19 + z * (2 / 21)
    for n in range(17, 1, -2):
        r = 2 / n + z * r
    r = z * r
    return exponent * one.LN2_HIGH - ((h - (s * (h + r) + (exponent * one.LN2_LOW + lost))) - f)


def log_of_each(x: Floats) -> Floats:
    """:func:`elementary.log` of each."""
    m, k = np.frexp(x)
    small = m < one.SQRT_HALF
    return _log_of(np.where(small, m + m, m) - 1.0, (k - small).astype(np.float64), np.zeros_like(x))


def log1p_of_each(x: Floats) -> Floats:
    """:func:`elementary.log1p` of each."""
    u = 1.0 + x
    lost = np.where(x > 1.0, 1.0 - (u - x), x - (u - 1.0)) / u
    m, k = np.frexp(u)
    small = m < one.SQRT_HALF
    near = (x > one.LOG1P_LOW) & (x < one.LOG1P_HIGH)
    f = np.where(near, x, np.where(small, m + m, m) - 1.0)
    return _log_of(f, np.where(near, 0.0, (k - small).astype(np.float64)), np.where(near, 0.0, lost))


# -- exponentials -----------------------------------------------------------------------------------------


def _beyond(r: Floats) -> Floats:
    """exp(r) - 1 - r, for r up to ln 2 / 2 either way.

    r (1 + exp(r)) / (exp(r) - 1) = 2 + r^2 / 6 - r^4 / 360 + ...; r^2 is at most 0.1202.
    """
    z = r * r
    c = 1 / 15120 + z * (-1 / 604800 + z * (1 / 23950080 + z * (-691 / 653837184000)))
    c = r - z * (1 / 6 + z * (-1 / 360 + z * c))
    return r * c / (2.0 - c)


def exp_of_each(x: Floats) -> Floats:
    """:func:`elementary.exp` of each."""
    inside = np.clip(x, one.EXP_LEAST, one.EXP_MOST)
    k = np.floor(inside / one.LN2 + 0.5)
    high, low = inside - k * one.LN2_HIGH, k * one.LN2_LOW
    found = np.ldexp(1.0 + (high - (low - _beyond(high - low))), k.astype(np.int64))
    return np.where(x <= one.EXP_LEAST, 0.0, np.where(x >= one.EXP_MOST, inf, found))


def expm1_of_each(x: Floats) -> Floats:
    """:func:`elementary.expm1` of each."""
    inside = np.clip(x, one.EXPM1_LEAST, one.EXP_MOST)
    k = np.floor(inside / one.LN2 + 0.5)
    high, low = inside - k * one.LN2_HIGH, k * one.LN2_LOW
    whole = k.astype(np.int64)
    far = np.ldexp(_expm1_of(high, low, np.ldexp(1.0, -whole)), whole)
    far = np.where(x <= one.EXPM1_LEAST, -1.0, np.where(x >= one.EXP_MOST, inf, far))
    near = (x > -one.NEAR) & (x < one.NEAR)
    small = np.where(near, x, 0.0)
    return np.where(near, small + _beyond(small), far)


def _expm1_of(high: Floats, low: Floats, one: Floats) -> Floats:
    """exp(high - low) - one."""
    r = high - low
    return (1.0 - one) + (r + (_beyond(r) + ((high - r) - low)))


# -- the normal law ---------------------------------------------------------------------------------------


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    total = coefficients[0] * x + coefficients[1]
    for each in coefficients[2:]:
        total = total * x + each
    return total


def _ratio(of: tuple[tuple[float, ...], tuple[float, ...]], x: Floats) -> Floats:
    return _polynomial(of[0], x) / _polynomial(of[1], x)


def normal_quantile_of_each(u: Floats) -> Floats:
    """:func:`elementary.normal_quantile` of each."""
    q = u - 0.5
    r = np.sqrt(-log_of_each(np.where(q < 0.0, u, 1.0 - u)))
    z = np.where(r <= one.FAR, _ratio(one.TAIL, r - 1.6), _ratio(one.FAR_TAIL, r - one.FAR))
    middle = (q >= -one.MIDDLE_ENDS) & (q <= one.MIDDLE_ENDS)
    return np.where(middle, q * _ratio(one.MIDDLE, 0.180625 - q * q), np.where(q < 0.0, -z, z))
