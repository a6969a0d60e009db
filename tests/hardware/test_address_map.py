"""The physical-address map: exact round trips, and fault ranges as their sets of lines."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.hardware.dram import gf2
from hwsim.hardware.dram.address_map import (
    AddressMap,
    AddressMapError,
    CoordinateRange,
    Coordinates,
    interleaved,
    map_problems,
)
from hwsim.hardware.dram.address_map_presets import FUNCTIONS, address_map
from hwsim.hardware.dram.dimms import COORDINATES, GEOMETRIES, DramGeometry, GeometryError

SMALL = DramGeometry(
    technology="DDR5",
    sockets=2,
    channels=2,
    subchannels=2,
    dimms=1,
    ranks=2,
    bank_groups=4,
    banks=2,
    rows=32,
    columns=128,
    chips_per_rank=10,
    chip_width_bits=4,
    burst_length=16,
)
ONE_BANK = {"socket": 1, "channel": 1, "subchannel": 0, "dimm": 0, "rank": 0, "bank_group": 1, "bank": 0}
NAMES = sorted(FUNCTIONS)


def small_map():
    """A map with two-bit and three-bit hashes between all kinds of coordinates."""
    plain = interleaved(SMALL)
    functions = dict(plain.functions)
    functions["rank"] = (functions["rank"][0] + functions["row"][4] + functions["column"][2],)
    functions["column"] = (functions["column"][0] + functions["socket"][0], *functions["column"][1:])
    return AddressMap(SMALL, functions)


def by_brute_force(mapped, where):
    """The lines of a range, found by looking at every one."""
    paddr = np.arange(mapped.geometry.lines, dtype=np.int64) << 6
    return paddr[mapped.contains(where, paddr)]


def one_bank(mapped, **more):
    counts = mapped.geometry.coordinate_counts
    values = {name: value % counts[name] for name, value in ONE_BANK.items()}
    return CoordinateRange(**values, **more)


# ------------------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("mapped", [interleaved(SMALL), small_map()], ids=["interleaved", "hashed"])
def test_every_line_of_a_small_memory_goes_there_and_back(mapped):
    paddr = np.arange(SMALL.lines, dtype=np.int64) << 6
    coordinates = mapped.decode(paddr)
    assert np.array_equal(mapped.encode(coordinates), paddr)
    counts = SMALL.coordinate_counts
    index = np.ravel_multi_index(
        [*coordinates[:-1], coordinates.column // SMALL.burst_length], [counts[name] for name in COORDINATES]
    )
    assert np.array_equal(np.sort(index), np.arange(SMALL.lines))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_addresses_of_a_preset_go_there_and_back(name, data):
    mapped = address_map(name)
    top = mapped.geometry.capacity_bytes - 1
    paddr = np.array(data.draw(st.lists(st.integers(0, top), min_size=1, max_size=50)), dtype=np.int64)
    coordinates = mapped.decode(paddr)
    assert np.array_equal(mapped.encode(coordinates), paddr & ~63)
    for coordinate, values in coordinates._asdict().items():
        count = (
            mapped.geometry.columns
            if coordinate == "column"
            else mapped.geometry.coordinate_counts[coordinate]
        )
        assert ((values >= 0) & (values < count)).all()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_coordinates_of_a_preset_go_there_and_back(name, data):
    geometry = address_map(name).geometry
    counts = {**geometry.coordinate_counts, "column": geometry.columns}
    values = {key: np.int64(data.draw(st.integers(0, count - 1))) for key, count in counts.items()}
    back = address_map(name).decode(address_map(name).encode(Coordinates(**values)))
    first_beat = values["column"] - values["column"] % geometry.burst_length
    assert tuple(int(value) for value in back) == tuple(
        int(v) for v in {**values, "column": first_beat}.values()
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_map_is_the_xor_of_the_bits_it_names(name):
    mapped = address_map(name)
    paddr = np.random.default_rng(7).integers(0, mapped.geometry.capacity_bytes, 200)
    coordinates = mapped.decode(paddr)._asdict()
    for coordinate, bits in FUNCTIONS[name].items():
        scale = mapped.geometry.burst_length if coordinate == "column" else 1
        for i, address_bits in enumerate(bits):
            expected = sum(paddr >> bit & 1 for bit in address_bits) % 2
            assert np.array_equal(coordinates[coordinate] // scale >> i & 1, expected)


@pytest.mark.parametrize("name", ["ddr4-1socket", "ddr4-2socket"])
def test_the_hashes_of_ddr4_are_the_six_measured_on_a_xeon(name):
    measured = {(6, 22), (19, 23), (20, 24), (21, 25), (8, 13, 15, 17, 27), (6, 7, 12, 14, 16, 18, 26)}
    functions = FUNCTIONS[name]
    hashes = {key: bits for key, bits in functions.items() if any(len(each) > 1 for each in bits)}
    assert set(hashes) == {"bank_group", "bank", "channel"}
    assert {each for bits in hashes.values() for each in bits} == measured
    plain = [each for key, bits in functions.items() if key not in hashes for each in bits]
    used = {bit for each in (*measured, *plain) for bit in each}
    assert used == set(range(6, (address_map(name).geometry.capacity_bytes - 1).bit_length()))


def test_the_hashes_of_ddr5_have_the_form_of_a_ryzen():
    """Bank bits with two row bits each, channels with one, and a sub-channel that is bit 6 with all banks."""
    functions = FUNCTIONS["ddr5-2socket"]
    row = [bit for (bit,) in functions["row"]]
    assert row == list(range(22, 38))
    banks = [*functions["bank_group"], *functions["bank"]]
    assert functions["subchannel"] == ((6, *sorted(own for own, *_ in banks)),)
    assert all(upper == lower + 5 for _, lower, upper in banks)
    hashed = [bit for _, *more in (*banks, *functions["channel"]) for bit in more]
    assert sorted(hashed) == list(range(22, 35))  # each row bit once
    below_rows = [bits[0] for key in functions if key not in ("row", "socket") for bits in functions[key]]
    assert sorted(below_rows) == list(range(6, 22))  # each address bit is the own one of one function


def test_zero_is_zero_and_shapes_are_kept():
    mapped = address_map("ddr4-2socket")
    assert all(int(value) == 0 for value in mapped.decode(0))
    assert mapped.decode(np.zeros((2, 0, 3), dtype=np.int64)).row.shape == (2, 0, 3)
    assert mapped.encode(mapped.decode(np.full((2, 3), 4096))).shape == (2, 3)


# -------------------------------------------------------------------------------------------- ranges as lines

wildcards = st.fixed_dictionaries(
    {
        item.name: st.one_of(
            st.none(),
            st.integers(
                0, SMALL.columns - 1 if item.name == "column" else SMALL.coordinate_counts[item.name] - 1
            ),
        )
        for item in fields(CoordinateRange)
    }
)


@settings(max_examples=150, deadline=None)
@given(wildcards)
def test_the_lines_of_any_range_are_those_found_by_looking(values):
    mapped, where = small_map(), CoordinateRange(**values)
    lines = by_brute_force(mapped, where)
    assert mapped.line_count(where) == len(lines)
    assert np.array_equal(mapped.lines_of(where, SMALL.lines), lines)
    assert np.array_equal(mapped.lines_of(where, 5), lines[:5])
    counts = {name: SMALL.coordinate_counts[name] for name in COORDINATES if values[name] is None}
    grids = np.meshgrid(*map(np.arange, counts.values()), indexing="ij")
    if grids:
        at = {name: grid.reshape(-1) for name, grid in zip(counts, grids, strict=True)}
        assert np.array_equal(np.sort(mapped.lines_at(where, at)), lines)
        in_order = {
            **values,
            **at,
            "column": at.get("column", 0) * SMALL.burst_length + (values["column"] or 0),
        }
        encoded = mapped.encode(Coordinates(**{name: in_order[name] for name in COORDINATES}))
        assert np.array_equal(mapped.lines_at(where, at), encoded)


@pytest.mark.parametrize(
    ("name", "row_pages", "banks_in_a_page"),
    [("ddr2-faultsim", 4, 1), ("ddr4-2socket", 16, 8), ("ddr5-2socket", 64, 32)],
)
def test_a_row_is_spread_over_pages_as_the_interleave_says(name, row_pages, banks_in_a_page):
    mapped = address_map(name)
    row = one_bank(mapped, row=1234)
    lines = mapped.lines_of(row, 1 << 20)
    assert len(lines) == mapped.geometry.lines_per_row
    assert (mapped.decode(lines).row == 1234).all()
    pages = np.unique(lines >> 12)
    assert len(pages) == row_pages
    page = mapped.decode(pages[0] * 4096 + np.arange(64) * 64)
    assert len(set(zip(*(part.tolist() for part in page[:-1]), strict=True))) == banks_in_a_page


@pytest.mark.parametrize("name", NAMES)
def test_a_column_fault_touches_one_page_for_every_row(name):
    mapped = address_map(name)
    column = one_bank(mapped, column=mapped.geometry.columns - 1)
    lines = mapped.lines_of(column, 1 << 20)
    assert len(lines) == mapped.geometry.rows == mapped.line_count(column)
    assert (np.diff(lines >> 12) > 0).all()
    assert lines.dtype == np.int64


@pytest.mark.parametrize("name", NAMES)
def test_a_bit_fault_is_one_line_and_the_whole_memory_all_lines(name):
    mapped = address_map(name)
    bit = one_bank(mapped, row=3, column=77)
    line = mapped.lines_of(bit, 10)
    assert len(line) == 1
    assert int(mapped.decode(line).column[0]) == 77 - 77 % mapped.geometry.burst_length
    assert mapped.line_count(CoordinateRange()) == mapped.geometry.lines


def test_a_bank_of_512_gib_is_counted_without_listing():
    mapped = address_map("ddr4-2socket")
    assert mapped.line_count(one_bank(mapped)) == 2**17 * 2**7
    assert mapped.line_count(CoordinateRange(socket=0)) == mapped.geometry.lines // 2


def test_ranges_meet_unless_one_coordinate_is_fixed_to_two_values():
    row, column = CoordinateRange(bank=1, row=5), CoordinateRange(bank=1, column=9)
    assert row.meets(column)
    assert CoordinateRange().meets(row)
    assert not row.meets(CoordinateRange(row=6))


# -------------------------------------------------------------------------------------------- what is refused


def test_a_map_that_cannot_be_inverted_names_the_bits():
    functions = dict(FUNCTIONS["ddr4-2socket"])
    functions["bank"] = ((20, 24), (19, 23, 22, 6))
    with pytest.raises(AddressMapError) as caught:
        AddressMap(GEOMETRIES["ddr4-2socket"], functions)
    (problem,) = caught.value.problems
    assert {problem.key, *str(problem.value).split(" xor ")} == {"bank[1]", "bank_group[0]", "bank_group[1]"}
    assert "invertible" in problem.allowed


def test_all_wrong_functions_are_told_at_once():
    functions = {
        **FUNCTIONS["ddr2-faultsim"],
        "bank": ((14,), (15,)),
        "colour": ((1,),),
        "row": ((17, 17), (), (99,), *((bit,) for bit in range(20, 31))),
    }
    keys = [problem.key for problem in map_problems(GEOMETRIES["ddr2-faultsim"], functions)]
    assert keys == ["colour", "bank", "row[0]", "row[1]", "row[2]"]


def test_an_address_bit_above_the_memory_or_below_a_line_is_told():
    for bit in (5, 31):
        functions = {**FUNCTIONS["ddr2-faultsim"], "bank": ((14,), (15,), (16, bit))}
        (problem,) = map_problems(GEOMETRIES["ddr2-faultsim"], functions)
        assert (problem.key, problem.allowed) == ("bank[2]", "one or more address bits from 6 to 30")


def test_an_impossible_geometry_is_refused_before_its_map():
    with pytest.raises(GeometryError, match="channels = 6"):
        interleaved(replace(SMALL, channels=6))


def test_addresses_and_coordinates_beyond_the_memory_are_refused():
    mapped = small_map()
    for paddr in (-1, SMALL.capacity_bytes):
        with pytest.raises(ValueError, match="paddr"):
            mapped.decode(paddr)
    good = mapped.decode(0)
    with pytest.raises(ValueError, match="row: allowed: from 0 to 31"):
        mapped.encode(good._replace(row=np.int64(32)))
    with pytest.raises(ValueError, match="column: allowed: from 0 to 127"):
        mapped.encode(good._replace(column=np.int64(128)))
    with pytest.raises(ValueError, match="rank = 2: allowed: from 0 to 1"):
        mapped.line_count(CoordinateRange(rank=2))


# ----------------------------------------------------------------------------------------------- GF(2) itself


@given(st.lists(st.integers(0, 2**12 - 1), min_size=1, max_size=9), st.integers(0, 2**12 - 1))
def test_a_coset_is_every_xor_in_ascending_order(vectors, offset):
    basis = gf2.echelon(vectors)
    everything = {0}
    for vector in vectors:
        everything |= {other ^ vector for other in everything}
    assert len(everything) == 1 << len(basis)
    assert gf2.coset(basis, offset, 1 << len(basis)).tolist() == sorted(
        value ^ offset for value in everything
    )


@given(st.lists(st.integers(0, 63), min_size=6, max_size=6))
def test_a_square_matrix_has_a_dependency_or_an_inverse(rows):
    dependent = gf2.dependency(rows)
    if dependent is not None:
        total = 0
        for index in dependent:
            total ^= rows[index]
        assert dependent
        assert total == 0
        return
    there = gf2.LinearMap(gf2.transpose(rows, 6))
    back = gf2.LinearMap(gf2.transpose(gf2.inverse(rows), 6))
    everything = np.arange(64, dtype=np.int64)
    assert np.array_equal(back(there(everything)), everything)
