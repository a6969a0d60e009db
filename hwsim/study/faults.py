"""The hardware stage alone: how many of very many DIMMs have faults, and how many an uncorrected error."""

from __future__ import annotations

import time
from typing import NamedTuple

from hwsim.hardware.dram.fault_model import FaultModel
from hwsim.hardware.dram.fault_sampler import sample_faults
from hwsim.study.estimate import Estimate, proportion


class FaultStudy(NamedTuple):
    """Shares of DIMMs with Wilson intervals; ``p_by_year`` is cumulative, one for each year begun."""

    trials: int
    p_any_fault: Estimate
    p_uncorrected: Estimate
    p_by_year: tuple[Estimate, ...]
    seconds: float

    @property
    def trials_per_second(self) -> float:
        """DIMMs a second of wall time."""
        return self.trials / self.seconds


def fault_study(model: FaultModel, trials: int, seed: int) -> FaultStudy:
    """Sample ``trials`` DIMMs and estimate; the unit is the DIMM.  Same seed, same counts."""
    begin = time.perf_counter()
    counts = sample_faults(model, trials, seed)
    seconds = time.perf_counter() - begin
    so_far, by_year = 0, []
    for number in counts.uncorrected_in_year:
        so_far += number
        by_year.append(proportion(so_far, trials))
    return FaultStudy(trials, proportion(counts.faulty, trials), by_year[-1], tuple(by_year), seconds)
