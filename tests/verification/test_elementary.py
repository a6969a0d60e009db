"""Two forms, the same bits of 10^7 values, and errors as said; see ``tests/test_elementary.py``."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.elementary_checks import (
    NAMES,
    QUANTILE_ULPS,
    ULPS,
    differing_bits,
    worst_long_ulps,
    worst_quantile_ulps,
)


@pytest.mark.parametrize("name", NAMES)
def test_a_number_and_an_array_of_numbers_give_the_same_bits(name: str) -> None:
    """2 * 10^6 values of each of the five."""
    assert differing_bits(name, 2_000_000, 4) == 0


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no longer than double here")
@pytest.mark.parametrize("name", ULPS)
def test_the_error_is_below_what_is_said(name: str) -> None:
    assert worst_long_ulps(name, 2_000_000, 5) <= ULPS[name]


def test_the_quantile_is_the_inverse_of_the_law() -> None:
    assert worst_quantile_ulps(3_000, 6) <= QUANTILE_ULPS
