"""Latent lines that nobody has met, as a set: what those who know single bad lines tell it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from mypy_extensions import trait

from hwsim.kernel.mm_types import Region


@trait
class Latent:
    """Many lines of one fault.

    :meth:`stand_for`: the page has been met, or gets another error, so its lines are errors of their own from
    now on.  :meth:`most_at`: how often anything may come to it at most, per ns.  :meth:`roles_of`: of which
    frames these pages have the place in this boot, -1 of what is not in the set.  :meth:`revived`: the
    frames of the region have a new owner.  :meth:`halt`, :meth:`go_on`: the kernel stops, the next one runs.
    """

    __slots__ = ()

    def stand_for(self, pfn: int) -> None:
        raise NotImplementedError

    def most_at(self, pfn: int) -> float:
        raise NotImplementedError

    def roles_of(self, pfns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        raise NotImplementedError

    def revived(self, region: Region) -> None:
        raise NotImplementedError

    def halt(self) -> None:
        raise NotImplementedError

    def go_on(self) -> None:
        raise NotImplementedError
