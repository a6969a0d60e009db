"""``explain``: what memory_failure() does to one page, told step by step.

It runs the model's own memory_failure() on the page (``one_page``), so of that it cannot say anything else
than a simulation would do.
"""

from __future__ import annotations

from collections.abc import Iterable

from hwsim.explaining.one_page import DEFAULT, Explanation, OnePage, handled
from hwsim.explaining.question import (
    flag_names,
    impossible,
    mapping_of,
    not_a_count,
    not_known,
    refuse,
    switch_value,
)
from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import Config
from hwsim.spec import MachineSpec


def explain(
    flags: str | Iterable[str] = "",
    *,
    kernel: str = "v5",
    mapped: int = 0,
    early_kill: int | None = None,
    mapping: str | None = None,
    pte_dirty: bool = False,
    buffers: str = "none",
    pins: int = 0,
    unmap_fails: int = 0,
    unevictable_lru: bool = True,
    mlocked_page_bit: bool = True,
    pageflags_extended: bool = True,
    switches: Iterable[str] = (),
) -> Explanation:
    """What memory_failure() does to a page with these flags, mapped by ``mapped`` processes.

    ``mapping`` says what the page belongs to (anon, file, tmpfs, ramfs, blockdev, none); by default
    it follows from the flags: swap-backed is anonymous, otherwise a page on the LRU is a file's.
    ``early_kill`` None takes the kernel's default; ``switches`` sets some of the kernel's switches
    otherwise, as "blockdev_test=count_gt_2" (see ``hwsim explain --switches``).  The page is in use: a
    free one has no references and leaves memory_failure() before the table; an anonymous one that nobody
    maps is held by a pin.  It is neither locked nor under writeback, as both are waited for; with ``private``
    it has buffers, idle unless ``buffers`` says otherwise.  :class:`ExplainError` lists every mistake with
    what is allowed, and why a page in that state cannot exist.
    """
    names, values = flag_names(flags), [switch_value(each) for each in switches]
    refuse(
        [
            *not_known(names, kernel, mapping, buffers, early_kill),
            *(each for each in values if isinstance(each, str)),
            *not_a_count(mapped=mapped, pins=pins, unmap_fails=unmap_fails),
        ]
    )
    if pg.PRIVATE & pg.flags_of(names) and buffers == "none":
        buffers = "idle"
    refuse(impossible(kernel, pg.flags_of(names), mapping, buffers))
    spec = MachineSpec(
        memory_pages=1,
        kernel=kernel,
        early_kill=early_kill,
        unevictable_lru=unevictable_lru,
        mlocked_page_bit=mlocked_page_bit,
        pageflags_extended=pageflags_extended,
        switches=tuple(each for each in values if not isinstance(each, str)),
    )
    bits = Config(unevictable_lru, mlocked_page_bit, pageflags_extended).real_flags(pg.flags_of(names))
    owner = mapping_of(bits) if mapping is None else mapping
    page = OnePage(
        bits,
        "ext4" if owner == "file" else owner,
        (DEFAULT,) * mapped,
        pte_dirty,
        buffers,
        pins,
        unmap_fails,
    )
    return handled(spec, page, names)
