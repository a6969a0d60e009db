"""The buffer between the kernel and the program that reads /dev/mcelog.

mce_log() of 2.6.32, arch/x86/kernel/cpu/mcheck/mce.c: 32 records; when it is full further ones are thrown
away and a flag says so, since the first errors are taken to be the interesting ones; a reader takes all.
"""

from __future__ import annotations

from hwsim.elementary import exp

MCE_LOG_LEN = 32


def kept_share(records_per_s: float, read_every_s: float, size: int = MCE_LOG_LEN) -> float:
    """The share of a Poisson stream of records that a reader gets who comes this often."""
    expected = records_per_s * read_every_s
    if expected <= size / 8:
        return 1.0
    if expected > 20 * size:
        return size / expected
    kept, chance = float(size), exp(-expected)
    for count in range(size):
        kept -= (size - count) * chance
        chance *= expected / (count + 1)
    return kept / expected
