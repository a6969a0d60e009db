"""DRAM faults of very many DIMMs at once, and which of them no ECC corrects.

The number of faults of a whole batch is drawn first, then which DIMM each belongs to; times, chips and
addresses matter only where one fault is enough or two on one DIMM can meet.  A fault is a range of
addresses of one chip (as in FaultSim: Nair, Roberts, Qureshi, ACM TACO 12(4), 2016);
two meet if no coordinate that both have fixed differs, and if both are there at one time: a transient
lives until the next sweep of the scrubber begins, a permanent for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.elementary import added
from hwsim.hardware.dram.fault_model import HOURS_PER_YEAR, FaultModel, columns_per_word
from hwsim.hardware.dram.fit_tables import FIXED
from hwsim.record import FaultMode

BATCH_DIMMS = 1 << 17  # counts of one batch stay in the second-level cache
_BATCH_FAULTS = 1 << 14  # a batch of DIMMs with many faults each is smaller: pairs grow with the square
_COORDINATES = ("subchannel", "rank", "bank", "row", "column")

_HALF = {
    mode: "" if mode == FaultMode.CHANNEL else "subchannel" for mode in FIXED
}  # a chip is of one sub-channel

Vector = NDArray[np.float64]
Whole = NDArray[np.int64]


class FaultCounts(NamedTuple):
    """DIMMs: all, with a fault, and those whose first uncorrectable pattern came in each year."""

    trials: int
    faulty: int
    uncorrected_in_year: tuple[int, ...]


def sample_faults(model: FaultModel, trials: int, seed: int) -> FaultCounts:
    """``trials`` DIMMs over the life of ``model``; the same counts for the same seed.  Constant memory."""
    faulty = 0
    by_year: Whole = np.zeros(max(1, int(np.ceil(model.years))), dtype=np.int64)
    sampler = _Sampler(model)
    size = max(1, min(BATCH_DIMMS, int(_BATCH_FAULTS / max(sampler.faults_per_dimm, 1e-9))))
    for number, first in enumerate(range(0, trials, size)):
        chance = np.random.Generator(np.random.Philox(key=np.array([seed, number], dtype=np.uint64)))
        some, years = sampler.batch(chance, min(size, trials - first))
        faulty += some
        by_year += np.bincount(years, minlength=by_year.size)
    return FaultCounts(trials, faulty, tuple(int(x) for x in by_year))


class _Sampler:
    """The model as arrays.  Life: one for a run -> :meth:`batch` for each batch."""

    def __init__(self, model: FaultModel) -> None:
        self.model = model
        kinds = model.kinds()
        fit = np.array([each[2] for each in kinds], dtype=np.float64)
        self.faults_per_dimm = model.faults_per_dimm
        self.share = fit / added(fit.tolist()) if fit.size else fit
        self.permanent = np.array([each[1] for each in kinds], dtype=np.bool_)
        self.alone = np.array([model.alone(each[0]) for each in kinds], dtype=np.float64)
        hidden = [model.on_die and each[0].mode == FaultMode.BIT for each in kinds]
        self.seen = np.array([not each for each in hidden], dtype=np.bool_)  # leaves its chip
        self.fixed = {
            name: np.array(
                [name in (*FIXED[each[0].mode], _HALF[each[0].mode]) for each in kinds], dtype=np.bool_
            )
            for name in (*_COORDINATES, "bit")
        }
        geometry = model.geometry
        columns = max(1, geometry.columns // columns_per_word(model.ecc, geometry.chip_width_bits))
        banks = geometry.bank_groups * geometry.banks
        counts = (geometry.subchannels, geometry.ranks, banks, geometry.rows, columns)
        self.counts = dict(zip(_COORDINATES, counts, strict=True))

    def batch(self, chance: np.random.Generator, dimms: int) -> tuple[int, Whole]:
        """DIMMs with a fault, and of each uncorrected DIMM the year in which that began."""
        n = int(chance.poisson(self.faults_per_dimm * dimms))
        if n == 0:
            return 0, np.zeros(0, dtype=np.int64)
        dimm = chance.integers(0, dimms, n, dtype=np.int64)
        # Which kinds came is independent of where: the kinds in order, the DIMMs in any.
        kind = np.repeat(np.arange(self.share.size), chance.multinomial(n, self.share))
        time_h = chance.random(n) * self.model.hours
        on_dimm = np.bincount(dimm, minlength=dimms)
        fails = np.flatnonzero(chance.random(n) < self.alone[kind])
        several = np.flatnonzero(on_dimm[dimm] > 1)
        more_dimm, more_h = self._meetings(chance, dimm[several], kind[several], time_h[several])
        where, when = np.concatenate([dimm[fails], more_dimm]), np.concatenate([time_h[fails], more_h])
        order = np.argsort(when)
        _, first = np.unique(where[order], return_index=True)
        years = (when[order][first] / HOURS_PER_YEAR).astype(np.int64)
        return int(np.count_nonzero(on_dimm)), years

    def _meetings(
        self, chance: np.random.Generator, dimm: Whole, kind: Whole, time_h: Vector
    ) -> tuple[Whole, Vector]:
        """(DIMM, hour) of every pair of faults on one DIMM that no code of this kind corrects."""
        places = {name: chance.integers(0, count, dimm.size) for name, count in self.counts.items()}
        chip = chance.integers(0, self.model.geometry.chips_per_rank, dimm.size)
        bit = chance.integers(0, self.model.geometry.chip_width_bits, dimm.size)
        order = np.argsort(dimm, kind="stable")
        until_h = self._until(kind, time_h)
        found: list[tuple[Whole, Vector]] = [(np.zeros(0, dtype=np.int64), np.zeros(0))]
        for i, j in _pairs(dimm[order], order):
            meet = (time_h[i] < until_h[j]) & (time_h[j] < until_h[i])
            meet &= self.seen[kind[i]] & self.seen[kind[j]]
            for name, place in places.items():
                meet &= ~(self.fixed[name][kind[i]] & self.fixed[name][kind[j]]) | (place[i] == place[j])
            if self.model.ecc in ("chipkill", "sddc"):
                meet &= chip[i] != chip[j]
            elif self.model.ecc == "secded":  # the same bit twice is one wrong bit
                both = self.fixed["bit"][kind[i]] & self.fixed["bit"][kind[j]]
                meet &= ~(both & (chip[i] == chip[j]) & (bit[i] == bit[j]))
            found.append((dimm[i[meet]], np.maximum(time_h[i], time_h[j])[meet]))
        return np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])

    def _until(self, kind: Whole, time_h: Vector) -> Vector:
        if self.model.scrub_h is None:
            return np.full(time_h.size, np.inf)
        sweep = (np.floor(time_h / self.model.scrub_h) + 1.0) * self.model.scrub_h
        return np.where(self.permanent[kind], np.inf, sweep)


def _pairs(dimm: Whole, order: Whole) -> Iterator[tuple[Whole, Whole]]:
    """Every pair of faults on one DIMM, neighbours first, until no DIMM has so many."""
    apart = 1
    while True:
        same = np.flatnonzero(dimm[:-apart] == dimm[apart:]) if dimm.size > apart else dimm[:0]
        if same.size == 0:
            return
        yield order[same], order[same + apart]
        apart += 1
