"""Linear algebra over GF(2) on machine words: a vector is an int, a bit a coordinate, a sum an XOR.

Small matrices are lists of Python ints; what is applied to many vectors at once is a :class:`LinearMap`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

_TABLE_BITS = 11  # three look-ups for 33 bits; a table of 16 KiB stays in the first-level cache


class LinearMap:
    """A linear map over GF(2); ``columns[i]`` is the image of input bit i (non-negative, below 2^63)."""

    __slots__ = ("_tables",)

    def __init__(self, columns: Sequence[int]) -> None:
        self._tables: list[Int64Array] = []
        for first in range(0, len(columns), _TABLE_BITS):
            table = np.zeros(1, dtype=np.int64)
            for column in columns[first : first + _TABLE_BITS]:
                table = np.concatenate([table, table ^ np.int64(column)])
            self._tables.append(table)

    def __call__(self, vectors: Int64Array) -> Int64Array:
        """The images of int64 vectors, any shape, bits beyond the last column zero."""
        image = np.zeros_like(vectors)
        for index, table in enumerate(self._tables):
            image ^= table[(vectors >> (index * _TABLE_BITS)) & (len(table) - 1)]
        return image


def dependency(rows: Sequence[int]) -> list[int] | None:
    """Indices of rows whose XOR is zero, or None when the rows are independent."""
    pivots: dict[int, tuple[int, int]] = {}
    for index, original in enumerate(rows):
        row, used = original, 1 << index
        while row:
            top = row.bit_length() - 1
            if top not in pivots:
                pivots[top] = (row, used)
                break
            row ^= pivots[top][0]
            used ^= pivots[top][1]
        if not row:
            return [i for i in range(index + 1) if used >> i & 1]
    return None


def transpose(rows: Sequence[int], n_columns: int) -> list[int]:
    """The columns of a matrix given by rows, each as an int over the row index."""
    return [sum((row >> j & 1) << i for i, row in enumerate(rows)) for j in range(n_columns)]


def inverse(rows: Sequence[int]) -> list[int]:
    """The rows of the inverse of a square matrix of independent rows."""
    size = len(rows)
    work = [row | 1 << (size + i) for i, row in enumerate(rows)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if work[i] >> column & 1)
        work[column], work[pivot] = work[pivot], work[column]
        for i in range(size):
            if i != column and work[i] >> column & 1:
                work[i] ^= work[column]
    return [row >> size for row in work]


def echelon(vectors: Sequence[int]) -> list[int]:
    """A basis of the span: highest bits differ, no vector has another's highest bit; smallest first."""
    basis: list[int] = []
    for vector in vectors:
        rest = reduce_by(basis, vector)
        if rest:
            top = rest.bit_length() - 1
            basis = [other ^ rest if other >> top & 1 else other for other in basis]
            basis.append(rest)
    return sorted(basis)


def reduce_by(basis: Sequence[int], vector: int) -> int:
    """The smallest vector that differs from ``vector`` by a sum of ``basis`` (as from :func:`echelon`)."""
    for other in sorted(basis, reverse=True):
        vector = min(vector, vector ^ other)
    return vector


def coset(basis: Sequence[int], offset: int, count: int, step: int = 1) -> Int64Array:
    """The first ``count`` elements, in ascending order, of ``offset`` plus the span of an echelon basis.

    Of these each ``step``-th.

    In a reduced basis the highest bits of the basis vectors decide the order and the count itself
    spells them, so nothing has to be sorted.
    """
    numbers = np.arange(0, count, step, dtype=np.int64)
    return LinearMap(basis)(numbers) ^ np.int64(reduce_by(basis, offset))
