"""The codes against an independent library, galois: encoders, syndromes and decoders agree.

A word costs galois up to 25 ms: here it decodes a few hundred of each code, `make verify` ten times as many.
"""

import galois
import numpy as np
import pytest

from hwsim.hardware.dram.ecc import (
    CE,
    CHIPKILL_X4,
    CHIPKILL_X4_DDR5,
    CHIPKILL_X4_LOCKSTEP,
    MISCORRECTED,
    ON_DIE_SEC,
    SECDED,
    UE,
    decode,
    outcomes,
)
from tests.hardware.test_ecc import flips

pytestmark = pytest.mark.xdist_group("galois")  # it compiles itself once a process
GF2 = galois.GF(2)


def check_matrix(code):
    """(check_bits, n) over GF(2), from the columns alone."""
    return GF2(np.array([[column >> row & 1 for column in code.columns] for row in range(code.check_bits)]))


@pytest.mark.parametrize("code", [SECDED, ON_DIE_SEC], ids=lambda code: code.name)
def test_the_encoder_spans_the_null_space_of_the_check_matrix(code):
    generator = GF2(code.encode(np.eye(code.k, dtype=np.uint8)))
    check = check_matrix(code)
    assert np.linalg.matrix_rank(check) == code.check_bits
    assert not (generator @ check.T).any()
    assert np.array_equal(generator.row_reduce(), check.null_space().row_reduce())


@pytest.mark.parametrize("code", [SECDED, ON_DIE_SEC], ids=lambda code: code.name)
def test_syndromes_are_products_with_the_check_matrix(code):
    patterns = np.concatenate([flips(code.n, 1), flips(code.n, 2)])
    product = np.asarray(GF2(patterns) @ check_matrix(code).T)
    assert np.array_equal(code.syndromes(patterns), product @ (1 << np.arange(code.check_bits)))


def test_on_die_sec_is_the_shortened_bch_code():
    decoded_as_bch(every=100)


@pytest.mark.parametrize(
    "code", [CHIPKILL_X4, CHIPKILL_X4_DDR5, CHIPKILL_X4_LOCKSTEP], ids=lambda code: code.name
)
def test_chipkill_is_the_shortened_reed_solomon_code(code):
    decoded_as_reed_solomon(code, every=70)


def test_chipkill_miscorrects_the_same_pairs_to_the_same_data():
    miscorrected_alike(words=200)


def decoded_as_bch(every):
    """All single errors of a word, and each of so many of the double ones."""
    # galois writes the check bits highest power first, hwsim lowest first.
    bch = galois.BCH(255, 247)
    order = np.r_[0:128, 135:127:-1]
    data = np.random.default_rng(1).integers(0, 2, (50, 128), dtype=np.uint8)
    assert np.array_equal(ON_DIE_SEC.encode(data)[:, order], np.asarray(bch.encode(data)))
    patterns = np.concatenate([flips(136, 1), flips(136, 2)[::every]])
    theirs, errors = bch.decode(GF2(patterns[:, order]), errors=True)
    ours, reported = decode(ON_DIE_SEC, patterns)
    assert np.array_equal(errors == -1, reported == UE)
    assert np.array_equal(errors == 1, reported == CE)
    assert np.array_equal(np.asarray(theirs)[errors == 1], ours[errors == 1])


def decoded_as_reed_solomon(code, every):
    """Each of so many of the errors that one symbol can have."""
    rs = galois.ReedSolomon(255, 255 - (code.n - code.k), c=0)
    rng = np.random.default_rng(2)
    data = rng.integers(0, 256, (50, code.k), dtype=np.uint8)
    assert np.array_equal(code.encode(data), np.asarray(rs.encode(data)))

    single = np.zeros((code.n, 255, code.n), dtype=np.uint8)
    single[np.arange(code.n), :, np.arange(code.n)] = np.arange(1, 256)
    words = code.encode(data[0]) ^ single.reshape(-1, code.n)[::every]
    theirs, errors = rs.decode(words, errors=True)
    ours, reported = decode(code, words)
    assert np.array_equal(errors, np.ones(len(words)))
    assert (reported == CE).all()
    assert np.array_equal(np.asarray(theirs), ours)
    assert np.array_equal(ours, np.broadcast_to(data[0], ours.shape))


def miscorrected_alike(words):
    """So many words with two wrong symbols."""
    rs = galois.ReedSolomon(255, 253, c=0)
    rng = np.random.default_rng(3)
    first = rng.integers(0, 18, words)
    second = (first + rng.integers(1, 18, words)) % 18
    wrong = np.zeros((words, 18), dtype=np.uint8)
    wrong[np.arange(words), first], wrong[np.arange(words), second] = rng.integers(1, 256, (2, words))
    theirs, errors = rs.decode(wrong, errors=True)
    ours, reported = decode(CHIPKILL_X4, wrong)
    # An error "found" in the part that was cut off is reported by galois as none; hwsim gives such a word up.
    assert np.array_equal(errors == 1, reported == CE)
    assert np.array_equal(outcomes(CHIPKILL_X4, wrong) == MISCORRECTED, errors == 1)
    assert np.array_equal(np.asarray(theirs)[errors == 1], ours[errors == 1])
