"""What the sampler of DRAM faults is asked: one kind of DIMM, its fault rates, its ECC, its life.

What each ECC cannot correct: ``none``: any fault.  ``secded``: more than one wrong bit in a word, and a fault
wider than a bit counts as all of its bits, as in FaultSim.  ``chipkill``: two chips in one symbol of eight
bits.  ``sddc``: as chipkill, and the share of single faults that the table says (code as built).  A channel
fault is of all chips, which no code corrects.  With on-die ECC a chip corrects a bit fault by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.elementary import added
from hwsim.hardware.dram.dimms import DramGeometry
from hwsim.hardware.dram.fit_tables import FaultRate
from hwsim.record import FaultMode

ECCS = ("none", "secded", "chipkill", "sddc")
SYMBOL_BITS = 8
HOURS_PER_YEAR = 8760.0


def columns_per_word(ecc: str, width_bits: int) -> int:
    """How many columns of a chip one code word takes: two beats of an x4 chip are a symbol."""
    return max(1, SYMBOL_BITS // width_bits) if ecc in ("chipkill", "sddc") else 1


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
        """Chips of a DIMM: of all its ranks, and of both sub-channels of DDR5."""
        return self.geometry.chips_per_rank * self.geometry.ranks * self.geometry.subchannels

    @property
    def hours(self) -> float:
        """The life in hours."""
        return self.years * HOURS_PER_YEAR

    @property
    def faults_per_dimm(self) -> float:
        """Expected faults of a DIMM over its life."""
        return added(fit for _, _, fit in self.kinds()) * self.hours / 1e9

    def kinds(self) -> list[tuple[FaultRate, bool, float]]:
        """(rate, permanent, FIT of a DIMM), those that can come; a channel's faults are each DIMM's."""
        wanted = [
            (rate, permanent, fit * self.fit_factor * (1 if rate.mode == FaultMode.CHANNEL else self.chips))
            for rate in self.rates
            for permanent, fit in ((False, rate.transient_fit), (True, rate.permanent_fit))
            if (self.permanent if permanent else self.transient)
        ]
        return [each for each in wanted if each[2] > 0.0]

    def alone(self, rate: FaultRate) -> float:
        """The chance that one fault of this kind is uncorrectable by itself."""
        if self.on_die and rate.mode == FaultMode.BIT:
            return 0.0
        if self.ecc == "sddc" and rate.ue_share is not None:
            return rate.ue_share
        if self.ecc == "none" or rate.mode == FaultMode.CHANNEL:
            return 1.0
        return float(self.ecc == "secded" and rate.mode != FaultMode.BIT)
