"""Address maps of the named geometries, as data."""

from __future__ import annotations

from functools import cache

from hwsim.hardware.dram.address_map import AddressMap, Functions
from hwsim.hardware.dram.dimms import GEOMETRIES


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
    # The six functions measured on an Intel Xeon E5-2608L v3 with four DDR4 DIMMs (CSL-KU/drama-pp,
    # Found-DRAM-BankMap.md).  Which of them is which bit, and where column, DIMM, rank, row and socket
    # lie, is not in that list: modelled, columns lowest and the socket on top (NUMA: its memory in one
    # piece).
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
    # The same functions without DIMM, rank and socket: rows take their bits.
    "ddr4-1socket": {
        "bank_group": ((6, 22), (19, 23)),
        "bank": ((20, 24), (21, 25)),
        "channel": ((8, 13, 15, 17, 27), (6, 7, 12, 14, 16, 18, 26)),
        "column": _plain(9, 15),
        "row": (*_plain(16, 18), *_plain(22, 35)),
    },
    # No measured map of an eight-channel DDR5 server was found.  The form is that of a Ryzen 9 9900X with
    # DDR5 (same list): five bank bits below or just above the page, each with two row bits, and a
    # sub-channel that is bit 6 with all of these.  Row bits moved up by two, channels hashed and the
    # rest: modelled.
    "ddr5-2socket": {
        "subchannel": ((6, 9, 10, 11, 12, 13),),
        "bank_group": ((11, 22, 27), (12, 23, 28), (9, 24, 29)),
        "bank": ((10, 25, 30), (13, 26, 31)),
        "channel": ((8, 32), (14, 33), (15, 34)),
        "column": (*_plain(7, 7), *_plain(16, 21)),
        "row": _plain(22, 37),
        "socket": ((38,),),
    },
}
"""Coordinate functions of the geometries of the same name."""


@cache
def address_map(name: str) -> AddressMap:
    """The named map, built once; KeyError for an unknown name."""
    return AddressMap(GEOMETRIES[name], FUNCTIONS[name])
