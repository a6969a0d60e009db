"""The physical-address map: which socket, channel, DIMM, rank, bank, row and column hold a line, and back.

Every coordinate bit is the XOR of some physical address bits, as memory controllers do it and as the
measured maps are published (Pessl, Gruss, Maurice, Schwarz, Mangard, "DRAMA", USENIX Security 2016;
Seaborn 2015; Wi et al., "Sudoku", arXiv 2506.15918).  Such a map is linear over GF(2); it is invertible
exactly when no set of its functions XORs to zero, which is checked when it is built.

So the lines of a fault range - some coordinates fixed, the others free - are a shifted linear space: they
are counted without listing them, and listed in ascending order without sorting.

Not modelled: holes and remapping below 4 GiB, memory taken by firmware, interleaving over channel counts
that are no power of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hwsim.hardware.dram import gf2
from hwsim.hardware.dram.dimms import COORDINATES, DramGeometry, GeometryProblem
from hwsim.hardware.dram.gf2 import Int64Array
from hwsim.units import LINE_SHIFT, LINES_PER_PAGE

UInt64Array = npt.NDArray[np.uint64]
Functions = Mapping[str, tuple[tuple[int, ...], ...]]
"""For each coordinate its bits, lowest first; for each bit the physical address bits whose XOR it is."""

INTERLEAVE_ORDER = ("subchannel", "bank_group", "channel", "column", "dimm", "rank", "bank", "row", "socket")
"""What neighbouring lines differ in first, if nothing else is known: see :func:`interleaved`."""

HASHED = ("subchannel", "channel", "bank_group", "bank")


class Coordinates(NamedTuple):
    """Where lines lie: int64 arrays of one shape.

    ``column`` is the JEDEC column of the line's first beat, a multiple of the burst length.
    """

    socket: Int64Array
    channel: Int64Array
    subchannel: Int64Array
    dimm: Int64Array
    rank: Int64Array
    bank_group: Int64Array
    bank: Int64Array
    row: Int64Array
    column: Int64Array


@dataclass(frozen=True, slots=True)
class CoordinateRange:
    """A range of DRAM locations: a number fixes a coordinate, ``None`` is the wildcard for all its values.

    ``column`` is any JEDEC column; a line is in the range when one of its beats is.
    """

    socket: int | None = None
    channel: int | None = None
    subchannel: int | None = None
    dimm: int | None = None
    rank: int | None = None
    bank_group: int | None = None
    bank: int | None = None
    row: int | None = None
    column: int | None = None

    def fixed(self) -> dict[str, int]:
        """The coordinates that are not wildcards."""
        return {name: value for name in COORDINATES if (value := getattr(self, name)) is not None}

    def meets(self, other: CoordinateRange) -> bool:
        """Whether two ranges share a location: no coordinate is fixed to two values."""
        mine, theirs = self.fixed(), other.fixed()
        return all(mine[name] == theirs[name] for name in mine.keys() & theirs.keys())


class AddressMapError(ValueError):
    """Functions that make no map; ``problems`` holds all that is wrong."""

    def __init__(self, problems: list[GeometryProblem]) -> None:
        super().__init__("; ".join(f"{p.key} = {p.value!r}: allowed: {p.allowed}" for p in problems))
        self.problems = problems


@dataclass(frozen=True)
class AddressMap:
    """An invertible map between physical addresses and coordinates of the lines of one machine.

    ``functions`` may leave out coordinates that have one value only.  Raises :class:`AddressMapError`, or
    :class:`~hwsim.hardware.dram.dimms.GeometryError` for a geometry that cannot be. Addresses (``paddr``) are
    bytes, int64; all methods take and give arrays and loop over bits, never over addresses.
    """

    geometry: DramGeometry
    functions: Functions
    _forward: gf2.LinearMap = field(init=False, repr=False, compare=False)
    _backward: gf2.LinearMap = field(init=False, repr=False, compare=False)
    _shifts: dict[str, int] = field(init=False, repr=False, compare=False)
    _values: dict[str, int] = field(init=False, repr=False, compare=False)  # a column is JEDEC's
    _columns: dict[str, list[int]] = field(init=False, repr=False, compare=False)  # of _backward
    _bases: dict[tuple[str, ...], list[int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = map_problems(self.geometry.checked(), self.functions)
        if found:
            raise AddressMapError(found)
        rows = [row for name in COORDINATES for row in _rows(self.functions.get(name, ()))]
        backward = gf2.transpose(gf2.inverse(rows), len(rows))
        shifts, columns, shift = {}, {}, 0
        for name, bits in self.geometry.coordinate_bits.items():
            shifts[name], columns[name] = shift, backward[shift : shift + bits]
            shift += bits
        object.__setattr__(self, "_forward", gf2.LinearMap(gf2.transpose(rows, len(rows))))
        object.__setattr__(self, "_backward", gf2.LinearMap(backward))
        object.__setattr__(self, "_shifts", shifts)
        values = {**self.geometry.coordinate_counts, "column": self.geometry.columns}
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_columns", columns)
        object.__setattr__(self, "_bases", {})

    def decode(self, paddr: npt.ArrayLike) -> Coordinates:
        """Where the lines of physical addresses lie; ValueError for an address beyond the memory."""
        addresses = np.asarray(paddr, dtype=np.int64)
        if addresses.size and not 0 <= addresses.min() <= addresses.max() < self.geometry.capacity_bytes:
            raise ValueError(f"paddr: allowed: from 0 to {self.geometry.capacity_bytes - 1:#x}")
        packed = self._forward(addresses >> LINE_SHIFT)
        counts = self.geometry.coordinate_counts
        parts = {name: (packed >> self._shifts[name]) & (counts[name] - 1) for name in COORDINATES}
        parts["column"] *= self.geometry.burst_length
        return Coordinates(**parts)

    def encode(self, coordinates: Coordinates) -> Int64Array:
        """The physical addresses of lines; a column inside a burst gives its line.

        The coordinates broadcast; ValueError for one beyond its count.
        """
        packed = np.zeros((), dtype=np.int64)
        for name, values in zip(COORDINATES, coordinates, strict=True):
            part = np.asarray(values, dtype=np.int64)
            count = self._values[name]
            if part.size and not 0 <= part.min() <= part.max() < count:
                raise ValueError(f"{name}: allowed: from 0 to {count - 1}")
            if name == "column":
                part = part // self.geometry.burst_length
            packed = packed | part << self._shifts[name]
        return self._backward(packed) << LINE_SHIFT

    def contains(self, where: CoordinateRange, paddr: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which physical addresses have their line in a range."""
        coordinates = self.decode(paddr)
        inside = np.ones(coordinates.row.shape, dtype=np.bool_)
        for name, value in self._checked(where).items():
            inside &= getattr(coordinates, name) == value
        return inside

    def line_count(self, where: CoordinateRange) -> int:
        """How many lines a range has, by arithmetic."""
        fixed = self._checked(where)
        return 1 << sum(len(columns) for name, columns in self._columns.items() if name not in fixed)

    def lines_of(self, where: CoordinateRange, limit: int) -> Int64Array:
        """The physical addresses of the first ``limit`` lines of a range, ascending, int64."""
        basis, offset = self._free_lines(where)
        return gf2.coset(basis, offset, min(limit, 1 << len(basis))) << LINE_SHIFT

    def pages_of(self, where: CoordinateRange) -> tuple[Int64Array, UInt64Array]:
        """The page frames that have lines of a range, ascending, and a bit for each of these lines.

        What differs within a page is the same space in each of them, so one line of each is listed.
        """
        basis, offset = self._free_lines(where)
        within = [vector for vector in basis if vector < LINES_PER_PAGE]
        apart = gf2.coset(within, 0, 1 << len(within))
        first = gf2.coset(basis, offset, 1 << len(basis), step=apart.size)
        lines = (np.arange(LINES_PER_PAGE)[:, None] ^ apart).astype(np.uint64)
        bits = np.bitwise_or.reduce(np.uint64(1) << lines, axis=1)
        return first // LINES_PER_PAGE, bits[first % LINES_PER_PAGE]

    def lines_at(self, where: CoordinateRange, free: Mapping[str, Int64Array]) -> Int64Array:
        """The physical addresses of lines of a range, int64: where it is free they are at these coordinates.

        A column counts bursts.
        """
        offset = self._offset(self._checked(where))
        packed: Int64Array = np.bitwise_or.reduce(
            [values << self._shifts[name] for name, values in free.items()]
        )
        return (self._backward(packed) ^ offset) << LINE_SHIFT

    def _checked(self, where: CoordinateRange) -> dict[str, int]:
        """The fixed coordinates, the column rounded down to its burst; ValueError beyond the geometry."""
        fixed = where.fixed()
        for name, value in fixed.items():
            if not 0 <= value < self._values[name]:
                raise ValueError(f"{name} = {value}: allowed: from 0 to {self._values[name] - 1}")
        if "column" in fixed:
            fixed["column"] -= fixed["column"] % self.geometry.burst_length
        return fixed

    def _free_lines(self, where: CoordinateRange) -> tuple[list[int], int]:
        """The lines of a range as an echelon basis and an offset, in line numbers (paddr >> 6)."""
        fixed = self._checked(where)
        free = tuple(name for name in self._columns if name not in fixed)
        if free not in self._bases:
            self._bases[free] = gf2.echelon([column for name in free for column in self._columns[name]])
        return self._bases[free], self._offset(fixed)

    def _offset(self, fixed: Mapping[str, int]) -> int:
        """The line number that fixed coordinates make with zeroes for the others."""
        offset = 0
        for name, value in fixed.items():
            number = value // self.geometry.burst_length if name == "column" else value
            for i, column in enumerate(self._columns[name]):
                offset ^= column * (number >> i & 1)
        return offset


