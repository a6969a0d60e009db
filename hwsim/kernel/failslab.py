"""Small allocations that fail (mm/failslab.c, lib/fault-inject.c; 2.6.30)."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.kernel.failure import Chance
from hwsim.rng import Slot


@dataclass(slots=True, eq=False)
class FailSlab:
    """Which entries of a kill list cannot be allocated.

    ``probability`` is that of one GFP_ATOMIC allocation; the first of a list, number 0, may sleep and
    fails only where ``times`` says that so many fail for certain, whatever they are for.
    """

    probability: float
    times: int = 0

    def should_fail(self, chance: Chance, number: int) -> bool:
        """Whether allocation ``number`` of a list fails."""
        if self.times > 0:
            self.times -= 1
            return True
        fail = self.probability
        return fail > 0.0 and number > 0 and chance.extra(Slot.ATOMIC_ALLOC, number) < fail
