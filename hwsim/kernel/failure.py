"""One call of memory_failure(): which page, with which draws, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwsim.rng import ROW, Slot


@dataclass(slots=True, eq=False)
class Chance:
    """The draws with which somebody looks at a page; those that handle it are a :class:`MemoryFailure`.

    ``error`` names the bad line, below zero none; ``attempt`` counts calls for the same error: the first uses
    the error's own ``uniforms``, later ones further draws.  ``since_ns``: nobody has met the line since then
    (None: it is new).
    """

    error: int
    pfn: int
    uniforms: list[float]
    further: Callable[[int, int, int], float]  # (error, slot, k)
    attempt: int = 0
    since_ns: int | None = None

    def draw(self, slot: Slot) -> float:
        """The uniform of ``slot`` for this call."""
        if self.attempt == 0:
            return self.uniforms[slot]
        return self.further(self.error, slot, self.attempt * ROW)

    def extra(self, slot: Slot, k: int) -> float:
        """A further uniform of this error, one per ``k`` (a VMA, a task)."""
        return self.further(self.error, slot, k)


@dataclass(slots=True, eq=False)
class MemoryFailure(Chance):
    """One call of memory_failure() on one page.

    Life: made for a machine check or an injector -> waits in a ring -> handled, which fills in the rest.
    ``exit`` is how memory_failure() left, named by the kernel's file.  What that comes to is known of
    already, free_or_high_order, free_buddy, already_unmapped and table (``bad_lines/handled``); after any
    other the page is not contained.  ``kind`` and ``region`` say whose page it was.
    """

    context: str = ""
    cpu: int = 0
    started_ns: int = 0
    poisoned_ns: int | None = None
    kind: str = ""
    region: str = ""
    mappers: int = 0
    unmap_failed: bool = False
    dirty: bool = False  # PG_dirty once unmapped
    exit: str = ""
    row: int = 0  # of error_states; 0: it did not come to that
    kernels_own: bool = False  # that row is of memory that the kernel keeps for itself, or free
    message: str = ""
    outcome: int = -1  # index into ACTION_NAME
