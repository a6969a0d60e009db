"""DRAM geometry: how many sockets, channels, DIMMs, ranks, banks, rows, columns and chips a machine has.

Words as in JEDEC JESD79-2, -4 and -5.  A rank is the set of chips that answer together; in DDR5 a channel
is two independent 32-bit sub-channels, and "rank" means the chips of one of them.  A column is one
chip-wide address; a burst of columns from all chips of a rank moves one 64-byte line.

Modelled: every count is a power of two, as the address map is linear over GF(2).  Six or twelve channels,
24 Gbit chips and mixed DIMMs are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from hwsim.units import LINE_BYTES, MAX_PHYS_BITS, PAGE_BYTES

MAX_CAPACITY_BYTES = 1 << MAX_PHYS_BITS

COORDINATES = ("socket", "channel", "subchannel", "dimm", "rank", "bank_group", "bank", "row", "column")
COUNTS = (
    "sockets",
    "channels",
    "subchannels",
    "dimms",
    "ranks",
    "bank_groups",
    "banks",
    "rows",
    "columns",
)


class Technology(NamedTuple):
    """What a JEDEC generation fixes: bits a beat and how many sub-channels a channel has."""

    data_bits: int
    ecc_bits: tuple[int, ...]
    subchannels: int
    bank_groups: tuple[int, ...]


TECHNOLOGIES = {
    "DDR2": Technology(64, (0, 8), 1, (1,)),
    "DDR3": Technology(64, (0, 8), 1, (1,)),
    "DDR4": Technology(64, (0, 8), 1, (2, 4)),
    "DDR5": Technology(32, (0, 4, 8), 2, (4, 8)),
}
CHIP_WIDTHS_BITS = (4, 8, 16)


class GeometryProblem(NamedTuple):
    """A value that cannot be: its key, the value, and what is allowed."""

    key: str
    value: object
    allowed: str


class GeometryError(ValueError):
    """A geometry that cannot be; ``problems`` holds all of them."""

    def __init__(self, problems: list[GeometryProblem]) -> None:
        super().__init__("; ".join(f"{p.key} = {p.value!r}: allowed: {p.allowed}" for p in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class DramGeometry:
    """The DRAM of one machine, all DIMMs alike.

    Counts are per next larger thing: ``channels`` a socket, ``subchannels`` a channel, ``dimms`` a
    channel, ``ranks`` a DIMM (and sub-channel), ``bank_groups`` a chip, ``banks`` a group, ``rows`` a
    bank, ``columns`` a row of one chip.  ``chips_per_rank`` counts data and ECC chips of one
    (sub-)channel, ``burst_length`` the beats of a line.  Nothing is checked on construction:
    :meth:`problems` tells all that is wrong at once, :meth:`checked` raises it.
    """

    technology: str
    sockets: int
    channels: int
    subchannels: int
    dimms: int
    ranks: int
    bank_groups: int
    banks: int
    rows: int
    columns: int
    chips_per_rank: int
    chip_width_bits: int
    burst_length: int

    @property
    def data_bits_per_beat(self) -> int:
        """Data bits a (sub-)channel moves in one beat: 64, or 32 in DDR5."""
        return TECHNOLOGIES[self.technology].data_bits

    @property
    def ecc_bits_per_beat(self) -> int:
        """Check bits a (sub-)channel moves beside the data in one beat."""
        return self.chips_per_rank * self.chip_width_bits - self.data_bits_per_beat

    @property
    def data_chips_per_rank(self) -> int:
        """Chips of a rank that hold data."""
        return self.data_bits_per_beat // self.chip_width_bits

    @property
    def ecc_chips_per_rank(self) -> int:
        """Chips of a rank that hold check bits."""
        return self.chips_per_rank - self.data_chips_per_rank

    @property
    def lines_per_row(self) -> int:
        """64-byte lines in one row of a rank."""
        return self.columns // self.burst_length

    @property
    def bank_lines(self) -> int:
        """Lines of one bank of one rank."""
        return self.rows * self.lines_per_row

    @property
    def rank_bytes(self) -> int:
        """Data bytes of one rank (of one sub-channel)."""
        return self.bank_groups * self.banks * self.bank_lines * LINE_BYTES

    @property
    def dimm_bytes(self) -> int:
        """Data bytes of one DIMM, as printed on its label."""
        return self.subchannels * self.ranks * self.rank_bytes

    @property
    def total_dimms(self) -> int:
        """DIMMs of the machine."""
        return self.sockets * self.channels * self.dimms

    @property
    def chips_per_dimm(self) -> int:
        """Chips of one DIMM, ECC chips included."""
        return self.subchannels * self.ranks * self.chips_per_rank

    @property
    def total_chips(self) -> int:
        """Chips of the machine, ECC chips included."""
        return self.total_dimms * self.chips_per_dimm

    @property
    def capacity_bytes(self) -> int:
        """Data bytes of the machine."""
        return self.total_dimms * self.dimm_bytes

    @property
    def lines(self) -> int:
        """64-byte lines of the machine."""
        return self.capacity_bytes // LINE_BYTES

    @property
    def pages(self) -> int:
        """4 KiB pages of the machine."""
        return self.capacity_bytes // PAGE_BYTES

    @property
    def coordinate_counts(self) -> Mapping[str, int]:
        """How many values each coordinate of a line takes; ``column`` counts bursts, not columns."""
        return _coordinate_counts(self)

    @property
    def coordinate_bits(self) -> dict[str, int]:
        """How many address bits each coordinate takes; their sum is log2 of :attr:`lines`."""
        return {name: count.bit_length() - 1 for name, count in self.coordinate_counts.items()}

    def problems(self) -> list[GeometryProblem]:
        """All that makes this geometry impossible; empty for one that can be built."""
        found = [*self._count_problems()]
        if self.technology not in list(TECHNOLOGIES):  # a list compares, where a dict would hash
            found.insert(
                0, GeometryProblem("technology", self.technology, "one of " + ", ".join(TECHNOLOGIES))
            )
        if found:
            return found
        found += self._bus_problems()
        if not found and not PAGE_BYTES <= self.capacity_bytes <= MAX_CAPACITY_BYTES:
            found.append(
                GeometryProblem(
                    "capacity_bytes", self.capacity_bytes, "from one page of 4 KiB to 4 PiB (52 address bits)"
                )
            )
        return found

    def checked(self) -> DramGeometry:
        """This geometry, or :class:`GeometryError` with all problems."""
        found = self.problems()
        if found:
            raise GeometryError(found)
        return self

    def _count_problems(self) -> list[GeometryProblem]:
        """Values that are wrong whatever the others are."""
        found = []
        for key in COUNTS:
            value = getattr(self, key)
            if not _is_count(value) or value & (value - 1):
                found.append(GeometryProblem(key, value, "a power of two: 1, 2, 4, ..., at most 2^32"))
        if not _is_count(self.chips_per_rank):
            found.append(
                GeometryProblem("chips_per_rank", self.chips_per_rank, "a whole number of chips, at least 1")
            )
        if not _is_count(self.chip_width_bits) or self.chip_width_bits not in CHIP_WIDTHS_BITS:
            found.append(GeometryProblem("chip_width_bits", self.chip_width_bits, "4, 8 or 16 (x4, x8, x16)"))
        if not _is_count(self.burst_length):
            found.append(
                GeometryProblem("burst_length", self.burst_length, "a whole number of beats, at least 1")
            )
        return found

    def _bus_problems(self) -> list[GeometryProblem]:
        """Values that do not fit each other, once each of them is a count."""
        found = []
        kind = TECHNOLOGIES[self.technology]
        if self.subchannels != kind.subchannels:
            found.append(
                GeometryProblem("subchannels", self.subchannels, f"{kind.subchannels} in {self.technology}")
            )
        if self.bank_groups not in kind.bank_groups:
            groups = " or ".join(str(count) for count in kind.bank_groups)
            found.append(GeometryProblem("bank_groups", self.bank_groups, f"{groups} in {self.technology}"))
        if self.ecc_bits_per_beat not in kind.ecc_bits:
            totals = [kind.data_bits + ecc for ecc in kind.ecc_bits]
            width = self.chip_width_bits
            fitting = " or ".join(str(bits // width) for bits in totals if bits % width == 0)
            check = " or ".join(str(ecc) for ecc in kind.ecc_bits)
            found.append(
                GeometryProblem(
                    "chips_per_rank",
                    self.chips_per_rank,
                    f"{fitting} x{width} chips: {self.technology} moves {kind.data_bits} data and {check} "
                    "check bits a beat",
                )
            )
        beats = LINE_BYTES * 8 // kind.data_bits
        if self.burst_length != beats:
            found.append(
                GeometryProblem(
                    "burst_length",
                    self.burst_length,
                    f"{beats}: a line of 64 bytes is {beats} beats of {kind.data_bits} bits",
                )
            )
        elif self.columns < self.burst_length:
            found.append(GeometryProblem("columns", self.columns, f"at least one burst, {self.burst_length}"))
        return found


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1 << 32


@lru_cache(maxsize=64)
def _coordinate_counts(geometry: DramGeometry) -> Mapping[str, int]:
    pairs = zip(COORDINATES[:-1], COUNTS[:-1], strict=True)
    counts = {name: int(getattr(geometry, count)) for name, count in pairs}
    return MappingProxyType({**counts, "column": geometry.lines_per_row})


# Two sockets of four channels (Intel Xeon E5 v3/v4), two 32 GiB 2Rx4 RDIMMs each: 512 GiB.  8 Gbit x4
# chips: 4 bank groups x 4 banks, rows A0-A16, columns A0-A9 (JESD79-4, 8 Gb addressing table).
_DDR4_2SOCKET = DramGeometry(
    technology="DDR4",
    sockets=2,
    channels=4,
    subchannels=1,
    dimms=2,
    ranks=2,
    bank_groups=4,
    banks=4,
    rows=1 << 17,
    columns=1 << 10,
    chips_per_rank=18,
    chip_width_bits=4,
    burst_length=8,
)

GEOMETRIES: dict[str, DramGeometry] = {
    # The stock DIMM of FaultSim (Nair, Roberts, Qureshi, ACM TACO 12(4), 2016; Prashant-GTech/FaultSim v0.1
    # alpha, its default configuration): one rank of 18 x4 chips of 1 Gbit.
    "ddr2-faultsim": DramGeometry(
        technology="DDR2",
        sockets=1,
        channels=1,
        subchannels=1,
        dimms=1,
        ranks=1,
        bank_groups=1,
        banks=8,
        rows=16384,
        columns=2048,
        chips_per_rank=18,
        chip_width_bits=4,
        burst_length=8,
    ),
    "ddr4-2socket": _DDR4_2SOCKET,
    # One such socket with one 16 GiB 1Rx4 RDIMM a channel: 64 GiB.
    "ddr4-1socket": replace(_DDR4_2SOCKET, sockets=1, dimms=1, ranks=1),
    # Two sockets of eight channels (Intel Xeon, 4th generation), one 32 GiB 1Rx4 RDIMM each: 512 GiB.  16
    # Gbit x4 chips: 8 bank groups x 4 banks, 16 row bits (AMD PG456, "Memory Density Parameters"), 11
    # column bits (JESD79-5, 16 Gb addressing table); 8 + 2 chips a sub-channel (EC8).
    "ddr5-2socket": DramGeometry(
        technology="DDR5",
        sockets=2,
        channels=8,
        subchannels=2,
        dimms=1,
        ranks=1,
        bank_groups=8,
        banks=4,
        rows=1 << 16,
        columns=1 << 11,
        chips_per_rank=10,
        chip_width_bits=4,
        burst_length=16,
    ),
}
"""Named geometries with their sources."""
