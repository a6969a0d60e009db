"""One lookup a page: the hot path of everything that asks the error-state table about many pages at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

_CHUNK = 1 << 16  # pages a step: what is made of them stays in the cache
_SAMPLE, _MOST = 32, 26  # if so many of a sample of a chunk are alike, only the others are looked up
_COMPILING_PAYS = 1 << 30  # pages; importing numba and compiling take a CPU second
_LOW = 0xFFFF

Flags = npt.NDArray[np.uint32]
Table = npt.NDArray[np.uint8]


def gather(table: Table, flags: Flags, out: Table | None = None) -> Table:
    """What ``table``, uint8 of shape (65536,), has for the low half of the flags of every page.

    ``flags`` is uint32 of shape (pages,), the result uint8 of the same shape.  With numba, if it has been
    imported or there is so much to look up that this pays; the result is the same.
    """
    if out is None:
        out = np.empty(flags.shape, dtype=np.uint8)
    if _is_compiled(flags.size):
        _compiled()(table, flags, out)
        return out
    low = flags.view(np.uint16)[int(sys.byteorder == "big") :: 2]
    index = np.empty(min(_CHUNK, flags.size), dtype=np.intp)
    for start in range(0, flags.size, _CHUNK):
        part, found = flags[start : start + _CHUNK], out[start : start + _CHUNK]
        value = part[len(part) // 2]
        if np.count_nonzero(part[:: len(part) // _SAMPLE + 1] == value) >= _MOST:
            _compare(table, part, found, value)
        else:
            index[: len(part)] = low[start : start + _CHUNK]
            table.take(index[: len(part)], out=found, mode="clip")
    return out


def _compare(table: Table, flags: Flags, out: Table, value: np.uint32) -> None:
    """Most pages have these flags: pages come in runs, and most of a run are alike."""
    out.fill(table[value & _LOW])
    others = np.flatnonzero(flags != value)
    out[others] = table[flags[others] & _LOW]


def _is_compiled(pages: int) -> bool:
    return "numba" in sys.modules or (pages >= _COMPILING_PAYS and find_spec("numba") is not None)


@cache
def _compiled() -> Callable[[Table, Flags, Table], None]:
    from numba import njit

    compiled: Callable[[Table, Flags, Table], None] = njit()(_each)
    return compiled


def _each(table: Table, flags: Flags, out: Table) -> None:
    for page in range(flags.size):
        out[page] = table[flags[page] & _LOW]
