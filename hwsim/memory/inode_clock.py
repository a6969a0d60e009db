"""When a file was clean last, and first stored to since: of one machine, or of all machines by the law.

The law is that of ``kernel/writeback``, taken from it by asking many inodes of one file, whose draws are
spread evenly (each draw of all inodes together is a Latin hypercube sample): no second form of it stands
here, and a mean over 512 clocks is as good as one over many thousands of independent ones.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from hwsim.elementary_each import Floats
from hwsim.kernel.mm_types import Region
from hwsim.kernel.writeback import Flusher, Inode
from hwsim.spec import MachineSpec

_CLOCKS = 512
_PHASE = 1 << 20  # names of draws that are no slots: the flusher's phase, then those of the calls
_SCALE = 1.0 / 2**64


class InodeClock(NamedTuple):
    """One clock an entry, float64.

    ``written_ns``: when all pages were last clean; ``stored_ns``: the first store since then, now if there
    was none; ``stored``: 1 if there was one, else 0.
    """

    written_ns: Floats
    stored_ns: Floats
    stored: Floats


def of_machine(region: Region, _spec: MachineSpec, now_ns: int) -> InodeClock:
    """The clock of one machine's inode, which is brought up to now."""
    assert region.mapping is not None and region.mapping.host is not None
    return _clock([region.mapping.host], now_ns)


def by_law(region: Region, spec: MachineSpec, now_ns: int) -> InodeClock:
    """Clocks of the region's inode, each as likely as any other."""
    assert region.mapping is not None and region.mapping.host is not None
    periods = [period for _, period in region.mapping.host.calls]
    inodes = []
    for number in range(_CLOCKS):
        phase = region.since_ns + int(_spread(_PHASE)[number] * spec.dirty_writeback_ns)
        flusher = Flusher(phase, spec.dirty_writeback_ns, spec.dirty_expire_ns)
        inode = Inode(region, flusher, region.since_ns, _Uniforms(number))
        for nth, period in enumerate(periods, 1):
            inode.calls.append((region.since_ns + int(_spread(_PHASE + nth)[number] * period), period))
        inodes.append(inode)
    return _clock(inodes, now_ns)


def _clock(inodes: list[Inode], now_ns: int) -> InodeClock:
    written = [inode.clean_at(now_ns) for inode in inodes]
    first = [inode.first_store_ns(now_ns) for inode in inodes]
    return InodeClock(
        np.array(written, np.float64),
        np.array([now_ns if each is None else each for each in first], np.float64),
        np.array([each is not None for each in first], np.float64),
    )


@lru_cache(maxsize=1024)
def _spread(name: int) -> Floats:
    """One draw of all clocks: a uniform in each of as many equal parts of [0, 1), in random order."""
    raw = np.random.Philox(key=name).random_raw(2 * _CLOCKS)
    within = raw[_CLOCKS:] * _SCALE
    spread: Floats = (raw[:_CLOCKS].argsort().argsort() + within) / _CLOCKS
    return spread


class _Uniforms:
    """The draws of one inode: the n-th of a slot is its entry of a spread."""

    __slots__ = ("_asked", "_number")

    def __init__(self, number: int) -> None:
        self._number = number
        self._asked: Counter[int] = Counter()

    def __call__(self, slot: int, _k: int) -> float:
        self._asked[slot] += 1
        return float(_spread(self._asked[slot] << 32 | slot)[self._number])
