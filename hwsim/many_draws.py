"""The draws of many replications at once, as arrays: each bit for bit what :class:`~hwsim.rng.Draws` gives.

Philox4x64-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011) runs over
the machines in numpy; BLAKE2b stays a loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import repeat

import numpy as np
import numpy.typing as npt

from hwsim.elementary_each import log1p_of_each
from hwsim.rng import NAMED, NUMBER, ROW, Draws, arrivals_key, uniforms

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]

_BLOCK = 4  # words that Philox makes of a counter
_ROUNDS = 10
_HALF, _LOW = np.uint64(32), np.uint64(2**32 - 1)
_MULTIPLIERS = np.array([[[0xD2E7470EE14C6C93]], [[0xCA5A826395121157]]], np.uint64)
_LOW_HALVES, _HIGH_HALVES = _MULTIPLIERS & _LOW, _MULTIPLIERS >> _HALF
# Added to the key in each round.
_WEYL = np.array([[[0x9E3779B97F4A7C15]], [[0xBB67AE8584CAA73B]]], np.uint64)


class ManyDraws:
    """All randomness of the first error of many replications, machine by machine along the last axis.

    Life: made with the keys -> asked for slots, which are all drawn with the first and kept, and for further
    draws, which are not kept -> dropped with its machines.
    """

    __slots__ = ("_keys", "_replications", "_rows", "_seed")

    def __init__(self, seed: int, replications: Sequence[int]) -> None:
        self._seed, self._replications = seed, replications
        begun = blake2b(NUMBER.pack(seed), digest_size=16)
        self._keys: list[bytes] = []
        for replication in replications:
            hashed = begun.copy()  # half as dear as a new one
            hashed.update(NUMBER.pack(replication))
            self._keys.append(hashed.digest())
        self._rows: Floats | None = None

    def slot(self, slot: int) -> Floats:
        """float64[machines]: the uniform ``Draws.row(0)[slot]`` of each.  Not to be written to."""
        found: Floats = self._row()[slot]
        return found

    def row(self, machine: int) -> list[float]:
        """``Draws.row(0)`` of the machine at this position."""
        found: list[float] = self._row()[:, machine].tolist()
        return found

    def of(self, machine: int) -> Draws:
        """All draws of the machine at this position."""
        return Draws(self._seed, self._replications[machine])

    def extra(self, name: int, slot: int, k: int | Positions = 0, at: Positions | None = None) -> Floats:
        """float64: ``Draws.extra(name, slot, k)`` of each machine, or of those at the positions ``at``.

        An array ``k`` has one for each of these.
        """
        keys = self._keys if at is None else [self._keys[each] for each in at.tolist()]
        named: Iterable[bytes] = (
            (NAMED.pack(name, slot, each) for each in k.tolist())
            if isinstance(k, np.ndarray)
            else repeat(NAMED.pack(name, slot, k), len(keys))
        )
        digests = [
            blake2b(data, key=key, digest_size=8).digest() for data, key in zip(named, keys, strict=True)
        ]
        return uniforms(np.frombuffer(b"".join(digests), np.dtype("<u8")))

    def first_arrivals(self, source: int, count: int) -> Floats:
        """float64[machines, count]: the first uniforms of the stream of error source number ``source``."""
        data = NUMBER.pack(source)
        words = _words([arrivals_key(key, data) for key in self._keys])
        return _uniforms(words, -(-count // _BLOCK)).T[:, :count]

    def first_exponentials(self, source: int) -> Floats:
        """float64[machines]: what ``Arrivals.next_exponential()`` gives first."""
        return -log1p_of_each(-self.first_arrivals(source, 1)[:, 0])

    def _row(self) -> Floats:
        """float64[ROW, machines]: all at once, as few machines take as long as many."""
        if self._rows is None:
            self._rows = _uniforms(_words(self._keys), ROW // _BLOCK)
        return self._rows


def _words(keys: list[bytes]) -> _Words:
    """Keys of 128 bits as uint64[2, keys], the low word first."""
    return np.frombuffer(b"".join(keys), np.dtype("<u8")).reshape(-1, 2).T.astype(np.uint64)


def _uniforms(keys: _Words, blocks: int) -> Floats:
    """float64[4 * blocks, keys]: those of the first blocks of a Philox stream."""
    counters = np.arange(1, blocks + 1, dtype=np.uint64)  # numpy's generator counts up before its first block
    return uniforms(_philox(keys, counters).reshape(_BLOCK * blocks, -1))


def _philox(keys: _Words, counters: _Words) -> _Words:
    """uint64[counters, 4, keys]: Philox4x64-10 of each counter, below 2^64, under each key.

    Words 0 and 2 of the state are multiplied, each by its own number; words 1 and 3 are not.
    """
    key = np.repeat(keys[:, np.newaxis], counters.size, axis=1)
    multiplied, other, low, middle, carry = (np.zeros_like(key) for _ in range(5))
    multiplied[0] = counters[:, np.newaxis]
    for _ in range(_ROUNDS):
        # The high word of the product of 128 bits, from halves of 32 bits.
        high = multiplied >> _HALF
        np.bitwise_and(multiplied, _LOW, out=low)
        np.multiply(low, _LOW_HALVES, out=middle)
        middle >>= _HALF
        np.multiply(high, _LOW_HALVES, out=carry)
        middle += carry
        low *= _HIGH_HALVES
        np.bitwise_and(middle, _LOW, out=carry)
        carry += low
        carry >>= _HALF
        middle >>= _HALF
        high *= _HIGH_HALVES
        high += middle
        high += carry
        # The two products change places.
        multiplied *= _MULTIPLIERS
        next_other = multiplied[::-1].copy()
        np.bitwise_xor(high[::-1], other, out=multiplied)
        multiplied ^= key
        other = next_other
        key += _WEYL
    return np.stack((multiplied[0], other[0], multiplied[1], other[1]), axis=1)