def map_problems(geometry: DramGeometry, functions: Functions) -> list[GeometryProblem]:
    """All that keeps functions from being an invertible map of a possible geometry; empty if they are one."""
    found = [
        GeometryProblem(name, functions[name], "one of " + ", ".join(COORDINATES))
        for name in functions
        if name not in COORDINATES
    ]
    wanted = geometry.coordinate_bits
    top = LINE_SHIFT + sum(wanted.values()) - 1
    for name, bits in wanted.items():
        given = functions.get(name, ())
        if len(given) != bits:
            found.append(
                GeometryProblem(name, given, f"{bits} bits, log2 of {geometry.coordinate_counts[name]}")
            )
        for i, address_bits in enumerate(given):
            if not address_bits or not all(LINE_SHIFT <= bit <= top for bit in address_bits):
                found.append(
                    GeometryProblem(
                        f"{name}[{i}]", address_bits, f"one or more address bits from {LINE_SHIFT} to {top}"
                    )
                )
            elif len(set(address_bits)) != len(address_bits):
                found.append(GeometryProblem(f"{name}[{i}]", address_bits, "each address bit once"))
    if found:
        return found
    names = [f"{name}[{i}]" for name, bits in wanted.items() for i in range(bits)]
    rows = [row for name in COORDINATES for row in _rows(functions.get(name, ()))]
    dependent = gf2.dependency(rows)
    if dependent is not None:
        first, *others = [names[i] for i in reversed(dependent)]
        value = " xor ".join(others) if others else 0
        found.append(
            GeometryProblem(
                first, value, "a function that is no XOR of the others (the map must be invertible)"
            )
        )
    return found


def interleaved(geometry: DramGeometry) -> AddressMap:
    """A map for any geometry: coordinates take the address bits from bit 6 up in INTERLEAVE_ORDER.

    Each bit of a HASHED coordinate is XORed with one row bit, the lowest row bits first and round again, so
    that a stride of one row does not stay in one bank.
    """
    bits_of = geometry.checked().coordinate_bits
    places, next_bit = {}, LINE_SHIFT
    for name in INTERLEAVE_ORDER:
        places[name] = range(next_bit, next_bit + bits_of[name])
        next_bit += bits_of[name]
    rows, turn = places["row"], 0
    functions: dict[str, tuple[tuple[int, ...], ...]] = {}
    for name in INTERLEAVE_ORDER:
        taken: list[tuple[int, ...]] = []
        for place in places[name]:
            if name in HASHED and rows:
                taken.append((place, rows[turn % len(rows)]))
                turn += 1
            else:
                taken.append((place,))
        functions[name] = tuple(taken)
    return AddressMap(geometry, functions)


def _rows(bits: tuple[tuple[int, ...], ...]) -> list[int]:
    """Each function as a mask over line-address bits."""
    return [sum(1 << (bit - LINE_SHIFT) for bit in address_bits) for address_bits in bits]
