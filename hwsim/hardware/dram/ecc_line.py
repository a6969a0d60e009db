"""A 64-byte line as its codes see it: which bits of which chips make one code word.

An error of a line is an array (..., beats, chips, width) of bits, uint8: what each chip's pins got wrong in
each beat of the burst.
"""

from __future__ import annotations

import numpy as np

from hwsim.hardware.dram.ecc import BinaryCode, SymbolCode, UInt8Array, outcomes

BEATS_PER_SYMBOL = 2  # of an x4 chip: eight bits


def code_words(code: BinaryCode | SymbolCode, line: UInt8Array) -> UInt8Array:
    """The code words (..., words, n) of a line error (..., beats, chips, width).

    A binary code takes one beat of all chips as a word; a code with symbols takes two beats of x4 chips,
    and a chip's bits are one symbol: first beat low, pin 0 lowest.  NO_ECC takes the data chips.
    ValueError when the chips do not make a code word.
    """
    *outer, beats, chips, width = line.shape
    if isinstance(code, BinaryCode):
        if chips * width != code.n:
            raise ValueError(f"{chips} x{width} chips under {code.name}: allowed: {code.n} bits a beat")
        return line.reshape(*outer, beats, code.n)
    if chips != code.n or width != 4 or beats % BEATS_PER_SYMBOL:
        raise ValueError(
            f"{chips} x{width} chips, {beats} beats under {code.name}: allowed: {code.n} x4 chips"
        )
    pairs = line.reshape(*outer, beats // BEATS_PER_SYMBOL, BEATS_PER_SYMBOL, chips, width)
    weights = 1 << np.arange(BEATS_PER_SYMBOL * width).reshape(BEATS_PER_SYMBOL, 1, width)
    return np.asarray((pairs * weights).sum(axis=(-1, -3)), dtype=np.uint8)


def line_outcomes(code: BinaryCode | SymbolCode, line: UInt8Array) -> UInt8Array:
    """What becomes of line errors (..., beats, chips, width), as indices (...) into OUTCOMES.

    The worst of its code words, where a UE tops the wrong data it comes with, because the machine learns
    of it.
    """
    return np.asarray(outcomes(code, code_words(code, line)).max(axis=-1), dtype=np.uint8)
