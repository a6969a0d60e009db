"""The codes: exhaustively on single and double errors, against galois, and against counting by hand."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hwsim.hardware.dram.ecc import (
    CE,
    CHIPKILL_X4,
    CHIPKILL_X4_DDR5,
    CHIPKILL_X4_LOCKSTEP,
    CODES,
    MISCORRECTED,
    NO_ECC,
    NONE,
    ON_DIE_SEC,
    OUTCOMES,
    SECDED,
    SILENT,
    UE,
    decode,
    outcome,
    outcomes,
    residual,
)
from hwsim.hardware.dram.ecc_line import code_words, line_outcomes

SYMBOL_CODES = [CHIPKILL_X4, CHIPKILL_X4_DDR5, CHIPKILL_X4_LOCKSTEP]
BYTES = np.arange(1, 256, dtype=np.uint8)


def flips(n, weight):
    """All patterns of so many wrong bits, (comb(n, weight), n)."""
    where = np.array(list(combinations(range(n), weight)))
    patterns = np.zeros((len(where), n), dtype=np.uint8)
    np.put_along_axis(patterns, where, 1, axis=1)
    return patterns


def single_symbols(code):
    patterns = np.zeros((code.n, 255, code.n), dtype=np.uint8)
    for i in range(code.n):
        patterns[i, :, i] = BYTES
    return patterns.reshape(-1, code.n)


def double_symbols(code, i, j):
    patterns = np.zeros((255, 255, code.n), dtype=np.uint8)
    patterns[..., i], patterns[..., j] = BYTES[:, None], BYTES
    return patterns.reshape(-1, code.n)


def count(results):
    return {
        name: int((results == index).sum()) for index, name in enumerate(OUTCOMES) if (results == index).any()
    }


# ------------------------------------------------------------------------------------------------- every code


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_no_error_is_none_and_a_code_word_is_silent(code):
    assert outcome(code, np.zeros(code.n)) == "none"
    data = np.zeros(code.k, dtype=np.uint8)
    data[3] = 1
    assert outcome(code, code.encode(data)) == "silent"


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
@given(data=st.data())
def test_the_outcome_does_not_depend_on_what_is_stored(code, data):
    top = 1 if code.n in (64, 72, 136) else 255
    word = code.encode(data.draw(arrays(np.uint8, code.k, elements=st.integers(0, top))))
    pattern = data.draw(arrays(np.uint8, code.n, elements=st.integers(0, top), fill=st.just(0)))
    read, reported = decode(code, word ^ pattern)
    right = np.array_equal(read, word[: code.k])
    assert outcome(code, pattern) == {
        (int(NONE), True): "none",
        (int(NONE), False): "silent",
        (int(CE), True): "CE",
        (int(CE), False): "miscorrected",
    }.get((int(reported), right), "UE")


def test_patterns_of_the_wrong_length_are_refused():
    with pytest.raises(ValueError, match="last axis has length 72"):
        outcome(SECDED, np.zeros(64))


def test_without_ecc_every_error_is_silent():
    assert count(outcomes(NO_ECC, flips(64, 1))) == {"silent": 64}


# ----------------------------------------------------------------------------------------------------- SECDED


def test_secded_is_a_hsiao_code():
    columns = SECDED.columns
    assert len(set(columns)) == 72
    assert all(column.bit_count() % 2 for column in columns)
    assert [sum(column >> row & 1 for column in columns) for row in range(8)] == [27] * 8


def test_secded_corrects_all_72_single_and_detects_all_2556_double_errors():
    assert count(outcomes(SECDED, flips(72, 1))) == {"CE": 72}
    assert count(outcomes(SECDED, flips(72, 2))) == {"UE": 2556}


def test_secded_miscorrects_triples_as_counted_by_quadruples():
    # Three errors look like one in a fourth bit when the four columns XOR to zero; so each word of weight 4
    # is seen four times.  Counted here by sums of two columns that agree.
    sums = np.array([a ^ b for a, b in combinations(SECDED.columns, 2)])
    weight_4 = sum(comb(int(n), 2) for n in np.bincount(sums)) // 3
    result = count(outcomes(SECDED, flips(72, 3)))
    assert result == {"miscorrected": 4 * weight_4, "UE": comb(72, 3) - 4 * weight_4}


def test_secded_meets_a_whole_bad_chip_with_every_outcome():
    # One x4 chip, all its patterns: 4 single, 6 double, 4 triple, 1 quadruple, for each of 18 chips.
    patterns = np.zeros((18, 15, 72), dtype=np.uint8)
    for chip in range(18):
        patterns[chip, :, 4 * chip : 4 * chip + 4] = np.arange(1, 16)[:, None] >> np.arange(4) & 1
    result = count(outcomes(SECDED, patterns))
    # Two chips, 2 and 9, have four columns that XOR to zero: all their pins wrong is a code word.
    assert result == {"CE": 72, "UE": 157, "miscorrected": 39, "silent": 2}


# --------------------------------------------------------------------------------------------------- chipkill


@pytest.mark.parametrize("code", SYMBOL_CODES, ids=lambda code: code.name)
def test_chipkill_corrects_everything_one_chip_can_do(code):
    assert count(outcomes(code, single_symbols(code))) == {"CE": code.n * 255}


@pytest.mark.parametrize("code", [CHIPKILL_X4, CHIPKILL_X4_DDR5], ids=lambda code: code.name)
def test_two_bad_chips_are_miscorrected_in_n_minus_2_of_255(code):
    # Two check symbols: a pair of wrong symbols meets each syndrome once, except those of an error in one of
    # the two alone; 255 syndromes of each other symbol are miscorrected.
    for i, j in [(0, 1), (3, code.n - 1), (code.n - 2, code.n - 1)]:
        result = count(outcomes(code, double_symbols(code, i, j)))
        assert result == {"miscorrected": 255 * (code.n - 2), "UE": 255**2 - 255 * (code.n - 2)}


def test_random_pairs_of_chips_are_miscorrected_at_that_share():
    rng = np.random.default_rng(20)
    n = 200_000
    first = rng.integers(0, 18, n)
    second = (first + rng.integers(1, 18, n)) % 18
    patterns = np.zeros((n, 18), dtype=np.uint8)
    patterns[np.arange(n), first], patterns[np.arange(n), second] = rng.integers(1, 256, (2, n))
    share = (outcomes(CHIPKILL_X4, patterns) == MISCORRECTED).mean()
    expected = 16 / 255
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)


def test_lockstep_detects_every_pair_of_bad_chips():
    for i, j in [(0, 1), (7, 20), (34, 35)]:
        assert count(outcomes(CHIPKILL_X4_LOCKSTEP, double_symbols(CHIPKILL_X4_LOCKSTEP, i, j))) == {
            "UE": 255**2
        }


# ----------------------------------------------------------------------------------------------------- on-die


def test_on_die_sec_corrects_every_single_and_miscorrects_doubles_as_counted():
    assert count(outcomes(ON_DIE_SEC, flips(136, 1))) == {"CE": 136}
    columns = set(ON_DIE_SEC.columns)
    assert len(columns) == 136
    hits = sum(a ^ b in columns for a, b in combinations(ON_DIE_SEC.columns, 2))
    assert count(outcomes(ON_DIE_SEC, flips(136, 2))) == {"miscorrected": hits, "UE": 136 * 135 // 2 - hits}
    assert hits / 9180 == pytest.approx(135 / 255, abs=0.01)


def test_what_leaves_the_chip_is_nothing_the_error_itself_or_one_bit_more():
    assert not residual(ON_DIE_SEC, flips(136, 1)).any()
    double = flips(136, 2)
    left = residual(ON_DIE_SEC, double)
    given_up = outcomes(ON_DIE_SEC, double) == UE
    assert np.array_equal(left[given_up], double[given_up])
    assert set(left[~given_up].sum(axis=1)) == {3}


# ------------------------------------------------------------------------------------------------------ lines


def test_a_bad_x4_chip_is_corrected_by_chipkill_whatever_it_says():
    line = np.zeros((1000, 8, 18, 4), dtype=np.uint8)
    line[:, :, 5] = np.random.default_rng(3).integers(0, 2, (1000, 8, 4))
    assert set(line_outcomes(CHIPKILL_X4, line)) <= {NONE, CE}
    assert UE in line_outcomes(SECDED, line)


def test_symbols_are_two_beats_of_one_chip():
    line = np.zeros((8, 18, 4), dtype=np.uint8)
    line[2, 7, 1] = line[3, 7, 0] = 1
    words = code_words(CHIPKILL_X4, line)
    assert words.shape == (4, 18)
    assert words[1, 7] == 0b0001_0010
    assert words.sum() == words[1, 7]
    bits = code_words(SECDED, line)
    assert bits.shape == (8, 72)
    assert np.argwhere(bits).tolist() == [[2, 29], [3, 28]]


def test_two_chips_in_different_words_are_corrected():
    line = np.zeros((8, 18, 4), dtype=np.uint8)
    line[0, 3, 0] = line[6, 9, 0] = 1
    assert line_outcomes(CHIPKILL_X4, line) == CE
    assert line_outcomes(SECDED, line) == CE
    line[0, 9, 0] = 1
    assert line_outcomes(SECDED, line) == UE


def test_a_line_suffers_its_worst_word_and_a_ue_tells_of_it():
    line = np.zeros((8, 18, 4), dtype=np.uint8)
    line[0] = SECDED.encode(np.eye(64, dtype=np.uint8)[0]).reshape(18, 4)
    line[1, 0, 0] = 1
    assert line_outcomes(SECDED, line) == SILENT
    line[2, 0, :2] = 1
    assert line_outcomes(SECDED, line) == UE


@pytest.mark.parametrize(
    ("code", "shape"), [(SECDED, (8, 9, 4)), (CHIPKILL_X4, (8, 9, 8)), (CHIPKILL_X4, (7, 18, 4))]
)
def test_chips_that_make_no_code_word_are_refused(code, shape):
    with pytest.raises(ValueError, match="allowed"):
        code_words(code, np.zeros(shape, dtype=np.uint8))


def test_code_words_have_the_symbols_that_their_chips_deliver():
    assert {name: (code.n, code.k) for name, code in CODES.items()} == {
        "no-ecc": (64, 64),
        "secded": (72, 64),  # a beat of a 72-bit rank
        "chipkill-x4": (18, 16),  # a byte of each x4 chip
        "chipkill-x4-lockstep": (36, 32),
        "chipkill-x4-ddr5": (10, 8),
        "on-die-sec": (136, 128),
    }
