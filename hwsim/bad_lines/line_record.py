"""What the record tells of one error; the columns of ErrorRow say what each of them is."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.bad_lines.states import Treatment
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm_types import Page
from hwsim.memory.kinds import FREE
from hwsim.record import Found, SignalRow


@dataclass(slots=True, eq=False)
class LineRecord:
    """One error as its row will tell it, over all boots.  Life: that of its line."""

    boot: int = -1  # the one of kind and region: of the find, or until then of the onset
    kind: str = "hidden"
    region: str = "hidden"
    found: str = Found.NONE
    found_ns: int | None = None
    first: Treatment | None = None  # in the boot in which it was found, once that is over
    unmapped_ns: int | None = None
    touched: bool = False  # between the find and then
    data_lost_bytes: int = 0
    repeats: int = 0
    ring_lost: int = 0
    logged_only: int = 0
    panics: int = 0
    panic_ns: int | None = None  # the first of them
    panic_boot: int | None = None
    panic_kind: str = ""
    panic_region: str = ""
    disk_ns: int | None = None
    disk_boot: int | None = None
    shown_with: LineRecord | None = None  # of a line of a set: it has a row if that one was met
    signal_rows: tuple[SignalRow, ...] = ()  # of earlier boots
    end: str = ""
    end_ns: int = 0

    def name_owner(self, boot: int, page: Page | None) -> None:
        """What the page is and whose: at the onset, and then at the first find."""
        self.boot = boot
        self.kind, self.region = owner_of(page)


def owner_of(page: Page | None) -> tuple[str, str]:
    """Kind and owner of a page as it is now; None: of memory that the kernel does not see."""
    if page is None:
        return "hidden", "hidden"
    return FREE if page.flags & pg.BUDDY else page.region.kind, page.region.name
