"""Address maps of the named geometries, as data."""

from __future__ import annotations

from functools import cache

from hwsim.hardware.address_map import AddressMap, Functions
from hwsim.hardware.dram import GEOMETRIES


def _plain(first: int, last: int) -> tuple[tuple[int, ...], ...]:
    """Address bits first to last, each by itself."""
    return tuple((bit,) for bit in range(first, last + 1))


FUNCTIONS: dict[str, Functions] = {
    # FaultSim has no physical addresses.  The plain open-page order, row above bank above column, without
    # a hash: a row is 16 KiB in one piece.
    "ddr2-faultsim": {
        "column": _plain(6, 13),
        "bank": _plain(14, 16),
        "row": _plain(17, 30),
    },
    # The bank, bank-group and channel functions measured on an Intel Xeon E5-2608L v3 with four DDR4
    # DIMMs (CSL-KU/drama-pp, Found-DRAM-BankMap.md; first measured on Haswell-EP by Pessl et al. 2016).
    # Which of them is which bit, and DIMM, rank, row and column bits, are not in that list: modelled as
    # the lowest bits left. Socket on top: NUMA, each socket's memory in one piece.
    "ddr4-2socket": {
        "bank_group": ((6, 22), (19, 23)),
        "bank": ((20, 24), (21, 25)),
        "channel": ((8, 13, 15, 17, 27), (6, 7, 12, 14, 16, 18, 26)),
        "column": _plain(9, 15),
        "dimm": ((16,),),
        "rank": ((17,),),
        "row": (*_plain(18, 18), *_plain(22, 37)),
        "socket": ((38,),),
    },
    # No measured map of an eight-channel DDR5 server was found.  Modelled on the form that measured maps
    # share: sub-channel, one bank-group bit and the channels below the page, the columns above them, and
    # all but row, column and socket hashed with row bits.
    "ddr5-2socket": {
        "subchannel": ((6, 13, 24, 30),),
        "bank_group": ((7, 22), (18, 23), (19, 24)),
        "bank": ((20, 25), (21, 26)),
        "channel": ((8, 14, 27, 33), (9, 15, 28, 34), (10, 16, 29, 35)),
        "column": _plain(11, 17),
        "row": _plain(22, 37),
        "socket": ((38,),),
    },
}
"""Coordinate functions of the geometries of the same name."""


@cache
def address_map(name: str) -> AddressMap:
    """The named map, built once; KeyError for an unknown name."""
    return AddressMap(GEOMETRIES[name], FUNCTIONS[name])
