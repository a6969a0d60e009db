"""What a kind of page is structurally, how chance draws it, who reads it, and what is lost with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import Page
from hwsim.many_draws import Positions
from hwsim.memory.page_array import PageArray


class Structure(NamedTuple):
    """What a frame is as the machine is laid out: flags, references, entries in page tables.

    ``tail``: the flags of the frames of an allocation that are not its first; they have no references.
    """

    flags: int
    references: int = 1
    entries: int = 0
    tail: int = 0


def dirty_data(_page: Page, dirty: bool) -> bool:
    """There is another copy on the disk of what is not dirty."""
    return dirty


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One kind.

    ``draw`` makes a page that nobody has looked at what it is now; ``draw_each`` does so with the pages at
    some positions of an array, each in a machine of its own in which nothing has happened since the boot.
    ``kernel_access``: (reads, overwrites unread) of one line per ns by the kernel, through no page table;
    None of a page: nobody uses it.
    ``data_lost`` is of a page that was poisoned and contained, ``write_lost`` whether a dirty page that the
    kernel drops leaves a lost write behind of which somebody may hear.
    """

    structure: Structure
    draw: Callable[[Kernel, Page, Chance], None]
    kernel_access: Callable[[Page], tuple[float, float] | None] | None = None  # None: it never does
    by_first_touch: bool = False  # free frames of a region are taken one by one, by who touches the page
    data_lost: Callable[[Page, bool], bool] = dirty_data
    write_lost: Callable[[Page], bool] | None = None  # None: never
    draw_each: Callable[[PageArray, Positions], None] | None = None  # None: such machines are played
