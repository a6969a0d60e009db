"""Draws of many machines as arrays: to the last bit those of each machine by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.many_draws import ManyDraws
from hwsim.rng import ROW, Draws, Slot

SEEDS = st.integers(-(2**63), 2**63 - 1)
REPLICATIONS = st.lists(st.integers(0, 2**40), min_size=1, max_size=9)
NAMES = st.integers(-(2**63), 2**63 - 1)


@given(SEEDS, REPLICATIONS)
def test_slots_are_those_of_the_row_of_each_machine(seed: int, replications: list[int]) -> None:
    many, alone = ManyDraws(seed, replications), [Draws(seed, each) for each in replications]
    for slot in range(ROW):
        assert many.slot(slot).tolist() == [each.row(0)[slot] for each in alone]
    for machine, each in enumerate(alone):
        assert many.row(machine) == each.row(0)
        assert many.of(machine).row(0) == each.row(0)


@given(SEEDS, REPLICATIONS, NAMES, st.sampled_from(Slot), NAMES, st.data())
def test_draws_by_name_are_those_of_each_machine(
    seed: int, replications: list[int], name: int, slot: Slot, k: int, data: st.DataObject
) -> None:
    many, alone = ManyDraws(seed, replications), [Draws(seed, each) for each in replications]
    assert many.extra(name, slot, k).tolist() == [each.extra(name, slot, k) for each in alone]
    at = data.draw(st.lists(st.integers(0, len(alone) - 1)))
    ks = data.draw(st.lists(NAMES, min_size=len(at), max_size=len(at)))
    positions = np.array(at, np.int64)
    assert many.extra(name, slot, k, positions).tolist() == [alone[each].extra(name, slot, k) for each in at]
    assert many.extra(name, slot, np.array(ks, np.int64), positions).tolist() == [
        alone[each].extra(name, slot, of) for each, of in zip(at, ks, strict=True)
    ]


@given(SEEDS, REPLICATIONS, st.integers(0, 9), st.integers(1, 30))
def test_arrivals_are_those_of_each_machine(
    seed: int, replications: list[int], source: int, count: int
) -> None:
    many, alone = ManyDraws(seed, replications), [Draws(seed, each) for each in replications]
    found = many.first_arrivals(source, count)
    assert found.tolist() == [each.arrivals(source).uniforms(count) for each in alone]
    waits = [each.arrivals(source).next_exponential() for each in alone]
    assert many.first_exponentials(source).tolist() == waits


def test_no_machines_have_no_draws() -> None:
    many = ManyDraws(1, [])
    none = [many.slot(0), many.extra(1, 2), many.extra(1, 2, 3, np.array([], np.int64))]
    none += [many.first_exponentials(0), many.first_arrivals(0, 5)]
    assert [each.shape for each in none] == [(0,)] * 4 + [(0, 5)]


def test_slots_are_drawn_once_and_together() -> None:
    many = ManyDraws(1, range(5))
    assert np.shares_memory(many.slot(Slot.PLACE), many.slot(Slot.PLACE))
    assert many.slot(0).base is many.slot(ROW - 1).base


def test_a_k_for_each_is_one_for_each() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        ManyDraws(1, range(5)).extra(0, 0, np.arange(4))
