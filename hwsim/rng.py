"""Named random draws: a function of (root seed, replication, error id, slot) and of nothing else.

Philox (Salmon et al., SC'11, "Parallel random numbers: as easy as 1, 2, 3") is addressed by counter,
so a draw can be found without making the ones before it.  Every error owns a row of
:data:`ROW` uniforms, one per :class:`Slot`; slots are appended, never renumbered.  Rare extra draws
(one per mapping task, say) hash their name with BLAKE2b.  The key is a hash of seed and
replication, never a sum.  No draw depends on the policy, on a worker, or on a page frame number.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from hashlib import blake2b
from math import sqrt
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence

from hwsim.elementary import exp, log1p, normal_quantile

ROW = 32  # uniforms per error; eight Philox counters
_SCALE = 1 / 2**53
_WORD = np.dtype("<u8")
NUMBER = struct.Struct("<q")
NAMED = struct.Struct("<qqq")  # a draw by name: whose it is, slot, k


class Slot(IntEnum):
    """What a draw is for.  Append only: a number once given keeps its meaning."""

    PLACE = 0
    LINE = 1
    PERMANENT = 2
    RACE_TASK = 3
    RACE_WHO = 4
    RACE_KERNEL = 5
    RACE_HEAL = 6
    RACE_DEVICE = 7
    RENDEZVOUS = 8
    CPU = 9
    CONTEXT = 10
    NOTIFY = 11
    LOCK_WAIT = 12
    WRITEBACK = 13
    RMAP = 14
    UNMAP = 15
    HANDLER = 16
    DELIVERY = 17
    PRESENT = 18
    DIRTY = 19
    SWAP = 20
    PAGEVEC = 21
    BUFFERS = 22
    WHO_STORED = 23
    UNMAP_FAIL = 24
    FREED = 25
    TURNOVER = 26
    ALLOC = 27
    INNOCENT = 28
    HUGE_FREE = 29
    READER = 30
    RACE_OVERWRITE = 31
    # Only as extra draws, by name:
    TOUCH = 32
    SIGBUS_HANDLER = 33
    PHASE = 34
    LIFETIME = 35
    NEW_OWNER = 36
    ATOMIC_ALLOC = 37
    REPAIR = 38
    LATER_LOOK = 39
    FIRST_TOUCH = 40
    WRITER = 41
    STALE = 42
    EVICT = 43
    WINDOW = 44
    STORES = 45
    MEANWHILE = 46
    SWAPPED_IN = 47
    FRAILTY = 48
    FAULT = 49
    WINDOW_OFF = 50
    CORRECTED = 51
    RECORDS = 52
    DROPPED = 53
    BANK_TAKEN = 54
    WINDOW_ON = 55
    READ_AGAIN = 56
    TRUNCATED = 57
    DIRTIED_WHEN = 58
    DIRTIED_BY = 59
    WRITTEN_OUT = 60


def uniforms(raw: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Words of 64 random bits as uniforms strictly between 0 and 1, of 53 bits each."""
    return ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * _SCALE


def arrivals_key(key: bytes, source: bytes) -> bytes:
    """The key of the stream of an error source, from that of its replication and the packed number of it."""
    return blake2b(source, key=key, digest_size=16, person=b"arrivals").digest()


class _Key(ISeedSequence):
    """A key for Philox, taken as it is.

    Given one as ``key=``, numpy draws a seed from the operating system all the same and drops it, which takes
    longer than all else.
    """

    def __init__(self, key: bytes) -> None:
        self._words = np.frombuffer(key, _WORD)

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> npt.NDArray[np.uint64]:  # noqa: ARG002
        """The two words that Philox asks for."""
        return self._words


def _philox(key: bytes, counter: int | None = None) -> np.random.Philox:
    return np.random.Philox(_Key(key), counter=counter)  # type: ignore[arg-type]  # its stub has one class only


