"""What a page may be at a moment, and with what chance: the law behind the draws of ``kinds``.

A state is one number: the kernel's page flags, and above and between them what else memory_failure() asks of
a page.  The states of a law exclude each other, and their chances add up to one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from hwsim.elementary_each import Floats
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm_types import Page
from hwsim.memory.swap_cycle import CLEAN_MAPPED, CLEAN_UNMAPPED, DIRTY_MAPPED, DIRTY_UNMAPPED, PLAIN, shares
from hwsim.spec import SwapCycle

# Not flags in the kernel.  The first is in the low half, as it decides about the row: see pages_by_row().
PTE_DIRTY = 1 << 12  # not PG_dirty, but an entry that maps it is dirty
USED = 1 << 24  # page_count() is not 0
MAPPED = 1 << 25  # a page table maps it
BUFFERS_BUSY = 1 << 26  # its buffers cannot be released
IN_PAGEVEC = 1 << 27  # it waits in the pagevec of a CPU
NO_STRUCT_PAGE = 1 << 28  # the kernel does not know the frame
FLAGS = (1 << 24) - 1 & ~PTE_DIRTY

_ROUNDING = 1e-12  # a chance that small is what is left of differences


def state_of(page: Page) -> int:
    """The state of a page that somebody has looked at."""
    state = page.flags | (USED if page.count else 0)
    entries = (page.head or page).ptes.values()
    if entries:
        state |= MAPPED
    if not page.flags & pg.DIRTY and any(entry.dirty for entry in entries):
        state |= PTE_DIRTY
    if page.buffers_busy:
        state |= BUFFERS_BUSY
    return state | IN_PAGEVEC if page.pagevec_cpu >= 0 else state


class Asker(NamedTuple):
    """A task that maps a page, as far as memory_failure() asks it."""

    mce_kill: str
    caught: bool  # it has a handler for SIGBUS


class Part(NamedTuple):
    """One state with its chance, float64 of shape (1,) or one a clock of the file.

    ``first`` is the state of the first page of an allocation, ``others`` that of those behind it.
    """

    chance: Floats
    first: int
    others: int = 0


Law = list[Part]


def certain(first: int, others: int = 0) -> Law:
    """It cannot be anything else."""
    return [Part(np.ones(1), first, others)]


def divided(law: Law, chance: float | Floats, change: Callable[[int], int]) -> Law:
    """With this chance a page that is not free is changed besides."""
    parts = []
    for part in law:
        if part.first & pg.BUDDY:
            parts.append(part)
        else:
            parts.append(part._replace(chance=part.chance * (1.0 - chance)))
            parts.append(Part(part.chance * chance, change(part.first), part.others))
    return parts


def locked(state: int) -> int:
    """mlock_vma_page(): of mappings that are locked in memory one has it."""
    return state | pg.MLOCKED | pg.UNEVICTABLE if state & MAPPED else state


def waiting(state: int) -> int:
    """lru_cache_add(): it is not on the LRU yet."""
    return state & ~(pg.LRU | pg.UNEVICTABLE) | IN_PAGEVEC


def in_swap_cycle(law: Law, cycle: SwapCycle | None) -> Law:
    """Each page in use somewhere on its round through the swap cache."""
    if cycle is None:
        return law
    stages = list(enumerate(shares(cycle)))
    return [
        part if part.first & pg.BUDDY else Part(part.chance * share, _in_stage(part.first, stage))
        for part in law
        for stage, share in (stages if not part.first & pg.BUDDY else stages[:1])
    ]


def _in_stage(state: int, stage: int) -> int:
    """What :func:`~hwsim.memory.swap_cycle.enter` has made of a page by then."""
    anon, unmapped = state & pg.ANON, state & ~(MAPPED | PTE_DIRTY)
    if stage == PLAIN or (stage == DIRTY_MAPPED and not anon):
        return state
    return {
        DIRTY_MAPPED: state & ~PTE_DIRTY | pg.SWAPCACHE | pg.DIRTY,
        DIRTY_UNMAPPED: unmapped | pg.SWAPCACHE | pg.DIRTY,
        CLEAN_UNMAPPED: unmapped & ~pg.DIRTY | pg.SWAPCACHE,
        CLEAN_MAPPED: state & ~(PTE_DIRTY | pg.DIRTY) | (pg.SWAPCACHE if anon else pg.DIRTY),
    }[stage]


def summed(law: Iterable[Part]) -> Law:
    """Equal states once, impossible ones not at all."""
    found: dict[tuple[int, int], Floats] = {}
    for part in law:
        state = part.first, part.others
        found[state] = found[state] + part.chance if state in found else part.chance
    return [Part(chance, *state) for state, chance in found.items() if chance.max() > _ROUNDING]
