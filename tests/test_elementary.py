"""log, exp and the normal quantile: the last bit, and the same bits one by one and by the array."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest

from hwsim import elementary
from hwsim.elementary import Floats

PI = Decimal("3.14159265358979323846264338327950288419716939937511")
PAIRS = ("log", "log1p", "exp", "expm1", "normal_quantile")


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


def differing_bits(name: str, count: int, seed: int) -> int:
    """How many of ``count`` values are not the same one by one and by the array."""
    x = arguments(name, count, seed)
    one: Callable[[float], float] = getattr(elementary, name)
    each: Callable[[Floats], Floats] = getattr(elementary, f"{name}_of_each")
    by_one = np.fromiter(map(one, x.tolist()), np.float64, count)
    return int(np.count_nonzero(by_one.view(np.uint64) != each(x).view(np.uint64)))


@pytest.mark.parametrize("name", PAIRS)
def test_a_number_and_an_array_of_numbers_give_the_same_bits(name: str) -> None:
    assert differing_bits(name, 100_000, 1) == 0


@pytest.mark.parametrize(("name", "ulps"), [("log", 1.0), ("log1p", 1.0), ("exp", 1.0), ("expm1", 2.0)])
def test_the_error_is_below_what_is_said(name: str, ulps: float) -> None:
    """Against 90 digits of the standard library's decimals."""
    exact: dict[str, Callable[[Decimal], Decimal]] = {
        "log": lambda x: x.ln(),
        "log1p": lambda x: (1 + x).ln(),
        "exp": lambda x: x.exp(),
        "expm1": lambda x: x.exp() - 1,
    }
    with localcontext(prec=90):
        for x in arguments(name, 2_000, 2).tolist():
            if abs(x) < 1e-30 and name in ("log1p", "expm1"):
                assert getattr(elementary, name)(x) == x
                continue
            wanted = exact[name](Decimal(x))
            got = getattr(elementary, name)(x)
            if math.isinf(got) or abs(wanted) < Decimal("1e-305"):
                continue  # beyond the floats, or where they lose digits
            assert abs(Decimal(got) - wanted) <= Decimal(ulps * math.ulp(float(wanted))), x


def below(z: Decimal) -> Decimal:
    """The normal law's probability of less than a ``z`` below 0: series near 0, continued fraction beyond."""
    density = (-z * z / 2).exp() / (
        2 * Decimal("3.14159265358979323846264338327950288419716939937511")
    ).sqrt()
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


def test_the_quantile_is_the_inverse_of_the_law() -> None:
    with localcontext(prec=90):
        for u in arguments("normal_quantile", 300, 3).tolist():
            tail = min(Decimal(u), 1 - Decimal(u))
            got = -abs(Decimal(elementary.normal_quantile(u)))
            slope = (-got * got / 2).exp() / (2 * PI).sqrt()
            allowed = slope * Decimal(8 * math.ulp(float(got)))
            assert abs(below(got) - tail) <= allowed, u


def test_the_ends() -> None:
    assert elementary.log(1.0) == elementary.log1p(0.0) == elementary.expm1(0.0) == 0.0
    assert (elementary.exp(0.0), elementary.normal_quantile(0.5)) == (1.0, 0.0)
    assert (elementary.exp(-math.inf), elementary.exp(math.inf)) == (0.0, math.inf)
    assert (elementary.expm1(-math.inf), elementary.expm1(math.inf)) == (-1.0, math.inf)
    assert elementary.log(5e-324) == pytest.approx(math.log(5e-324), rel=1e-15)
