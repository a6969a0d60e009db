"""log, exp and the normal quantile, the same to the last bit on every machine.

They turn a draw into a time, so a result is only as reproducible as they are: C libraries differ from each
other, and numpy's vector units from both.  Here each is built from + - * /, sqrt, frexp and ldexp alone,
which IEEE 754 fixes or which are exact.  The form for one number and the form for an array go through the
same operations in the same order and are equal bit for bit; compiled code must not contract them
(``-ffp-contract=off``).  The model has its float functions and sums of floats from here, with one exception:
what ``bad_lines/dram_faults.py`` and ``hardware/dram/fault_sampler.py`` draw from numpy's Generator.

Errors: 1 ulp for log, log1p and exp, 2 ulp for expm1, 8 ulp for the quantile; the tests measure them.
The coefficients are those of the series themselves, with as many terms as the last bit needs; those of the
quantile are of M. J. Wichura, Algorithm AS 241, Applied Statistics 37 (1988), routine PPND16.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, frexp, inf, ldexp, sqrt
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
F = TypeVar("F", float, Floats)

# ln 2 in two parts: the first ends in zeros, so that its product with an exponent is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_LN2 = float.fromhex("0x1.62e42fefa39efp-1")
_SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
_LOG1P_LOW, _LOG1P_HIGH = _SQRT_HALF - 1.0, 2.0 * _SQRT_HALF - 1.0  # between them 1 + x needs no exponent
_EXP_LEAST, _EXP_MOST = -745.2, 709.78  # exp() is 0 below, and taken as infinite above
_EXPM1_LEAST, _NEAR = -56.0, 0.34  # expm1() is -1 below; within _NEAR of 0 it is itself small


def added(numbers: Iterable[float]) -> float:
    """The sum of floats from left to right: the built-in compensates for rounding since Python 3.12."""
    total = 0.0
    for each in numbers:
        total += each
    return total


# -- logarithms -------------------------------------------------------------------------------------------


def _log_of(f: F, exponent: F, lost: F) -> F:
    """log(2^exponent (1 + f)) + lost, for 1 + f between sqrt(1/2) and sqrt(2) and a tiny ``lost``.

    log(1 + f) = log((1 + s) / (1 - s)) = 2 s (1 + s^2 / 3 + s^4 / 5 + ...); s^2 is at most 0.0295.
    """
    s = f / (2.0 + f)
    z = s * s
    h = 0.5 * f * f
    # Horner's rule is written out: in a loop a number takes three times as long.
    r = 2 / 11 + z * (2 / 13 + z * (2 / 15 + z * (2 / 17 + z * (2 / 19 + z * (2 / 21)))))
    r = z * (2 / 3 + z * (2 / 5 + z * (2 / 7 + z * (2 / 9 + z * r))))
    return exponent * _LN2_HIGH - ((h - (s * (h + r) + (exponent * _LN2_LOW + lost))) - f)


def log(x: float) -> float:
    """The natural logarithm of a finite number above 0."""
    m, k = frexp(x)
    if m < _SQRT_HALF:
        m, k = m + m, k - 1
    return _log_of(m - 1.0, float(k), 0.0)


def log_of_each(x: Floats) -> Floats:
    """:func:`log` of each."""
    m, k = np.frexp(x)
    small = m < _SQRT_HALF
    return _log_of(np.where(small, m + m, m) - 1.0, (k - small).astype(np.float64), np.zeros_like(x))


def log1p(x: float) -> float:
    """log(1 + x) of a finite number above -1, without what the sum would lose."""
    if _LOG1P_LOW < x < _LOG1P_HIGH:
        f, k, lost = x, 0, 0.0
    else:
        u = 1.0 + x
        lost = (1.0 - (u - x) if x > 1.0 else x - (u - 1.0)) / u
        m, k = frexp(u)
        if m < _SQRT_HALF:
            m, k = m + m, k - 1
        f = m - 1.0
    s = f / (2.0 + f)  # what follows is _log_of(): a call less where most draws pass
    z = s * s
    h = 0.5 * f * f
    r = 2 / 11 + z * (2 / 13 + z * (2 / 15 + z * (2 / 17 + z * (2 / 19 + z * (2 / 21)))))
    r = z * (2 / 3 + z * (2 / 5 + z * (2 / 7 + z * (2 / 9 + z * r))))
    return k * _LN2_HIGH - ((h - (s * (h + r) + (k * _LN2_LOW + lost))) - f)


def log1p_of_each(x: Floats) -> Floats:
    """:func:`log1p` of each."""
    u = 1.0 + x
    lost = np.where(x > 1.0, 1.0 - (u - x), x - (u - 1.0)) / u
    m, k = np.frexp(u)
    small = m < _SQRT_HALF
    near = (x > _LOG1P_LOW) & (x < _LOG1P_HIGH)
    f = np.where(near, x, np.where(small, m + m, m) - 1.0)
    return _log_of(f, np.where(near, 0.0, (k - small).astype(np.float64)), np.where(near, 0.0, lost))


# -- exponentials -----------------------------------------------------------------------------------------


def _beyond(r: F) -> F:
    """exp(r) - 1 - r, for r up to ln 2 / 2 either way.

    r (1 + exp(r)) / (exp(r) - 1) = 2 + r^2 / 6 - r^4 / 360 + ...; r^2 is at most 0.1202.
    """
    z = r * r
    c = 1 / 15120 + z * (-1 / 604800 + z * (1 / 23950080 + z * (-691 / 653837184000)))
    c = r - z * (1 / 6 + z * (-1 / 360 + z * c))
    return r * c / (2.0 - c)


def exp(x: float) -> float:
    """e to the power of a number; infinite where no float is large enough."""
    if not _EXP_LEAST < x < _EXP_MOST:
        return 0.0 if x < 0.0 else inf
    k = floor(x / _LN2 + 0.5)
    high, low = x - k * _LN2_HIGH, k * _LN2_LOW
    r = high - low
    z = r * r  # as in _beyond()
    c = 1 / 15120 + z * (-1 / 604800 + z * (1 / 23950080 + z * (-691 / 653837184000)))
    c = r - z * (1 / 6 + z * (-1 / 360 + z * c))
    return ldexp(1.0 + (high - (low - r * c / (2.0 - c))), k)


def exp_of_each(x: Floats) -> Floats:
    """:func:`exp` of each."""
    inside = np.clip(x, _EXP_LEAST, _EXP_MOST)
    k = np.floor(inside / _LN2 + 0.5)
    high, low = inside - k * _LN2_HIGH, k * _LN2_LOW
    found = np.ldexp(1.0 + (high - (low - _beyond(high - low))), k.astype(np.int64))
    return np.where(x <= _EXP_LEAST, 0.0, np.where(x >= _EXP_MOST, inf, found))


def expm1(x: float) -> float:
    """exp(x) - 1, without what the difference would lose."""
    if -_NEAR < x < _NEAR:
        return x + _beyond(x)
    if not _EXPM1_LEAST < x < _EXP_MOST:
        return -1.0 if x < 0.0 else inf
    k = floor(x / _LN2 + 0.5)
    high, low = x - k * _LN2_HIGH, k * _LN2_LOW
    return ldexp(_expm1_of(high, low, ldexp(1.0, -k)), k)


def expm1_of_each(x: Floats) -> Floats:
    """:func:`expm1` of each."""
    inside = np.clip(x, _EXPM1_LEAST, _EXP_MOST)
    k = np.floor(inside / _LN2 + 0.5)
    high, low = inside - k * _LN2_HIGH, k * _LN2_LOW
    whole = k.astype(np.int64)
    far = np.ldexp(_expm1_of(high, low, np.ldexp(1.0, -whole)), whole)
    far = np.where(x <= _EXPM1_LEAST, -1.0, np.where(x >= _EXP_MOST, inf, far))
    near = (x > -_NEAR) & (x < _NEAR)
    small = np.where(near, x, 0.0)
    return np.where(near, small + _beyond(small), far)


def _expm1_of(high: F, low: F, one: F) -> F:
    """exp(high - low) - one."""
    r = high - low
    return (1.0 - one) + (r + (_beyond(r) + ((high - r) - low)))


# -- the normal law ---------------------------------------------------------------------------------------

# AS 241: a ratio of two polynomials for each part of the range.


def _middle(x: F) -> F:
    """The quantile over u - 1/2, up to 0.425; ``x`` is 0.425^2 - (u - 1/2)^2."""
    top = 2.5090809287301226727e3 * x + 3.3430575583588128105e4
    top = ((top * x + 6.7265770927008700853e4) * x + 4.5921953931549871457e4) * x + 1.3731693765509461125e4
    top = ((top * x + 1.9715909503065514427e3) * x + 1.3314166789178437745e2) * x + 3.387132872796366608
    low = 5.226495278852854561e3 * x + 2.8729085735721942674e4
    low = ((low * x + 3.930789580009271061e4) * x + 2.1213794301586595867e4) * x + 5.3941960214247511077e3
    low = ((low * x + 6.871870074920579083e2) * x + 4.2313330701600911252e1) * x + 1.0
    return top / low


def _tail(x: F) -> F:
    """The quantile where sqrt(-log(tail)) is ``x`` + 1.6, up to 5."""
    top = 7.7454501427834140764e-4 * x + 2.27238449892691845833e-2
    top = ((top * x + 0.24178072517745061177) * x + 1.27045825245236838258) * x + 3.64784832476320460504
    top = ((top * x + 5.7694972214606914055) * x + 4.6303378461565452959) * x + 1.42343711074968357734
    low = 1.05075007164441684324e-9 * x + 5.475938084995344946e-4
    low = ((low * x + 1.51986665636164571966e-2) * x + 0.14810397642748007459) * x + 0.68976733498510000455
    low = ((low * x + 1.6763848301838038494) * x + 2.05319162663775882187) * x + 1.0
    return top / low


def _far_tail(x: F) -> F:
    """The quantile where sqrt(-log(tail)) is ``x`` + 5."""
    top = 2.01033439929228813265e-7 * x + 2.71155556874348757815e-5
    top = ((top * x + 1.2426609473880784386e-3) * x + 2.6532189526576123093e-2) * x + 0.29656057182850489123
    top = ((top * x + 1.7848265399172913358) * x + 5.4637849111641143699) * x + 6.6579046435011037772
    low = 2.04426310338993978564e-15 * x + 1.4215117583164458887e-7
    low = ((low * x + 1.8463183175100546818e-5) * x + 7.868691311456132591e-4) * x + 1.48753612908506148525e-2
    low = ((low * x + 0.13692988092273580531) * x + 0.59983220655588793769) * x + 1.0
    return top / low


_TAIL_BEGINS, _FAR = 0.425, 5.0


def normal_quantile(u: float) -> float:
    """What a standard normal variable is below with probability ``u``, strictly between 0 and 1."""
    q = u - 0.5
    if -_TAIL_BEGINS <= q <= _TAIL_BEGINS:
        return q * _middle(0.180625 - q * q)
    r = sqrt(-log(u if q < 0.0 else 1.0 - u))
    z = _tail(r - 1.6) if r <= _FAR else _far_tail(r - _FAR)
    return -z if q < 0.0 else z


def normal_quantile_of_each(u: Floats) -> Floats:
    """:func:`normal_quantile` of each."""
    q = u - 0.5
    r = np.sqrt(-log_of_each(np.where(q < 0.0, u, 1.0 - u)))
    z = np.where(r <= _FAR, _tail(r - 1.6), _far_tail(r - _FAR))
    middle = (q >= -_TAIL_BEGINS) & (q <= _TAIL_BEGINS)
    return np.where(middle, q * _middle(0.180625 - q * q), np.where(q < 0.0, -z, z))
