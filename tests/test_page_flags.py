"""Page flags: bits of their own, and the numbers that /proc/kpageflags gives them."""

from __future__ import annotations

import numpy as np

from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import Config, census, classify
from hwsim.kernel.profiles.v5 import V5

# include/uapi/linux/kernel-page-flags.h and include/linux/kernel-page-flags.h
KPF = {
    "LOCKED": 0, "ERROR": 1, "REFERENCED": 2, "UPTODATE": 3, "DIRTY": 4, "LRU": 5, "ACTIVE": 6, "SLAB": 7,
    "WRITEBACK": 8, "RECLAIM": 9, "BUDDY": 10, "MMAP": 11, "ANON": 12, "SWAPCACHE": 13, "SWAPBACKED": 14,
    "COMPOUND_HEAD": 15, "COMPOUND_TAIL": 16, "HUGE": 17, "UNEVICTABLE": 18, "HWPOISON": 19,
    "RESERVED": 32, "MLOCKED": 33, "MAPPEDTODISK": 34, "PRIVATE": 35, "PRIVATE_2": 36,
}  # fmt: skip


def test_numbers_are_those_of_the_kernel() -> None:
    ours = {"head": "COMPOUND_HEAD", "tail": "COMPOUND_TAIL"}
    wanted = {name: KPF[ours.get(name, name.upper())] for name in pg.NAMES if name != "compound"}
    assert wanted == pg.KPAGEFLAGS  # PG_compound is head or tail there


def test_every_flag_is_one_bit_of_its_own_and_the_table_tests_the_low_ones() -> None:
    bits = list(pg.NAMES.values())
    assert all(bit.bit_count() == 1 for bit in bits)
    assert len(set(bits)) == len(bits)
    assert pg.TABLE_MASK == 0xFFFF
    tested = (
        "reserved",
        "buddy",
        "slab",
        "head",
        "tail",
        "swapcache",
        "dirty",
        "unevictable",
        "mlocked",
        "lru",
    )
    assert all(pg.NAMES[name] & pg.TABLE_MASK for name in (*tested, "swapbacked", "compound"))
    assert not any(pg.NAMES[name] & pg.TABLE_MASK for name in ("locked", "writeback", "anon", "hwpoison"))


def test_names_and_bits_go_there_and_back() -> None:
    assert pg.names_of(pg.flags_of(["dirty", "lru"])) == ("dirty", "lru")
    assert pg.flags_of(pg.NAMES) == sum(pg.NAMES.values())


def test_a_census_counts_the_pages_of_each_row() -> None:
    states = Config().build(V5.error_states)
    kernel, cached = pg.RESERVED, pg.LRU | pg.UPTODATE
    rows = classify(states, np.array([kernel, cached, kernel, 0], np.uint32)).tolist()
    counts = census(states, np.array([kernel, cached, kernel, 0], np.uint32))
    assert counts.size == max(state.row for state in states) + 1
    assert (int(counts.sum()), int(counts[rows[0]]), int(counts[rows[1]])) == (4, 2, 1)
