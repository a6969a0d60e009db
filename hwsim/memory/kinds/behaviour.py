"""What a kind of page is structurally, how chance draws it, who reads it, and what is lost with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import Page
from hwsim.many_draws import Positions
from hwsim.memory.page_array import PageArray
from hwsim.memory.page_class import PageClass
from hwsim.memory.page_law import USED, Law, certain


@dataclass(frozen=True, slots=True)
class Structure:
    """What a frame is as the machine is laid out, and stays: a law without chance.

    ``tail``: the flags of the frames of an allocation that are not its first; they have no references of
    their own.
    """

    flags: int
    references: int = 1
    tail: int = 0

    def __call__(self, _pages: PageClass) -> Law:
        """Of every class of pages."""
        used = USED if self.references else 0
        return certain(self.flags | used, self.tail | (used if self.flags & pg.HEAD else 0))


def dirty_data(_page: Page, dirty: bool) -> bool:
    """There is another copy on the disk of what is not dirty."""
    return dirty


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One kind.

    ``draw`` makes a page that nobody has looked at what it is now; ``draw_each`` does so with the pages at
    some positions of an array, each in a machine of its own in which nothing has happened since the boot;
    ``law`` has the chances of that for a class of pages.  ``kernel_access``: (reads, overwrites unread) of
    one line per ns by the kernel, through no page table; None of a page: nobody uses it.  ``data_lost`` is of
    a page that was poisoned and contained, ``write_lost`` whether a dirty page that the kernel drops leaves a
    lost write behind of which somebody may hear.
    """

    law: Callable[[PageClass], Law]
    draw: Callable[[Kernel, Page, Chance], None]
    kernel_access: Callable[[Page], tuple[float, float] | None] | None = None  # None: it never does
    by_first_touch: bool = False  # free frames of a region are taken one by one, by who touches the page
    data_lost: Callable[[Page, bool], bool] = dirty_data
    write_lost: Callable[[Page], bool] | None = None  # None: never
    draw_each: Callable[[PageArray, Positions], None] | None = None  # None: such machines are played
