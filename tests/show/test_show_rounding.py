"""Numbers: digits that the error supports, bounds that still hold, units that fit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.show import rounding
from hwsim.show.rounding import Unit, bound, bytes_unit, decimals, plain, shown, time_unit
from hwsim.study.estimate import Estimate, mean, paired_difference


@pytest.mark.parametrize(
    ("value", "low", "high", "number", "interval"),
    [
        (3.1412, 2.7, 3.5, "3.1", "2.7 to 3.5"),
        (3.1412, 3.03, 3.25, "3.14", "3.03 to 3.25"),  # half-width 0.11: its 1 asks for a second digit
        (12_345.6, 11_145.0, 13_545.0, "12,300", "11,100 to 13,500"),
        (0.00231, 0.0019, 0.0027, "0.0023", "0.0019 to 0.0027"),
        (-0.02, -0.3, 0.26, "0.0", "\u22120.3 to 0.3"),  # never a minus before zero
        (0.0, 0.0, 0.009222, "0", "\u2264 0.0093"),  # rounded away from zero: the bound still holds
    ],
)
def test_an_estimate_is_rounded_to_its_error(value, low, high, number, interval):
    text = shown(Estimate(value, low, high, "t", 400))
    assert (text.number, text.interval) == (number, interval)
    assert text.text == f"{number} ({interval})"


def test_zero_is_never_shown_with_an_error_of_zero():
    for estimate in (
        mean([0.0] * 400),
        mean([0.0] * 400, counts=False),
        paired_difference([1.0] * 9, [1.0] * 9),
    ):
        text = shown(estimate)
        assert text.number == "0"
        assert text.interval.startswith("\u2264 0.0093" if estimate.high else "\u2264 ")
        assert "0 to 0" not in text.text


def test_without_an_interval_the_reason_is_given():
    assert shown(mean([7.0])).text == "7 (one replication, no interval)"
    assert shown(mean([])).text == "- (no replications)"
    assert shown(mean([4.0] * 400)).text == "4 (\u2264 0.92 % differ)"
    assert shown(mean([0.0] * 400, counts=False)).text == "0 (\u2264 0.92 % have any)"


@given(st.floats(1e-9, 1e9))
def test_a_bound_never_shrinks_and_keeps_two_figures(x):
    told = float(bound(x).replace(",", ""))
    assert told >= x * (1 - 1e-8)
    assert told <= x * 1.11


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_rounding_moves_a_value_by_less_than_its_error(value, half):
    places = decimals(value, value - half, value + half)
    told = float(plain(value, places).replace(",", "").replace(rounding.MINUS, "-"))
    assert abs(told - value) <= half / 2 * (1 + 1e-6) + 1e-9


def test_units_fit_the_largest_value():
    assert time_unit([5.0, 3e11, None, math.nan]) == Unit("min", 6e10)
    assert time_unit([900.0]) == Unit("ns")
    assert time_unit([0.0]).name == "s"
    assert bytes_unit([4096.0, 3 * 2.0**20]).name == "MiB"
    assert shown(Estimate(8192.0, 4096.0, 12288.0, "t", 9), Unit("KiB", 1024.0)).text == "8 (4 to 12)"