class Draws:
    """All randomness of one replication.

    ``row(error)`` gives the uniforms of an error as a list indexed by :class:`Slot`;
    ``extra(name, slot, k)`` an additional uniform; ``arrivals(source)`` the generator of the
    arrival draws of one error source.  Uniforms lie strictly between 0 and 1.
    """

    __slots__ = ("_block", "_first", "_key", "_keyed", "_philox", "_size")

    def __init__(self, seed: int, replication: int) -> None:
        digest = blake2b(struct.pack("<qq", seed, replication), digest_size=16).digest()
        self._key = digest
        self._keyed = blake2b(key=digest, digest_size=8)  # to be copied, which is cheaper than a new one
        self._philox: np.random.Philox | None = None
        self._first = 0
        self._size = 1
        self._block: list[list[float]] = []

    def row(self, error: int) -> list[float]:
        """The row of uniforms of ``error``.  Blocks of rows start small and double."""
        offset = error - self._first
        if 0 <= offset < len(self._block):
            return self._block[offset]
        if self._philox is None or offset != len(self._block):
            self._philox = _philox(self._key, error * (ROW // 4))
            self._size = 1
        self._first = error
        raw = self._philox.random_raw(self._size * ROW)
        self._block = uniforms(raw).reshape(self._size, ROW).tolist()
        self._size = min(self._size * 2, 1024)
        return self._block[0]

    def extra(self, name: int, slot: int, k: int = 0) -> float:
        """A further uniform for ``name`` (an error id, or a negative number for things without one)."""
        keyed = self._keyed.copy()
        keyed.update(NAMED.pack(name, slot, k))
        return ((int.from_bytes(keyed.digest(), "little") >> 11) + 0.5) * _SCALE

    def generator(self, name: int, slot: int, k: int = 0) -> np.random.Generator:
        """A stream of its own, for draws that come by the array."""
        digest = blake2b(NAMED.pack(name, slot, k), key=self._key, digest_size=16).digest()
        return np.random.Generator(_philox(digest))

    def arrivals(self, source: int) -> Arrivals:
        """The stream of error source number ``source``: inter-arrival times, or times."""
        return Arrivals(arrivals_key(self._key, NUMBER.pack(source)))


# What a draw decides: yes or no, which of several, or how long something takes (all others).
YES_NO = frozenset(
    {
        Slot.PERMANENT, Slot.CONTEXT, Slot.WRITEBACK, Slot.SWAP, Slot.PAGEVEC, Slot.BUFFERS, Slot.UNMAP_FAIL,
        Slot.HUGE_FREE, Slot.ATOMIC_ALLOC, Slot.FIRST_TOUCH, Slot.WINDOW, Slot.MEANWHILE, Slot.REPAIR,
        Slot.BANK_TAKEN,
    }
)  # fmt: skip
WHICH = frozenset(
    {Slot.PLACE, Slot.LINE, Slot.CPU, Slot.RACE_WHO, Slot.WRITER, Slot.NEW_OWNER, Slot.DIRTIED_BY}
)
NO, FIRST, MEDIAN = 1.0 - _SCALE, 0.5 * _SCALE, 0.5


class NoChance(Draws):
    """The draws of a machine without chance: the same in every replication.

    All code asks ``u < p`` for a yes, so that :data:`NO`, the largest uniform, is a no to every probability
    below 1 and a yes to a certain one.  Of several the first is taken: CPU 0, the first task of the file.
    Times are the median of their law.  That something has happened by now, at a rate, is a time too: so it
    has once its median has passed.
    """

    __slots__ = ()
    _ROW: ClassVar = [NO if slot in YES_NO else FIRST if slot in WHICH else MEDIAN for slot in range(ROW)]

    def row(self, error: int) -> list[float]:  # noqa: ARG002 - every error has the same
        """The row of uniforms of any error."""
        return self._ROW

    def extra(self, name: int, slot: int, k: int = 0) -> float:  # noqa: ARG002 - all of a slot are the same
        """The uniform of the slot, whose name stands in the low byte of ``slot``."""
        slot &= 0xFF
        return NO if slot in YES_NO else FIRST if slot in WHICH else MEDIAN


def poisson(u: float, mean: float) -> int:
    """The Poisson count with this mean that belongs to the uniform ``u``, by inverse CDF.

    Above 500 the normal approximation with continuity correction: its error is below what one
    replication can show.
    """
    if mean <= 0.0:
        return 0
    if mean > 500.0:
        return max(0, int(mean + sqrt(mean) * normal_quantile(u) + 0.5))
    count, term = 0, exp(-mean)
    total = term
    while u > total and term > 0.0:
        count += 1
        term *= mean / count
        total += term
    return count


def binomial(u: float, n: int, p: float) -> int:
    """How many of ``n`` with chance ``p`` each, by inverse CDF of the uniform ``u``.

    With a variance above 100 the normal approximation, and Poisson's for a chance near 0 or 1.
    """
    if n <= 0 or p <= 0.0:
        return 0
    if p >= 1.0:
        return n
    variance = n * p * (1.0 - p)
    if variance > 100.0:
        return min(n, max(0, int(n * p + sqrt(variance) * normal_quantile(u) + 0.5)))
    if p < 0.05:
        return min(n, poisson(u, n * p))
    if p > 0.5:  # no chance below is 0 as a float
        return n - binomial(1.0 - u, n, 1.0 - p)
    count, term = 0, exp(n * log1p(-p))
    total = term
    while u > total and count < n:
        term *= (n - count) / (count + 1) * p / (1.0 - p)
        count += 1
        total += term
    return count


class Arrivals:
    """The stream of one error source: exponential inter-arrival times in blocks that start small and double,
    or a known number of uniforms at once."""

    __slots__ = ("_at", "_block", "_philox", "_size")

    def __init__(self, key: bytes) -> None:
        self._philox = _philox(key)
        self._size = 4
        self._block: list[float] = []
        self._at = 0

    def uniforms(self, count: int) -> list[float]:
        """The next ``count`` uniforms of the stream."""
        words: list[int] = self._philox.random_raw(count).tolist()  # few: numpy would take longer
        return [((word >> 11) + 0.5) * _SCALE for word in words]

    def next_exponential(self) -> float:
        """One unit exponential by inverse CDF."""
        if self._at == len(self._block):
            self._block = self.uniforms(self._size)
            self._at = 0
            self._size = min(self._size * 2, 1024)
        self._at += 1
        return -log1p(-self._block[self._at - 1])
