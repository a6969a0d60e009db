"""What memory_failure() of a kernel would do to pages of a census, by running it on one of each state."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hwsim.explaining.one_page import Explanation, OnePage, handled
from hwsim.kernel import page_flags as pg
from hwsim.kernel.signal import SIGKILL
from hwsim.kernel.versions.boot import booted, profile_of
from hwsim.memory.census import PageState
from hwsim.memory.page_law import BUFFERS_BUSY, FLAGS, IN_PAGEVEC, MAPPED, NO_STRUCT_PAGE, PTE_DIRTY, USED
from hwsim.spec import MachineSpec

# What a task that maps the page gets: SIGBUS now or later, SIGKILL now as the page stays mapped, or nothing.
NOW, LATER, KILLED, NOBODY = "now", "later", "killed", "nobody"


class Verdict(NamedTuple):
    """What becomes of a page with this ``chance``: by the tries to unmap it, and by the CPU that handles it.

    ``row`` of error_states that is asked, 0 if memory_failure() leaves before the table; ``exit`` how it
    left; ``sigbus_if_early`` and ``sigbus_if_late``: with vm.memory_failure_early_kill 1 and 0, whether
    tasks that map the page get SIGBUS "now", "later" at their next touch, or "nobody"; "killed": SIGKILL now,
    as the page could not be unmapped; ``next_touch``: what that touch comes to.
    """

    chance: float
    row: int
    message: str
    outcome: str
    exit: str
    sigbus_if_early: str
    sigbus_if_late: str
    next_touch: str


def verdicts(spec: MachineSpec, kernel: str, page: PageState) -> tuple[Verdict, ...]:
    """All that can become of a page in this state under ``kernel`` with the switches of ``spec``."""
    profile = booted(kernel, spec.switches)
    late, early = (replace(spec, kernel=kernel, early_kill=each) for each in (0, 1))
    fail = max(page.unmap_fail, profile.unmap_retry_chance) if page.state & MAPPED else 0.0
    all_fail = fail
    for _ in range(profile.n_unmap_tries - 1):
        all_fail *= fail
    own_cpu = 1.0 / spec.cpus if page.state & IN_PAGEVEC else 0.0
    found: dict[Verdict, float] = {}
    for fails, with_fails in ((0, 1.0 - all_fail), (profile.n_unmap_tries, all_fail)):
        for cpu, on_cpu in ((1, 1.0 - own_cpu), (0, own_cpu)):
            chance = with_fails * on_cpu
            if chance > 0.0:
                asked = _one_page(page)._replace(unmap_fails=fails, pagevec_cpu=cpu if own_cpu else -1)
                said = _verdict(handled(early, asked, ()), handled(late, asked, ()))
                found[said] = found.get(said, 0.0) + chance
    return tuple(each._replace(chance=chance) for each, chance in found.items())


def _one_page(page: PageState) -> OnePage:
    state = page.state
    flags = state & FLAGS
    buffers = "none" if not flags & pg.PRIVATE else "busy" if state & BUFFERS_BUSY else "idle"
    mapping = "anon" if flags & pg.ANON else page.filesystem or "none"
    return OnePage(
        flags & ~pg.PRIVATE,
        mapping,
        page.askers,
        pte_dirty=bool(state & PTE_DIRTY),
        buffers=buffers,
        used=bool(state & USED),
        valid=not state & NO_STRUCT_PAGE,
    )


def _verdict(early: Explanation, late: Explanation) -> Verdict:
    assert (early.row, early.outcome, early.exit) == (late.row, late.outcome, late.exit)
    touch = str(late.entries[0]["later"]) if late.entries else ""
    row = late.row if late.exit == "table" else 0
    return Verdict(0.0, row, late.message, late.outcome, late.exit, _told(early), _told(late), touch)


def _told(said: Explanation) -> str:
    now = {signal["signal"] for signal in said.signals if signal["when"] == "at once"}
    if now:
        return KILLED if SIGKILL in now else NOW
    return LATER if said.signals else NOBODY


def described(state: int) -> tuple[str, ...]:
    """A state in words: the page flags, and what else memory_failure() asks."""
    facts = {
        MAPPED: "mapped",
        PTE_DIRTY: "dirty entry",
        BUFFERS_BUSY: "busy buffers",
        IN_PAGEVEC: "in a pagevec",
        NO_STRUCT_PAGE: "no struct page",
    }
    used = () if state & (USED | pg.BUDDY | NO_STRUCT_PAGE) else ("count 0",)
    return (*pg.names_of(state & FLAGS), *(word for bit, word in facts.items() if state & bit), *used)


def messages(kernel: str) -> dict[int, str]:
    """The words of the rows of a kernel's table."""
    return {state.row: state.message for state in profile_of(kernel).error_states}
