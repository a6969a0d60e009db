"""Latent lines that nobody has met, as a set: what those who know single bad lines tell it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from mypy_extensions import trait

from hwsim.kernel.mm_types import Region


@trait
class Latent:
    """Many lines of one fault.

    :meth:`has_latent`: which of these frames have lines that wait in it.  :meth:`stand_for`: a page gets
    another error, so its lines are errors of their own from now on.  :meth:`revived`: the frames of the
    region have a new owner.  :meth:`halt`, :meth:`go_on`: the kernel stops, the next one runs.
    """

    __slots__ = ()

    def has_latent(self, pfns: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        raise NotImplementedError

    def stand_for(self, pfn: int) -> None:
        raise NotImplementedError

    def revived(self, region: Region) -> None:
        raise NotImplementedError

    def halt(self) -> None:
        raise NotImplementedError

    def go_on(self) -> None:
        raise NotImplementedError
