"""Machines without an arrival, found many at once: those that are found one by one, with the same results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hwsim.machine.arrivals import nothing_arrives, onsets
from hwsim.machine.quiet import quiet, uneventful
from hwsim.many_draws import ManyDraws
from hwsim.rng import Draws
from hwsim.spec import DramSpec, ErrorSpec, ScriptStep, Spec
from tests.support.worlds import world

YEAR_NS = 31_536_000_000_000_000  # above 2^53: not each of its ns is a float
TIMES_NS = st.integers(0, 2 * YEAR_NS) | st.sampled_from([0, 1, YEAR_NS - 1, YEAR_NS, YEAR_NS + 1])
DRAM = st.sampled_from([0.0, 0.5, 3.0]).map(lambda frailty: DramSpec("ddr4-1socket", frailty=frailty))
SOURCES = st.builds(
    ErrorSpec,
    rate_per_s=st.sampled_from([0.0, 1e-300, 1e-9, 1e-8, 1e-7, 1.0, 1e300]),
    start_ns=TIMES_NS,
    end_ns=st.none() | TIMES_NS,
    dram=st.none() | DRAM,
    count=st.sampled_from([None] * 9 + [1]),
)
INDICES = st.lists(st.integers(0, 2**40), max_size=20, unique=True)


def rare(*errors: ErrorSpec, seed: int = 1, horizon_ns: int = YEAR_NS) -> Spec:
    return replace(world(), errors=errors, seed=seed, horizon_ns=horizon_ns)


@given(st.lists(SOURCES, max_size=3), INDICES, st.integers(0, 2**63 - 1), TIMES_NS.filter(bool))
def test_they_are_those_that_are_found_one_by_one(
    errors: list[ErrorSpec], indices: list[int], seed: int, horizon_ns: int
) -> None:
    spec = rare(*errors, seed=seed, horizon_ns=horizon_ns)
    alone = {index: uneventful(spec, index) for index in indices}
    assert quiet(spec, indices) == {index: found for index, found in alone.items() if found is not None}


@given(st.integers(0, 2**32), st.floats(1e-10, 1e3), st.integers(-2, 2), st.integers(0, YEAR_NS))
@example(3, 1e-9, 0, 1)
@example(3, 1e-9, 1, 1)
def test_a_wait_is_compared_to_the_nanosecond(seed: int, rate: float, more: int, start_ns: int) -> None:
    """A window that ends with the first wait, or a ns or two beside it, also where floats are coarser."""
    endless = ErrorSpec(rate, start_ns=start_ns)
    first_ns = next(onsets(Draws(seed, 7), 0, endless, 2**100))
    error = replace(endless, end_ns=first_ns + more)
    some = next(onsets(Draws(seed, 7), 0, error, 2**100), None)
    assert nothing_arrives(ManyDraws(seed, [7]), 0, error, 2**100).tolist() == [some is None]


def test_a_window_between_two_floats_is_not_rounded_down() -> None:
    """A wait that is a float, and a window one ns longer: as a float it would be no longer than the wait."""
    for seed in range(200):
        wait_ns = float(Draws(seed, 0).arrivals(0).next_exponential() / 1e-8 * 1e9)
        error = ErrorSpec(1e-8, end_ns=int(wait_ns) + 1)
        assert nothing_arrives(ManyDraws(seed, [0]), 0, error, 2**63).tolist() == [False]


@pytest.mark.parametrize(
    "error",
    [ErrorSpec(), ErrorSpec(9.0, start_ns=5, end_ns=5), ErrorSpec(9.0, end_ns=0)],
)
def test_without_a_rate_or_a_window_all_are_quiet(error: ErrorSpec) -> None:
    found = quiet(rare(error), range(9, 3, -2))
    assert list(found) == [9, 7, 5]
    assert [each.row.replication for each in found.values()] == [9, 7, 5]


def test_about_as_many_are_quiet_as_the_rate_says() -> None:
    """exp(-rate x window) of 20,000, and fewer with two sources; false alarm 1e-5 each."""
    error = ErrorSpec(1e-8, start_ns=YEAR_NS // 4, end_ns=3 * YEAR_NS // 4)
    for sources in (1, 2):
        expected = np.exp(-sources * 1e-8 * YEAR_NS / 2e9)
        found = len(quiet(rare(*[error] * sources), range(20_000))) / 20_000
        assert abs(found - expected) < 4.42 * np.sqrt(expected * (1.0 - expected) / 20_000)


def test_a_script_or_a_count_is_never_quiet() -> None:
    spec = rare(ErrorSpec())
    assert len(quiet(spec, range(5))) == 5
    assert quiet(replace(spec, errors=(ErrorSpec(), ErrorSpec(count=1))), range(5)) == {}
    assert quiet(replace(spec, script=(ScriptStep("reboot", 5),)), range(5)) == {}
