"""Error-correcting codes of memory, really decoded: SECDED (72,64), chipkill and DDR5 on-die SEC (136,128).

All codes are linear, so an error pattern - what was read XOR what was written - decides the outcome
whatever was stored, and decoding the pattern is decoding the word.  Words are arrays whose last axis is the
code word: bits (uint8 0 or 1) for a :class:`BinaryCode`, bytes for a :class:`SymbolCode`.

The outcome of a pattern:

* ``none``: no error.
* ``CE``: corrected, the data are right.
* ``UE``: detected and not corrected.
* ``miscorrected``: the decoder "corrected" something else; it reports a CE, the data are wrong.
* ``silent``: the pattern is itself a code word; nothing is reported, the data are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hwsim.record import Ecc

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

OUTCOMES = (Ecc.NONE, Ecc.CE, Ecc.SILENT, Ecc.MISCORRECTED, Ecc.UE)
"""In the order of :func:`line_outcomes`: what a line suffers is the last of what its code words suffer."""

NONE, CE, SILENT, MISCORRECTED, UE = range(5)


class Code(Protocol):
    """A code word of ``n`` symbols (bits or bytes), ``k`` of them data, which come first."""

    @property
    def name(self) -> str:
        """The name it has in :data:`CODES`."""

    @property
    def n(self) -> int:
        """Symbols of a code word."""

    @property
    def k(self) -> int:
        """Data symbols of a code word."""

    def encode(self, data: UInt8Array) -> UInt8Array:
        """Code words (..., n) of data (..., k)."""

    def corrections(self, words: UInt8Array) -> tuple[UInt8Array, BoolArray]:
        """What the decoder would XOR onto words (..., n), and which words (...) it gives up: a UE."""


@dataclass(frozen=True)
class BinaryCode:
    """A single-error-correcting binary code, given by its check matrix and decoded by its syndrome.

    ``columns[i]`` is the syndrome of an error in bit i; the last ``check_bits`` columns are 1, 2, 4, ...
    """

    name: str
    columns: tuple[int, ...]
    check_bits: int
    _columns: npt.NDArray[np.int64] = field(init=False, repr=False, compare=False)
    _position: npt.NDArray[np.int64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        position = np.full(1 << self.check_bits, -1, dtype=np.int64)
        if self.check_bits:
            position[list(self.columns)] = np.arange(self.n)
        object.__setattr__(self, "_columns", np.array(self.columns, dtype=np.int64))
        object.__setattr__(self, "_position", position)

    @property
    def n(self) -> int:
        return len(self.columns)

    @property
    def k(self) -> int:
        return self.n - self.check_bits

    def syndromes(self, words: UInt8Array) -> npt.NDArray[np.int64]:
        """The syndromes (...) of words (..., n); 0 for a code word."""
        return np.asarray(np.bitwise_xor.reduce(words * self._columns, axis=-1))

    def encode(self, data: UInt8Array) -> UInt8Array:
        """Code words (..., n) of data bits (..., k)."""
        check = np.bitwise_xor.reduce(data * self._columns[: self.k], axis=-1)[..., None]
        bits = check >> np.arange(self.check_bits) & 1
        return np.concatenate([data, bits.astype(np.uint8)], axis=-1)

    def corrections(self, words: UInt8Array) -> tuple[UInt8Array, BoolArray]:
        """What the decoder would XOR onto words (..., n), and which words (...) it gives up."""
        syndromes = self.syndromes(words)
        position = self._position[syndromes]
        flips = (position[..., None] == np.arange(self.n)) & (syndromes != 0)[..., None]
        return flips.astype(np.uint8), (syndromes != 0) & (position < 0)


@dataclass(frozen=True)
class SymbolCode:
    """A Reed-Solomon code over GF(256), shortened, that corrects one symbol and detects what it can beyond.

    The field is GF(2)[x] / x^8 + x^4 + x^3 + x^2 + 1 and the generator has the roots 1, a, a^2, ... (n -
    k of them, a = x).  With two check symbols the distance is 3: two wrong symbols are mostly detected,
    and miscorrected when their syndrome is that of a third, which happens to (n - 2) / 255 of them.  With
    four the distance is 5: with one symbol corrected, two or three wrong ones are always detected.
    """

    name: str
    n: int
    k: int
    _parity: UInt8Array = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parity", _parity_matrix(self.n, self.k))

    def syndromes(self, words: UInt8Array) -> UInt8Array:
        """The n - k syndromes (..., n - k) of words (..., n); all 0 for a code word."""
        powers = np.arange(self.n - 1, -1, -1)
        roots = [_EXP[powers * j % 255] for j in range(self.n - self.k)]
        return np.stack([np.bitwise_xor.reduce(_multiply(words, root), axis=-1) for root in roots], axis=-1)

    def encode(self, data: UInt8Array) -> UInt8Array:
        """Code words (..., n) of data bytes (..., k)."""
        check = [np.bitwise_xor.reduce(_multiply(data, column), axis=-1) for column in self._parity.T]
        return np.concatenate([data, np.stack(check, axis=-1)], axis=-1)

    def corrections(self, words: UInt8Array) -> tuple[UInt8Array, BoolArray]:
        """What the decoder would XOR onto words (..., n), and which words (...) it gives up."""
        syndromes = self.syndromes(words)
        wrong = syndromes.any(axis=-1)
        logs = _LOG[syndromes]
        steps = np.diff(logs, axis=-1) % 255  # one wrong symbol at x^p: each syndrome is a^p times the last
        power = steps[..., 0]
        one = (syndromes != 0).all(axis=-1) & (steps == power[..., None]).all(axis=-1) & (power < self.n)
        here = (np.arange(self.n - 1, -1, -1) == power[..., None]) & one[..., None]
        return np.where(here, syndromes[..., :1], np.uint8(0)), wrong & ~one


def outcomes(code: Code, patterns: UInt8Array) -> UInt8Array:
    """What becomes of error patterns (..., n), as indices (...) into :data:`OUTCOMES`."""
    patterns = np.asarray(patterns, dtype=np.uint8)
    if patterns.shape[-1:] != (code.n,):
        raise ValueError(
            f"error patterns of {code.name}: allowed: arrays whose last axis has length {code.n}"
        )
    flips, given_up = code.corrections(patterns)
    flipped = flips.any(axis=-1)
    left = (patterns ^ flips).any(axis=-1)
    result = np.where(flipped, np.where(left, MISCORRECTED, CE), np.where(left, SILENT, NONE))
    return np.where(given_up, UE, result).astype(np.uint8)


def outcome(code: Code, error_pattern: npt.ArrayLike) -> str:
    """What becomes of one error pattern of length n: one of :data:`OUTCOMES`."""
    return OUTCOMES[int(outcomes(code, np.asarray(error_pattern, dtype=np.uint8)))]


def residual(code: Code, patterns: UInt8Array) -> UInt8Array:
    """The error that is left after decoding: the pattern XOR what the decoder flips, (..., n).

    For an on-die code this is what leaves the chip.  The next code sees the rest as if it came from the
    array: DDR5 tells of its own corrections only by the counters of its error check and scrub (kernel 6.15,
    Documentation/ABI/testing/sysfs-edac-ecs).
    """
    return np.asarray(patterns ^ code.corrections(patterns)[0], dtype=np.uint8)


def decode(code: Code, words: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
    """Data (..., k) of received words and what the decoder reports (...): NONE, CE or UE."""
    flips, given_up = code.corrections(words)
    reported = np.where(given_up, UE, np.where(flips.any(axis=-1), CE, NONE)).astype(np.uint8)
    return (words ^ flips)[..., : code.k], reported


def _hsiao_columns() -> tuple[int, ...]:
    """56 columns of weight 3, eight of weight 5 (the rotations of five adjacent ones), then the unit columns.

    All weights are odd, so the syndrome of two errors is even, never a column and never zero; every row has
    27 ones, the fewest possible (Hsiao, IBM J. Res. Dev. 14(4), 1970).
    """
    three = tuple(value for value in range(256) if value.bit_count() == 3)
    five = tuple((0x1F << turn | 0x1F >> (8 - turn)) & 0xFF for turn in range(8))
    return (*three, *five, *(1 << bit for bit in range(8)))


def _multiply(a: UInt8Array, b: UInt8Array) -> UInt8Array:
    """Products in GF(256), broadcast."""
    return np.where((a == 0) | (b == 0), np.uint8(0), _EXP[(_LOG[a] + _LOG[b]) % 255])


def _field() -> tuple[UInt8Array, npt.NDArray[np.int64]]:
    """Powers of a = x in GF(256), and logarithms (that of 0 is never used)."""
    exp, log, value = np.zeros(255, dtype=np.uint8), np.zeros(256, dtype=np.int64), 1
    for power in range(255):
        exp[power], log[value] = value, power
        value <<= 1
        if value > 255:
            value ^= 0x11D
    return exp, log


_EXP, _LOG = _field()


def _parity_matrix(n: int, k: int) -> UInt8Array:
    """(k, n - k): the check symbols of each unit data word, by division by the generator polynomial."""
    generator = np.array([1], dtype=np.uint8)
    for j in range(n - k):
        shifted = np.append(generator, np.uint8(0))
        shifted[1:] ^= _multiply(generator, _EXP[j])
        generator = shifted
    rows = np.zeros((k, n - k), dtype=np.uint8)
    remainder = generator[1:].copy()  # of x^(n-k), the lowest data symbol
    for i in range(k - 1, -1, -1):
        rows[i] = remainder
        top = remainder[0]
        remainder = np.append(remainder[1:], np.uint8(0)) ^ _multiply(generator[1:], top)
    return rows


NO_ECC = BinaryCode("no-ecc", columns=(0,) * 64, check_bits=0)
"""64 data bits and nothing else: every error is silent."""

SECDED = BinaryCode("secded", columns=_hsiao_columns(), check_bits=8)
"""(72,64) of Hsiao: corrects one bit, detects two.  One beat of a 72-bit rank is one word; chip i of x4 has
bits 4i to 4i + 3.  Which of the equally good column orders a memory controller uses is not public."""

CHIPKILL_X4 = SymbolCode("chipkill-x4", n=18, k=16)
"""18 x4 chips, two beats of a chip one 8-bit symbol, two of them check: corrects what one chip does."""

CHIPKILL_X4_LOCKSTEP = SymbolCode("chipkill-x4-lockstep", n=36, k=32)
"""36 x4 chips, two channels in lockstep: four check symbols, corrects one chip and surely detects two."""

CHIPKILL_X4_DDR5 = SymbolCode("chipkill-x4-ddr5", n=10, k=8)
"""8 + 2 x4 chips of a DDR5 sub-channel, two beats a word ([10, 8] of Kim et al., "Unity ECC", SC'23)."""

ON_DIE_SEC = BinaryCode(
    "on-die-sec",
    columns=(*(int(_EXP[power]) for power in range(135, 7, -1)), *(1 << bit for bit in range(8))),
    check_bits=8,
)
"""(136,128) inside each DDR5 chip: a Hamming code shortened from (255,247), columns a^135 ... a^8 and the
units.  The check bits stay in the chip, and a burst of an x4 chip carries 64 of the 128 data bits (Kim et
al., "Unity ECC", SC'23).  The matrices of vendors are not public; the share of double errors that is
miscorrected depends on the columns kept: here 4836 of 9180, with others also about 135/255."""

CODES: dict[str, BinaryCode | SymbolCode] = {
    code.name: code
    for code in (NO_ECC, SECDED, CHIPKILL_X4, CHIPKILL_X4_LOCKSTEP, CHIPKILL_X4_DDR5, ON_DIE_SEC)
}
"""All codes by name."""
