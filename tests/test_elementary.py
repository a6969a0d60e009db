"""log, exp and the normal quantile: the last bit, and the same bits one by one and by the array."""

from __future__ import annotations

import math
from hashlib import blake2b

import numpy as np
import pytest

from hwsim import elementary
from tests.support.elementary_checks import (
    NAMES,
    QUANTILE_ULPS,
    ULPS,
    differing_bits,
    each_of,
    worst_quantile_ulps,
    worst_ulps,
)


@pytest.mark.parametrize("name", NAMES)
def test_a_number_and_an_array_of_numbers_give_the_same_bits(name: str) -> None:
    assert differing_bits(name, 100_000, 1) == 0


DIGESTS = {
    "log": "0e1bc43f445de9d1",
    "log1p": "cd57dc35dd4aa648",
    "exp": "4d2f6e13d6835d6e",
    "expm1": "57e93ff56c9bd08f",
    "normal_quantile": "7a90f49005236ef6",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_these_on_every_machine(name: str) -> None:
    """Another machine, Python or numpy that changes one changes results: never renew a digest for it."""
    unit = (np.arange(100_000) * 0x9E3779B1 % 2**32 + 0.5) / 2**32
    x = {"log1p": -unit, "exp": 64.0 * (unit - 0.75), "expm1": 8.0 * (unit - 0.75)}.get(name, unit)
    assert blake2b(each_of(name, x).astype("<f8").tobytes(), digest_size=8).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("name", ULPS)
def test_the_error_is_below_what_is_said(name: str) -> None:
    assert worst_ulps(name, 2_000, 2) <= ULPS[name]


def test_the_quantile_is_the_inverse_of_the_law() -> None:
    assert worst_quantile_ulps(300, 3) <= QUANTILE_ULPS


def test_the_ends() -> None:
    assert elementary.log(1.0) == elementary.log1p(0.0) == elementary.expm1(0.0) == 0.0
    assert (elementary.exp(0.0), elementary.normal_quantile(0.5)) == (1.0, 0.0)
    assert (elementary.exp(-math.inf), elementary.exp(math.inf)) == (0.0, math.inf)
    assert (elementary.expm1(-math.inf), elementary.expm1(math.inf)) == (-1.0, math.inf)
    assert elementary.log(5e-324) == pytest.approx(math.log(5e-324), rel=1e-15)


def test_floats_are_added_from_left_to_right() -> None:
    assert elementary.added([1e16, 1.0, 1.0]) == 1e16
    assert elementary.added([1.0, 1.0, 1e16]) == 1e16 + 2.0
    assert elementary.added([]) == 0.0
