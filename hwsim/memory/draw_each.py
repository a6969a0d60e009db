"""What the pages of many machines are at the moment of their first error: ``draw_state`` over arrays."""

from __future__ import annotations

import numpy as np

from hwsim.kernel.error_states import Config
from hwsim.memory.behaviours import BEHAVIOURS
from hwsim.memory.page_array import PageArray


def first_looks(pages: PageArray, config: Config) -> None:
    """Fill in flags, references and whether a task maps it, kind by kind; ``config`` has the bits there are."""
    kinds = pages.cells.kind[pages.cell]
    for number, behaviour in enumerate(BEHAVIOURS.values()):
        at = np.flatnonzero(kinds == number)
        if at.size:
            behaviour.draw_each(pages, at)
    flags, which = np.unique(pages.flags, return_inverse=True)
    pages.flags = np.array([config.real_flags(each) for each in flags.tolist()], np.uint32)[which]
