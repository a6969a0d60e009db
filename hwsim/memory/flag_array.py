"""The page flags of a whole machine as one array: what every frame is at a moment, as the draws have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from hwsim.kernel import page_flags as pg
from hwsim.kernel.gather import Flags
from hwsim.kernel.kernel import Kernel
from hwsim.memory.behaviours import BEHAVIOURS
from hwsim.memory.inode_clock import of_machine
from hwsim.memory.page_class import ClockOf, PageClass, classes_of
from hwsim.memory.page_law import Law, Part, certain, state_of, summed
from hwsim.rng import Draws, Slot

_PAGES = -6_000_000_000  # and below, one for each region: names of draws
_CHUNK = 1 << 16  # allocations drawn at a time: what is made of them stays in the cache
_MOST = float(2**32 - 1)


class Piece(NamedTuple):
    """A class of pages with its law."""

    pages: PageClass
    law: Law


def pieces(kernel: Kernel, now_ns: int, clock_of: ClockOf) -> Iterator[Piece]:
    """All memory, in the order in which it is to be laid out."""
    real = kernel.config.real_flags
    for pages in classes_of(kernel, now_ns, clock_of):
        law = BEHAVIOURS[pages.region.kind].law(pages) if pages.region.alive else certain(pg.BUDDY, pg.BUDDY)
        yield Piece(pages, summed(Part(each.chance, real(each.first), real(each.others)) for each in law))


def flag_array(kernel: Kernel, now_ns: int, draws: Draws) -> Flags:
    """The state of every page (see :mod:`~hwsim.memory.page_law`): uint32, shape (memory_pages,), read-only.

    Pages that somebody has looked at are as the overlay has them; all others are drawn by their law, and not
    by the draws that would tell what a bad line finds there.  Four bytes a page, filled a chunk at a time.
    """
    flags = np.empty(kernel.mem_map.memory_pages, np.uint32)

    for piece in pieces(kernel, now_ns, of_machine):
        pages, layout = piece.pages, piece.pages.region.layout
        first_pfn = layout.first_pfn + pages.first
        _fill(flags[first_pfn : first_pfn + pages.pages], pages.step, piece.law, _raw(draws, pages))
    for region in kernel.mem_map.regions:
        for cut in region.mapping.gone if region.mapping is not None else ():
            flags[region.layout.first_pfn + cut.start : region.layout.first_pfn + cut.stop] = pg.BUDDY
    for pfn, page in kernel.mem_map.overlay.items():
        flags[pfn] = state_of(page)
    flags.flags.writeable = False
    return flags


def _raw(draws: Draws, pages: PageClass) -> np.random.BitGenerator:
    return draws.generator(_PAGES - pages.region.number, Slot.PRESENT, pages.first).bit_generator


def _fill(flags: Flags, step: int, law: Iterable[Part], raw: np.random.BitGenerator) -> None:
    """Draw each allocation of ``step`` pages by the law of one machine."""
    parts = sorted(law, key=lambda part: -float(part.chance[0]))
    ends = np.cumsum([float(part.chance[0]) for part in parts])[:-1]
    if step > 1 and len(flags) % step:
        whole = len(flags) // step * step
        _fill(flags[whole:], len(flags) - whole, law, raw)
        flags = flags[:whole]
    rows = flags.reshape(-1, step)
    rows[:, 1:] = parts[0].others
    rows[:, 0] = parts[0].first
    if len(parts) == 1:
        return
    limits = np.minimum(ends * (_MOST + 1.0), _MOST).astype(np.uint32)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        u = raw.random_raw((len(chunk) + 1) // 2).view(np.uint32)[: len(chunk)]
        for limit, part in zip(limits, parts[1:], strict=True):
            beyond = u >= limit
            np.copyto(chunk[:, 0], np.uint32(part.first), where=beyond)
            if step > 1:
                chunk[beyond, 1:] = part.others
