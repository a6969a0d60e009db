"""Draws are named: they depend on seed, replication, error and slot, and on nothing else."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hwsim.rng import ROW, Draws, Slot


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=20), st.integers(0, 2**40), st.integers(0, 10**6))
def test_a_row_does_not_depend_on_what_was_asked_before(
    errors: list[int], seed: int, replication: int
) -> None:
    draws = Draws(seed, replication)
    seen = {error: draws.row(error) for error in errors}
    random.Random(1).shuffle(errors)
    again = Draws(seed, replication)
    for error in errors:
        assert again.row(error) == seen[error]


def test_uniforms_are_strictly_inside_and_even() -> None:
    draws = Draws(1, 2)
    rows = np.array([draws.row(error) for error in range(4000)])
    assert rows.shape == (4000, ROW)
    assert rows.min() > 0.0
    assert rows.max() < 1.0
    # 32 means of 4000 uniforms: each within 5 standard errors (false alarm 2e-5 in all).
    assert np.abs(rows.mean(axis=0) - 0.5).max() < 5 * np.sqrt(1 / 12 / 4000)
    correlation = np.corrcoef(rows.T) - np.eye(ROW)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)


def test_small_keys_do_not_collide() -> None:
    seen = {Draws(seed, replication).row(0)[0] for seed in range(40) for replication in range(40)}
    assert len(seen) == 1600
    draws = Draws(1, 1)
    extras = {draws.extra(error, slot, k) for error in range(20) for slot in range(20) for k in range(20)}
    assert len(extras) == 8000


def test_arrival_streams_are_apart_and_exponential() -> None:
    draws = Draws(9, 0)
    first, second = draws.arrivals(0), draws.arrivals(1)
    a = np.array([first.next_exponential() for _ in range(5000)])
    b = np.array([second.next_exponential() for _ in range(5000)])
    assert abs(a.mean() - 1.0) < 5 / np.sqrt(5000)
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(5000)
    again = Draws(9, 0).arrivals(1)
    assert [again.next_exponential() for _ in range(100)] == b[:100].tolist()


def test_slots_are_numbered_for_ever() -> None:
    """Append only: these numbers are part of every published result."""
    assert [slot.name for slot in sorted(Slot)[:8]] == [
        "PLACE",
        "LINE",
        "PERMANENT",
        "RACE_TASK",
        "RACE_WHO",
        "RACE_KERNEL",
        "RACE_HEAL",
        "RACE_DEVICE",
    ]
    assert sorted(slot.value for slot in Slot) == list(range(len(Slot)))


def test_two_known_values_stay_what_they_are() -> None:
    """The bytes of a study depend on these; Philox and BLAKE2b are specified, so they cannot drift."""
    draws = Draws(20090603, 7)
    assert round(draws.row(3)[Slot.LINE], 12) == ROW_VALUE
    assert round(draws.extra(3, Slot.TOUCH, 11), 12) == EXTRA_VALUE


ROW_VALUE = 0.989634718211
EXTRA_VALUE = 0.352068066444
