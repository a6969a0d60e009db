"""What one boot knows of a bad line: another kernel knows nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hwsim.bad_lines.states import Treatment
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.mm.me_handlers import ACTION_NAME
from hwsim.kernel.mm_types import Pte, Signal, Vma


@dataclass(slots=True, eq=False)
class InBoot:
    """The handling of one error by the kernel that runs.

    Life: made with its line -> the finds are ``queued`` -> memory_failure() returns: ``failure`` -> what
    follows -> :meth:`let_go` when the kernel ends -> a new one, if the line is bad in the next boot, too.
    """

    since_ns: int | None = None  # nobody has met the line since then: for the first look at its page
    queued: set[MemoryFailure] = field(default_factory=set)  # in a ring, or with memory_failure()
    failure: MemoryFailure | None = None  # the one that poisoned the page, or the last
    signals: tuple[Signal, ...] = ()
    entries: Sequence[Pte] = ()  # what was unmapped, until memory_failure() returns
    stores_waiting: Sequence[Vma] = ()  # for the page lock, until then
    mappers: int = 0
    logged: bool = False
    dirty: bool = False  # PG_dirty when memory_failure() returned
    hole: bool = False  # the frame is out of use: its region goes on without it
    contained_ns: int | None = None
    isolated_pages: int = 0

    @property
    def treatment(self) -> Treatment:
        """What the boot has made of the error so far."""
        failure = self.failure
        if failure is None:
            return Treatment(None, self.contained_ns, 0, "", "", "", self.mappers, self.isolated_pages)
        return Treatment(
            failure.poisoned_ns,
            self.contained_ns,
            failure.row,
            failure.message,
            ACTION_NAME[failure.outcome],
            failure.context,
            self.mappers,
            self.isolated_pages,
        )

    def take_out(self, pages: int) -> None:
        """The frame has left the memory in use, alone or with the block of ``pages`` it stands in."""
        self.hole = True
        self.isolated_pages = max(self.isolated_pages, pages)

    def let_go(self) -> None:
        """The kernel ends: what it works with is not held any more."""
        self.failure = None
        self.queued.clear()
        self.entries = self.stores_waiting = ()
