"""How the race for the only error of many machines ends, and whether arithmetic can follow."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hwsim.elementary_each import expm1_of_each
from hwsim.hardware.patrol_scrubber import first_visits
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_alloc import allocations_per_ns
from hwsim.machine.checks import Checks, machine_checks
from hwsim.machine.machine import SCRUBBER
from hwsim.many_draws import Positions
from hwsim.memory.cells import Truths
from hwsim.memory.course import REACHED
from hwsim.memory.page_array import PageArray
from hwsim.memory.race_each import FAR, OTHERS, REACHES, READS, RENEWS, first_times
from hwsim.rng import Slot
from hwsim.spec import Spec

LATENT: Final = "latent"  # nothing happens before the horizon
SCRUB: Final = "scrub"

# What comes of it: nothing, the line is good again, the kernel goes down, memory_failure() is called, the
# kernel logs the find, or what only a machine that is played can tell.
NOTHING, HEALED, PANIC, HANDLED, LOGGED, PLAYED = range(6)
_OF_SCRUB: Final = {"SRAO": HANDLED, "UCNA": LOGGED, "fatal": PANIC}

Names = npt.NDArray[np.str_]


class Fates(NamedTuple):
    """One entry a page; times are int64 in ns, :data:`~hwsim.memory.race_each.FAR` is never.

    ``first`` is what happens to the line first, by name; ``comes`` is what comes of it; ``then`` of
    a page that is handled what comes next, as a :class:`~hwsim.memory.course.Case` tells it: what renews the
    frame, or all else that can reach it.  ``settled``: nothing but this happens.
    ``touched``: by a task between find and end; ``sweeps`` that find the line again before the horizon.
    """

    first: Names
    first_ns: Positions
    then: Names
    comes: Positions
    settled: Truths
    touched: Truths
    sweeps: Positions
    checks: Checks


def fates(spec: Spec, kernel: Kernel, pages: PageArray) -> Fates:
    """Of each page that has had its first look."""
    horizon_ns, everywhere = spec.horizon_ns, np.arange(len(pages.pfn))
    times = first_times(pages, allocations_per_ns(kernel))
    names = [LATENT, SCRUB, *times]
    when = np.stack([np.full(len(pages.pfn), horizon_ns), _visits(spec, pages), *times.values()])
    first = when.argmin(axis=0)
    first_ns = when[first, everywhere]
    is_tie = np.count_nonzero(when == first_ns, axis=0) > 1
    when[first, everywhere] = FAR
    then_ns = when.min(axis=0)
    comes = np.array([_comes(name, kernel.scrub_signals) for name in names])[first]
    checks = machine_checks(kernel, pages, first_ns)
    settled = ~pages.unsure & ~is_tie & (comes != PLAYED)
    renews = np.isin(first, [names.index(each) for each in RENEWS if each in names])
    settled &= ~(renews & pages.permanent)  # the next owner has the bad line
    settled &= (comes != PANIC) | _panic_is_all(spec, pages, checks, comes)
    in_time = ~checks.timed_out & (checks.done_ns < np.minimum(then_ns, horizon_ns))
    settled &= (comes != HANDLED) | (in_time & ~pages.mapped)
    settled &= (comes != LOGGED) | (then_ns >= horizon_ns)
    handled = settled & (comes == HANDLED)
    since_ns = np.where(handled, checks.started_ns, first_ns)
    found_again = settled & ((comes == HANDLED) | (comes == LOGGED))
    sweeps = np.where(found_again, _sweeps(spec, first_ns, since_ns), 0)
    touched = _touched(pages, handled, first_ns, checks.done_ns)
    then = _then(names, when, handled, horizon_ns)
    return Fates(np.array(names)[first], first_ns, then, comes, settled, touched, sweeps, checks)


def _comes(name: str, scrub_signals: str) -> int:
    if name == LATENT:
        return NOTHING
    if name == SCRUB:
        return _OF_SCRUB.get(scrub_signals, PLAYED)
    if name in READS:
        return PANIC
    return PLAYED if name in OTHERS else HEALED


def _then(names: list[str], when: npt.NDArray[np.int64], handled: Truths, horizon_ns: int) -> Names:
    """What next happens to the line after memory_failure(), if it still can."""
    nothing = np.full((1, len(handled)), horizon_ns)
    renews = [number for number, name in enumerate(names) if name in RENEWS]
    others = [number for number, name in enumerate(names) if name in REACHES]
    renewed = np.concatenate((nothing, when[renews])).argmin(axis=0)
    reached = (when[others] < horizon_ns).any(axis=0)
    words = np.array(["", *(names[each] for each in renews), REACHED])
    which = np.where(renewed > 0, renewed, np.where(reached, len(words) - 1, 0))
    then: Names = words[np.where(handled, which, 0)]
    return then


def _visits(spec: Spec, pages: PageArray) -> Positions:
    """When the scrubber comes past each line, if that is signalled."""
    machine = spec.machine
    if not machine.scrub.period_ns or machine.scrub.signals == "none":
        return np.full(len(pages.pfn), FAR)
    u = pages.draws.extra(SCRUBBER, Slot.PHASE, 0, pages.machine)
    fitted = machine.memory_pages + machine.hidden_pages
    return first_visits(machine.scrub, fitted, u, pages.pfn, pages.line, pages.onset_ns)


def _sweeps(spec: Spec, visit_ns: Positions, since_ns: Positions) -> Positions:
    """How often the scrubber comes past again, after ``since_ns`` and before the horizon."""
    period_ns = spec.machine.scrub.period_ns
    if not period_ns:
        return np.zeros(len(visit_ns), np.int64)
    return (spec.horizon_ns - 1 - visit_ns) // period_ns - (since_ns - visit_ns) // period_ns


def _panic_is_all(spec: Spec, pages: PageArray, checks: Checks, comes: Positions) -> Truths:
    """Whether the line is gone with the panic: repaired, healed by the reboot, or none comes any more."""
    comes_up = checks.rebooted_ns < spec.horizon_ns
    stays = pages.permanent & comes_up
    asked = np.flatnonzero(stays & (comes == PANIC))
    if spec.machine.repair_share < 1.0 and asked.size:
        # The number of the draw is that of races so far.
        stays[asked] = pages.extra(Slot.REPAIR, 1, asked) >= spec.machine.repair_share
    else:
        stays[:] = False
    return ~checks.timed_out & (checks.checked_ns < spec.horizon_ns) & ~stays


def _touched(pages: PageArray, handled: Truths, found_ns: Positions, done_ns: Positions) -> Truths:
    """Whether a page that no task maps is read or written by system call before it is taken out of use."""
    rate = pages.cells.system_calls[pages.cell]
    touched = np.zeros(len(pages.pfn), bool)
    at = np.flatnonzero(handled & (rate > 0.0))
    # The number of the draw is that of calls of memory_failure() so far.
    u = pages.extra(Slot.WINDOW, 1, at)
    touched[at] = u < -expm1_of_each(-rate[at] * (done_ns[at] - found_ns[at]))
    return touched
