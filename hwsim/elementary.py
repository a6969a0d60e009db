"""log, exp and the normal quantile, the same to the last bit on every machine.

They turn a draw into a time, so a result is only as reproducible as they are: C libraries differ from each
other, and numpy's vector units from both.  Here each is built from + - * /, sqrt, frexp and ldexp alone,
which IEEE 754 fixes or which are exact; compiled code must not contract them (``-ffp-contract=off``).
``elementary_each.py`` has the forms for arrays, equal bit for bit; this file loads no numpy, since checking a
scenario needs it too.  The model has its float functions and sums of floats from here, with one exception:
what ``bad_lines/dram_faults.py`` and ``hardware/dram/fault_sampler.py`` draw from numpy's Generator.

Errors: 1 ulp for log, log1p and exp, 2 ulp for expm1, 8 ulp for the quantile; the tests measure them.
The coefficients are those of the series themselves, with as many terms as the last bit needs; those of the
quantile are of M. J. Wichura, Algorithm AS 241, Applied Statistics 37 (1988), routine PPND16.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, frexp, inf, ldexp, sqrt

# ln 2 in two parts: the first ends in zeros, so that its product with an exponent is exact.
LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
LN2 = float.fromhex("0x1.62e42fefa39efp-1")
SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
LOG1P_LOW, LOG1P_HIGH = SQRT_HALF - 1.0, 2.0 * SQRT_HALF - 1.0  # between them 1 + x needs no exponent
EXP_LEAST, EXP_MOST = -745.2, 709.78  # exp() is 0 below, and taken as infinite above
EXPM1_LEAST, NEAR = -56.0, 0.34  # expm1() is -1 below; within NEAR of 0 it is itself small


def added(numbers: Iterable[float]) -> float:
    """The sum of floats from left to right: the built-in compensates for rounding since Python 3.12."""
    total = 0.0
    for each in numbers:
        total += each
    return total


# -- logarithms -------------------------------------------------------------------------------------------


def _log_of(f: float, exponent: float, lost: float) -> float:
    """log(2^exponent (1 + f)) + lost, for 1 + f between sqrt(1/2) and sqrt(2) and a tiny ``lost``.

    log(1 + f) = log((1 + s) / (1 - s)) = 2 s (1 + s^2 / 3 + s^4 / 5 + ...); s^2 is at most 0.0295.
    """
    s = f / (2.0 + f)
    z = s * s
    h = 0.5 * f * f
    # Horner's rule is written out: in a loop a number takes three times as long.
    r = 2 / 11 + z * (2 / 13 + z * (2 / 15 + z * (2 / 17 + z * (2 / 19 + z * (2 / 21)))))
    r = z * (2 / 3 + z * (2 / 5 + z * (2 / 7 + z * (2 / 9 + z * r))))
    return exponent * LN2_HIGH - ((h - (s * (h + r) + (exponent * LN2_LOW + lost))) - f)


def log(x: float) -> float:
    """The natural logarithm of a finite number above 0."""
    m, k = frexp(x)
    if m < SQRT_HALF:
        m, k = m + m, k - 1
    return _log_of(m - 1.0, float(k), 0.0)


def log1p(x: float) -> float:
    """log(1 + x) of a finite number above -1, without what the sum would lose."""
    if LOG1P_LOW < x < LOG1P_HIGH:
        f, k, lost = x, 0, 0.0
    else:
        u = 1.0 + x
        lost = (1.0 - (u - x) if x > 1.0 else x - (u - 1.0)) / u
        m, k = frexp(u)
        if m < SQRT_HALF:
            m, k = m + m, k - 1
        f = m - 1.0
    s = f / (2.0 + f)  # what follows is _log_of(): a call less where most draws pass
    z = s * s
    h = 0.5 * f * f
    r = 2 / 11 + z * (2 / 13 + z * (2 / 15 + z * (2 / 17 + z * (2 / 19 + z * (2 / 21)))))
    r = z * (2 / 3 + z * (2 / 5 + z * (2 / 7 + z * (2 / 9 + z * r))))
    return k * LN2_HIGH - ((h - (s * (h + r) + (k * LN2_LOW + lost))) - f)


# -- exponentials -----------------------------------------------------------------------------------------


def _beyond(r: float) -> float:
    """exp(r) - 1 - r, for r up to ln 2 / 2 either way.

    r (1 + exp(r)) / (exp(r) - 1) = 2 + r^2 / 6 - r^4 / 360 + ...; r^2 is at most 0.1202.
    """
    z = r * r
    c = 1 / 15120 + z * (-1 / 604800 + z * (1 / 23950080 + z * (-691 / 653837184000)))
    c = r - z * (1 / 6 + z * (-1 / 360 + z * c))
    return r * c / (2.0 - c)


def exp(x: float) -> float:
    """e to the power of a number; infinite where no float is large enough."""
    if not EXP_LEAST < x < EXP_MOST:
        return 0.0 if x < 0.0 else inf
    k = floor(x / LN2 + 0.5)
    high, low = x - k * LN2_HIGH, k * LN2_LOW
    r = high - low
    z = r * r  # as in _beyond()
    c = 1 / 15120 + z * (-1 / 604800 + z * (1 / 23950080 + z * (-691 / 653837184000)))
    c = r - z * (1 / 6 + z * (-1 / 360 + z * c))
    return ldexp(1.0 + (high - (low - r * c / (2.0 - c))), k)


def expm1(x: float) -> float:
    """exp(x) - 1, without what the difference would lose."""
    if -NEAR < x < NEAR:
        return x + _beyond(x)
    if not EXPM1_LEAST < x < EXP_MOST:
        return -1.0 if x < 0.0 else inf
    k = floor(x / LN2 + 0.5)
    high, low = x - k * LN2_HIGH, k * LN2_LOW
    return ldexp(_expm1_of(high, low, ldexp(1.0, -k)), k)


def _expm1_of(high: float, low: float, one: float) -> float:
    """exp(high - low) - one."""
    r = high - low
    return (1.0 - one) + (r + (_beyond(r) + ((high - r) - low)))


# -- the normal law ---------------------------------------------------------------------------------------

# AS 241: numerator and denominator, the highest power first, for |u - 1/2| up to 0.425, and for the square
# root of -log of the tail up to 5 and beyond.
MIDDLE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
     1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.387132872796366608e0),
    (5.226495278852854561e3, 2.8729085735721942674e4, 3.930789580009271061e4, 2.1213794301586595867e4,
     5.3941960214247511077e3, 6.871870074920579083e2, 4.2313330701600911252e1, 1.0),
)  # fmt: skip
TAIL = (
    (7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.4178072517745061177e-1, 1.27045825245236838258e0,
     3.64784832476320460504e0, 5.7694972214606914055e0, 4.6303378461565452959e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2, 1.4810397642748007459e-1,
     6.8976733498510000455e-1, 1.6763848301838038494e0, 2.05319162663775882187e0, 1.0),
)  # fmt: skip
FAR_TAIL = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.2426609473880784386e-3, 2.6532189526576123093e-2,
     2.9656057182850489123e-1, 1.7848265399172913358e0, 5.4637849111641143699e0, 6.6579046435011037772e0),
    (2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
     1.48753612908506148525e-2, 1.3692988092273580531e-1, 5.9983220655588793769e-1, 1.0),
)  # fmt: skip
MIDDLE_ENDS, FAR = 0.425, 5.0


def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    a, b, c, d, e, f, g, h = coefficients
    return ((((((a * x + b) * x + c) * x + d) * x + e) * x + f) * x + g) * x + h


def _ratio(of: tuple[tuple[float, ...], tuple[float, ...]], x: float) -> float:
    return _polynomial(of[0], x) / _polynomial(of[1], x)


def normal_quantile(u: float) -> float:
    """What a standard normal variable is below with probability ``u``, strictly between 0 and 1."""
    q = u - 0.5
    if -MIDDLE_ENDS <= q <= MIDDLE_ENDS:
        return q * _ratio(MIDDLE, 0.180625 - q * q)
    r = sqrt(-log(u if q < 0.0 else 1.0 - u))
    z = _ratio(TAIL, r - 1.6) if r <= FAR else _ratio(FAR_TAIL, r - FAR)
    return -z if q < 0.0 else z
