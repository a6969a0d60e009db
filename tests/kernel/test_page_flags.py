"""Page flags: bits of their own."""

from __future__ import annotations

from hwsim.kernel import page_flags as pg


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
