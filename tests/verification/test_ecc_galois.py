"""The decoders against galois with the number of words that the test suite has no time for."""

import pytest

from hwsim.hardware.dram.ecc import CHIPKILL_X4, CHIPKILL_X4_DDR5, CHIPKILL_X4_LOCKSTEP
from tests.hardware.test_ecc_galois import decoded_as_bch, decoded_as_reed_solomon, miscorrected_alike


def test_on_die_sec_is_the_shortened_bch_code():
    decoded_as_bch(every=5)


@pytest.mark.parametrize(
    "code", [CHIPKILL_X4, CHIPKILL_X4_DDR5, CHIPKILL_X4_LOCKSTEP], ids=lambda code: code.name
)
def test_chipkill_is_the_shortened_reed_solomon_code(code):
    decoded_as_reed_solomon(code, every=7)


def test_chipkill_miscorrects_the_same_pairs_to_the_same_data():
    miscorrected_alike(words=2_000)
