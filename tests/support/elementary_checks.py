"""How far log, exp and the normal quantile are from the truth, and their two forms from each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np

from hwsim import elementary, elementary_each
from hwsim.elementary_each import Floats

PI = Decimal("3.14159265358979323846264338327950288419716939937511")
NAMES = ("log", "log1p", "exp", "expm1", "normal_quantile")
ULPS = {"log": 1.0, "log1p": 1.0, "exp": 1.0, "expm1": 2.0}
QUANTILE_ULPS = 8


def arguments(name: str, count: int, seed: int) -> Floats:
    """From the whole range of a function, most of them where draws and rates are."""
    rng = np.random.default_rng(seed)
    unit = rng.random(count) * (1.0 - 2.0**-52) + 2.0**-53
    tiny = np.exp(-rng.uniform(0.0, 700.0, count))
    pick = rng.integers(0, 3, count)
    of = {
        "log": (unit, tiny, 1.0 / tiny),
        "log1p": (-unit, rng.uniform(-0.5, 1.0, count), np.exp(rng.uniform(-40.0, 700.0, count))),
        "exp": (-unit, rng.uniform(-760.0, 720.0, count), rng.uniform(-1.0, 1.0, count)),
        "expm1": (-unit, rng.uniform(-60.0, 60.0, count), rng.choice([-1.0, 1.0], count) * tiny),
        "normal_quantile": (unit, tiny, 1.0 - unit * 2.0 ** -rng.integers(1, 40, count)),
    }[name]
    return np.choose(pick, of)


def each_of(name: str, x: Floats) -> Floats:
    """The array form."""
    each: Callable[[Floats], Floats] = getattr(elementary_each, f"{name}_of_each")
    return each(x)


def differing_bits(name: str, count: int, seed: int) -> int:
    """How many of ``count`` values are not the same one by one and by the array."""
    x = arguments(name, count, seed)
    one: Callable[[float], float] = getattr(elementary, name)
    by_one = np.fromiter(map(one, x.tolist()), np.float64, count)
    return int(np.count_nonzero(by_one.view(np.uint64) != each_of(name, x).view(np.uint64)))


def worst_ulps(name: str, count: int, seed: int) -> float:
    """The largest error of ``count`` values in ulp, against 90 digits of the standard library's decimals."""
    exact: dict[str, Callable[[Decimal], Decimal]] = {
        "log": lambda x: x.ln(),
        "log1p": lambda x: (1 + x).ln(),
        "exp": lambda x: x.exp(),
        "expm1": lambda x: x.exp() - 1,
    }
    worst = 0.0
    x = arguments(name, count, seed)
    with localcontext(prec=90):
        for given, got in zip(x.tolist(), each_of(name, x).tolist(), strict=True):
            if abs(given) < 1e-30 and name in ("log1p", "expm1"):
                assert got == given
                continue
            wanted = exact[name](Decimal(given))
            if math.isinf(got) or abs(wanted) < Decimal("1e-305"):
                continue  # beyond the floats, or where they lose digits
            worst = max(worst, float(abs(Decimal(got) - wanted) / Decimal(math.ulp(float(wanted)))))
    return worst


def worst_long_ulps(name: str, count: int, seed: int) -> float:
    """The same against the C library's long double, to 0.001 ulp and the faster for it."""
    exact: Callable[..., object] = getattr(np, name)
    x = arguments(name, count, seed)
    got = each_of(name, x)
    x, got = x[np.isfinite(got)], got[np.isfinite(got)]
    wanted = np.asarray(exact(x.astype(np.longdouble)))
    clear = np.abs(wanted) > 1e-305
    ulp = np.spacing(np.abs(wanted[clear]).astype(np.float64))
    return float((np.abs(got[clear] - wanted[clear]) / ulp).max())


def _below(z: Decimal) -> Decimal:
    """The normal law's probability of less than a ``z`` below 0: series near 0, continued fraction beyond."""
    density = (-z * z / 2).exp() / (2 * PI).sqrt()
    if z > -6:
        total, term, n = -z, -z, 1
        while term > Decimal("1e-55"):
            n += 2
            term *= z * z / n
            total += term
        return Decimal("0.5") - density * total
    fraction = Decimal(0)
    for k in range(400, 0, -1):
        fraction = k / (-z + fraction)
    return density / (-z + fraction)


def worst_quantile_ulps(count: int, seed: int) -> float:
    """The largest error of ``count`` quantiles in ulp, by what the law says of their probability."""
    worst = 0.0
    with localcontext(prec=90):
        for u in arguments("normal_quantile", count, seed).tolist():
            tail = min(Decimal(u), 1 - Decimal(u))
            got = -abs(Decimal(elementary.normal_quantile(u)))
            slope = (-got * got / 2).exp() / (2 * PI).sqrt()
            worst = max(worst, float(abs(_below(got) - tail) / slope / Decimal(math.ulp(float(got)))))
    return worst
