"""log, exp and the normal quantile: the last bit, and the same bits one by one and by the array."""

from __future__ import annotations

import math

import pytest

from hwsim import elementary
from tests.support.elementary_checks import (
    NAMES,
    QUANTILE_ULPS,
    ULPS,
    differing_bits,
    worst_quantile_ulps,
    worst_ulps,
)


@pytest.mark.parametrize("name", NAMES)
def test_a_number_and_an_array_of_numbers_give_the_same_bits(name: str) -> None:
    assert differing_bits(name, 100_000, 1) == 0


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
