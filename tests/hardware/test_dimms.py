"""DRAM geometry: capacities by hand, and all that is impossible told at once."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.hardware.dram.dimms import COUNTS, GEOMETRIES, GeometryError

DDR4 = GEOMETRIES["ddr4-2socket"]
GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "chip_gbit", "row_bytes", "dimm_gib", "gib", "chips"),
    [
        ("ddr2-faultsim", 1, 16384, 2, 2, 18),
        ("ddr4-2socket", 8, 8192, 32, 512, 2 * 4 * 2 * 2 * 18),
        ("ddr5-2socket", 16, 8192, 32, 512, 2 * 8 * 2 * 10),
    ],
)
def test_presets_have_the_capacity_on_their_label(name, chip_gbit, row_bytes, dimm_gib, gib, chips):
    geometry = GEOMETRIES[name]
    assert geometry.problems() == []
    cells = geometry.bank_groups * geometry.banks * geometry.rows * geometry.columns
    bits_per_chip = cells * geometry.chip_width_bits
    assert bits_per_chip == chip_gbit * GIB
    assert geometry.lines_per_row * 64 == row_bytes
    assert geometry.dimm_bytes == dimm_gib * GIB
    assert geometry.capacity_bytes == gib * GIB == geometry.lines * 64 == geometry.pages * 4096
    assert geometry.total_chips == chips
    data_bits = geometry.total_chips * bits_per_chip
    share = geometry.data_chips_per_rank / geometry.chips_per_rank
    assert data_bits * share == geometry.capacity_bytes * 8
    assert 2 ** sum(geometry.coordinate_bits.values()) == geometry.lines


def test_the_faultsim_dimm_is_the_stock_configuration():
    stock = GEOMETRIES["ddr2-faultsim"]
    assert (stock.ranks, stock.chips_per_rank, stock.chip_width_bits) == (1, 18, 4)
    assert (stock.bank_groups * stock.banks, stock.rows, stock.columns) == (8, 16384, 2048)
    assert stock.ecc_bits_per_beat == 8


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"channels": 6}, "channels"),
        ({"rows": 0}, "rows"),
        ({"banks": -4}, "banks"),
        ({"columns": 1000}, "columns"),
        ({"columns": 4}, "columns"),
        ({"sockets": 2.0}, "sockets"),
        ({"ranks": True}, "ranks"),
        ({"dimms": "2"}, "dimms"),
        ({"rows": 1 << 33}, "rows"),
        ({"chips_per_rank": 17}, "chips_per_rank"),
        ({"chips_per_rank": 0}, "chips_per_rank"),
        ({"chip_width_bits": 3}, "chip_width_bits"),
        ({"chip_width_bits": 8}, "chips_per_rank"),
        ({"burst_length": 16}, "burst_length"),
        ({"burst_length": 0}, "burst_length"),
        ({"subchannels": 2}, "subchannels"),
        ({"bank_groups": 8}, "bank_groups"),
        ({"technology": "DDR6"}, "technology"),
        ({"technology": ["DDR4"]}, "technology"),
        ({"rows": 1 << 32, "columns": 1 << 30}, "capacity_bytes"),
        ({"rows": 1, "columns": 8, "sockets": 1, "channels": 1, "dimms": 1, "ranks": 1}, "capacity_bytes"),
    ],
)
def test_one_impossible_value_is_one_problem(change, key):
    problems = replace(DDR4, **change).problems()
    assert [problem.key for problem in problems] == [key]
    assert problems[0].allowed
    if key in change:
        assert problems[0].value == change[key]


def test_all_problems_come_at_once():
    wrong = replace(DDR4, technology="DDR9", channels=3, rows=0, chip_width_bits=5)
    with pytest.raises(GeometryError) as caught:
        wrong.checked()
    assert [problem.key for problem in caught.value.problems] == [
        "technology",
        "channels",
        "rows",
        "chip_width_bits",
    ]
    assert "channels = 3" in str(caught.value)


def test_ddr5_moves_32_data_bits_a_beat_with_0_4_or_8_check_bits():
    ddr5 = GEOMETRIES["ddr5-2socket"]
    for chips in (8, 9, 10):
        assert replace(ddr5, chips_per_rank=chips).problems() == []
    assert [p.key for p in replace(ddr5, chips_per_rank=18).problems()] == ["chips_per_rank"]
    assert replace(ddr5, chips_per_rank=5, chip_width_bits=8).problems() == []


@given(st.sampled_from(COUNTS), st.one_of(st.integers(), st.floats(), st.text(), st.none(), st.booleans()))
def test_a_wild_value_is_told_never_raised(key, value):
    problems = replace(DDR4, **{key: value}).problems()
    power_of_two = type(value) is int and 0 < value <= 1 << 32 and value.bit_count() == 1
    if not power_of_two:
        assert [problem.key for problem in problems] == [key]
