"""The page flags that memory_failure() and its helpers look at.

The bits that the error-state table tests lie in the low 16, so that classifying a page is one
lookup in a table of 65,536 entries.  Names are the kernel's (include/linux/page-flags.h, 2.6.30 with
the HWPOISON v5 series); the numbers are ours, as they differ between kernel builds anyway.
"""

from __future__ import annotations

RESERVED = 1 << 0
BUDDY = 1 << 1
SLAB = 1 << 2
HEAD = 1 << 3
TAIL = 1 << 4
SWAPCACHE = 1 << 5
DIRTY = 1 << 6
UNEVICTABLE = 1 << 7
MLOCKED = 1 << 8
LRU = 1 << 9
SWAPBACKED = 1 << 10
COMPOUND = 1 << 11  # one bit for head and tail when CONFIG_PAGEFLAGS_EXTENDED is off

# Not tested by the table.
LOCKED = 1 << 16
WRITEBACK = 1 << 17
UPTODATE = 1 << 18
ERROR = 1 << 19
PRIVATE = 1 << 20  # buffers are attached
ANON = 1 << 21  # in the kernel: the low bit of page->mapping
HWPOISON = 1 << 22

TABLE_MASK = 0xFFFF

NAMES: dict[str, int] = {
    "reserved": RESERVED,
    "buddy": BUDDY,
    "slab": SLAB,
    "head": HEAD,
    "tail": TAIL,
    "swapcache": SWAPCACHE,
    "dirty": DIRTY,
    "unevictable": UNEVICTABLE,
    "mlocked": MLOCKED,
    "lru": LRU,
    "swapbacked": SWAPBACKED,
    "compound": COMPOUND,
    "locked": LOCKED,
    "writeback": WRITEBACK,
    "uptodate": UPTODATE,
    "error": ERROR,
    "private": PRIVATE,
    "anon": ANON,
    "hwpoison": HWPOISON,
}


def flags_of(names: object) -> int:
    """The bits of an iterable of flag names; KeyError names the first unknown one."""
    bits = 0
    for name in names:  # type: ignore[attr-defined]
        bits |= NAMES[name]
    return bits


def names_of(flags: int) -> tuple[str, ...]:
    """The names of the bits set in ``flags``, in table order."""
    return tuple(name for name, bit in NAMES.items() if flags & bit)
