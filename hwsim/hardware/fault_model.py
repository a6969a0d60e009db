"""What the sampler of DRAM faults is asked: one kind of DIMM, its fault rates, its ECC, its life.

What each ECC cannot correct: ``none``: any fault.  ``secded`` (72,64): more than one wrong bit in a word.
``chipkill``: two chips in one symbol of two beats.  ``sddc``: as chipkill, and the share of single faults
that the table says (code as built).  A channel fault is of all chips, which no code corrects.  With on-die
ECC a chip corrects a bit fault by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.hardware.dram import DramGeometry
from hwsim.hardware.fit_tables import FaultRate

ECCS = ("none", "secded", "chipkill", "sddc")
HOURS_PER_YEAR = 8760.0


@dataclass(frozen=True, slots=True)
class FaultModel:
    """One kind of DIMM over its life.  ``scrub_h`` None: no scrubber, a transient stays."""

    geometry: DramGeometry
    rates: tuple[FaultRate, ...]
    ecc: str
    years: float
    scrub_h: float | None
    fit_factor: float = 1.0
    transient: bool = True
    permanent: bool = True
    on_die: bool = False

    @property
    def chips(self) -> int:
        """Chips of a DIMM, one sub-channel's ranks."""
        return self.geometry.chips_per_rank * self.geometry.ranks

    @property
    def hours(self) -> float:
        """The life in hours."""
        return self.years * HOURS_PER_YEAR

    def kinds(self) -> list[tuple[FaultRate, bool, float]]:
        """(rate, permanent, FIT of a chip), those that can come."""
        wanted = [
            (rate, permanent, fit * self.fit_factor)
            for rate in self.rates
            for permanent, fit in ((False, rate.transient_fit), (True, rate.permanent_fit))
            if (self.permanent if permanent else self.transient)
        ]
        return [each for each in wanted if each[2] > 0.0]

    def alone(self, rate: FaultRate) -> float:
        """The chance that one fault of this kind is uncorrectable by itself."""
        if self.on_die and rate.mode == "bit":
            return 0.0
        if self.ecc == "none" or rate.mode == "channel":
            return 1.0
        if self.ecc == "secded":
            return float(rate.mode != "bit")
        return (rate.ue_share or 0.0) if self.ecc == "sddc" else 0.0
