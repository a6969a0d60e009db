"""The error-state table as data, and the vectorised lookup derived from it.

A kernel's table is a tuple of :class:`ErrorState` in its file of ``kernel/versions``; the lookup,
``hwsim explain`` and the tests all come from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from hwsim.kernel import page_flags as pg
from hwsim.kernel.gather import gather
from hwsim.kernel.mm_types import Page

K = TypeVar("K")  # the Kernel, which has such a table


@dataclass(frozen=True, slots=True, eq=False)
class ErrorState(Generic[K]):
    """One row: it matches when all of ``must_set`` are set and all of ``must_clear`` are clear.

    ``handler`` returns an index into ``ACTION_NAME``.  ``config`` is the build switch the row is compiled
    under ('' always, '!NAME' when off).
    """

    row: int
    must_set: int
    must_clear: int
    message: str
    handler: Callable[[K, Page], int]
    config: str = ""

    @property
    def mask(self) -> int:
        """The kernel's ``mask``; its ``res`` is :attr:`must_set`."""
        return self.must_set | self.must_clear


@dataclass(frozen=True, slots=True)
class Config:
    """The three build switches that change the table and remove flags from struct page."""

    unevictable_lru: bool = True
    mlocked_page_bit: bool = True
    pageflags_extended: bool = True

    def has(self, name: str) -> bool:
        """Whether a row compiled under ``name`` exists in this build."""
        if not name:
            return True
        wanted = not name.startswith("!")
        value = {
            "UNEVICTABLE_LRU": self.unevictable_lru,
            "HAVE_MLOCKED_PAGE_BIT": self.mlocked_page_bit,
            "PAGEFLAGS_EXTENDED": self.pageflags_extended,
        }[name.removeprefix("!")]
        return value is wanted

    def build(self, table: Sequence[ErrorState[K]]) -> tuple[ErrorState[K], ...]:
        """The rows that exist in this build, in order."""
        return tuple(state for state in table if self.has(state.config))

    def real_flags(self, flags: int) -> int:
        """``flags`` as this build can hold them: without the switch the bit itself does not exist."""
        if not self.unevictable_lru:
            flags &= ~pg.UNEVICTABLE
        if not self.mlocked_page_bit:
            flags &= ~pg.MLOCKED
        if self.pageflags_extended:
            flags &= ~pg.COMPOUND
        elif flags & (pg.HEAD | pg.TAIL):
            flags = (flags & ~(pg.HEAD | pg.TAIL)) | pg.COMPOUND
        return flags


def scan(states: Sequence[ErrorState[K]], flags: int) -> ErrorState[K]:
    """The first row that matches, as the kernel's loop finds it; the last row matches everything."""
    for state in states:
        if flags & state.mask == state.must_set:
            return state
    raise AssertionError("the table has no catch-all row")


@lru_cache(maxsize=16)
def lookup(states: tuple[ErrorState[K], ...]) -> npt.NDArray[np.uint8]:
    """Row number for each of the 65,536 values of the low flag bits; uint8, shape (65536,)."""
    flags = np.arange(pg.TABLE_MASK + 1, dtype=np.uint32)
    rows = np.zeros(pg.TABLE_MASK + 1, dtype=np.uint8)
    for state in reversed(states):  # the first row wins, so it is written last
        rows[(flags & np.uint32(state.mask)) == state.must_set] = state.row
    rows.flags.writeable = False
    return rows


def classify(
    states: tuple[ErrorState[K], ...],
    flags: npt.NDArray[np.uint32],
    out: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Row number of every page; ``flags`` is uint32 of shape (pages,), the result uint8 of the same shape."""
    return gather(lookup(states), flags, out)
