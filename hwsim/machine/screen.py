"""Machines with one error whose course is settled by what its page is: they need not be played.

Nothing happens in a machine before its first error, and after it only what comes of that.  So if nobody is to
be told of it, what becomes of the machine follows from a few draws: the error is never found; a store heals
it; it is read, which ends in a panic and a reboot; the scrubber finds it where no task has it.  When all that
happens is arithmetic, here for many machines at once.  What happens is the kernel's to say: of all machines
of a :class:`~hwsim.memory.course.Case` one is played, and the others go the same way at times of their own.
A case whose times are not what arithmetic expects is always played.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hwsim.hardware.machine_check_interrupt import NEVER_PANIC
from hwsim.kernel.error_states import classify
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.page_flags import BUDDY, LRU
from hwsim.machine.boot import inode_at_boot
from hwsim.machine.fates import HANDLED, HEALED, LOGGED, NOTHING, PANIC, Fates, fates
from hwsim.machine.first_errors import FirstErrors, single_errors
from hwsim.machine.machine import Machine
from hwsim.many_draws import ManyDraws
from hwsim.memory.course import REACHED, Case, Course
from hwsim.memory.draw_each import first_looks
from hwsim.memory.layout import MemoryLayout
from hwsim.memory.page_array import PageArray
from hwsim.record import ErrorRow, Replication
from hwsim.spec import Spec

_TIMES = tuple(
    place for place, name in enumerate(ErrorRow._fields) if name.endswith("_ns") and name != "onset_ns"
)
_WORDS = {NOTHING: "never found", HEALED: "healed", PANIC: "panic", LOGGED: "found, and logged only"}


class _Settled(NamedTuple):
    """One machine that need not be played: where its error is, when what happens, and its case."""

    replication: int
    source: int
    onset_ns: int
    pfn: int
    line: int
    permanent: int
    region: str
    sweeps: int
    comes: int
    first_ns: int
    checked_ns: int
    started_ns: int
    done_ns: int
    rebooted_ns: int
    case: Case

    def instants(self, horizon_ns: int) -> dict[str, int]:
        """The times at which something happens in the machine, by name."""
        instants = {"horizon": horizon_ns}
        if self.comes != NOTHING:
            instants["first"] = self.first_ns
        if self.comes in (PANIC, HANDLED):
            instants["checked"] = self.checked_ns
        if self.comes == HANDLED:
            instants["started"], instants["done"] = self.started_ns, self.done_ns
        if self.case.reboots:
            instants["rebooted"] = self.rebooted_ns
        return instants


def screened(spec: Spec, indices: Sequence[int], layout: MemoryLayout) -> dict[int, Replication]:
    """The results of those of these machines that need not be played, by number."""
    if not indices or not _applies(spec):
        return {}
    machine = Machine(spec, indices[0], layout)
    kernel = machine.kernel
    draws = ManyDraws(spec.seed, indices)
    errors = single_errors(spec, layout, draws, len(indices))
    pages = PageArray(
        machine.cells(), draws, errors.machine, errors.pfn, errors.line, errors.onset_ns, errors.permanent
    )
    pages.unsure |= pages.pfn >= spec.machine.memory_pages  # the kernel does not see them
    first_looks(pages, kernel, lambda draws, region: inode_at_boot(draws, spec, region))
    found = fates(spec, kernel, pages)
    results = {}
    for each in _settled(spec, kernel, indices, errors, pages, found):
        result = _told(spec, layout, each)
        if result is not None:
            results[each.replication] = result
    return results


def _applies(spec: Spec) -> bool:
    """Whether chance brings single errors of one line, and a panic where bad data is used."""
    return (
        spec.machine.chance
        and not spec.script
        and spec.machine.tolerant < NEVER_PANIC
        and all(error.dram is None and error.burst_pages == 1 for error in spec.errors)
    )


def _settled(
    spec: Spec,
    kernel: Kernel,
    indices: Sequence[int],
    errors: FirstErrors,
    pages: PageArray,
    found: Fates,
) -> Iterator[_Settled]:
    cells, checks = pages.cells, found.checks
    region = cells.region[pages.cell]
    handled = found.comes == HANDLED
    places = (
        np.array(indices)[errors.machine],
        errors.source,
        pages.onset_ns,
        pages.pfn,
        pages.line,
        pages.permanent.astype(np.int64),
        np.array(cells.names)[region],
        found.sweeps,
        found.comes,
        found.first_ns,
        checks.checked_ns,
        checks.started_ns,
        checks.done_ns,
        checks.rebooted_ns,
    )
    cases = (  # in the order of Case
        found.first,
        found.then,
        cells.families[region],
        np.where(handled, pages.flags, pages.flags & BUDDY),
        np.where(handled, classify(kernel.error_states, pages.flags), 0),
        np.where(handled, pages.references, 0),
        handled & checks.from_user,
        handled & checks.waits,
        found.touched,
        (found.comes == PANIC) & (checks.rebooted_ns < spec.horizon_ns),
    )
    at = np.flatnonzero(found.settled)
    columns = [column[at].tolist() for column in (*places, *cases)]
    for values in zip(*columns, strict=True):
        yield _Settled._make((*values[: len(places)], Case._make(values[len(places) :])))


# -- one is played, the others are told like it --------------------------------------------------------------


def _told(spec: Spec, layout: MemoryLayout, settled: _Settled) -> Replication | None:
    """The result of the machine; None if it has to be played."""
    courses, instants = layout.courses, settled.instants(spec.horizon_ns)
    if len(set(instants.values())) < len(instants):  # what happens at once cannot be told apart
        return None
    if settled.case in courses:
        course = courses[settled.case]
        return None if course is None else _like(spec, course, settled)
    machine = Machine(spec, settled.replication, layout)
    machine.run()
    played = machine.result()
    courses[settled.case] = course = _course(spec, played, settled)
    return played if course is None else played._replace(settled=_word(settled))


def _course(spec: Spec, played: Replication, settled: _Settled) -> Course | None:
    """What the machine tells of its case; None if it is not what was expected."""
    names = {time_ns: name for name, time_ns in settled.instants(spec.horizon_ns).items()}
    if len(played.errors) != 1 or played.signals or played.lost_writes:
        return None
    row = played.errors[0]
    if settled.case.then == REACHED and row.contained_ns is None:
        return None
    if row.row not in (0, settled.case.row):  # the page was another by then
        return None
    if bool(row.panics) != (settled.comes == PANIC):  # memory_failure() panics, and what comes then is chance
        return None
    instants = []
    for place in _TIMES:
        time_ns = row[place]
        if time_ns is not None:
            if not isinstance(time_ns, int) or time_ns not in names:
                return None
            instants.append((place, names[time_ns]))
    course = Course(played, tuple(instants))
    return course if _like(spec, course, settled)._replace(settled=played.settled) == played else None


def _like(spec: Spec, course: Course, settled: _Settled) -> Replication:
    """The result of a machine that goes the way of the one that was played."""
    instants, played = settled.instants(spec.horizon_ns), course.played
    was = played.errors[0]
    error = list(
        was._replace(
            replication=settled.replication,
            source=settled.source,
            onset_ns=settled.onset_ns,
            pfn=settled.pfn,
            line=settled.line,
            permanent=settled.permanent,
            region=settled.region,
            panic_region=settled.region if was.panic_region else "",
            repeats=settled.sweeps,
            logged_only=settled.sweeps + 1 if was.logged_only else 0,
        )
    )
    for place, name in course.instants:
        error[place] = instants[name]
    end_ns, down_ns = spec.horizon_ns, 0
    if played.row.panics and spec.machine.reboot_ns is None:
        end_ns = settled.checked_ns
    elif played.row.panics:
        down_ns = min(settled.rebooted_ns, spec.horizon_ns) - settled.checked_ns
    row = played.row._replace(
        replication=settled.replication, end_ns=end_ns, downtime_ns=down_ns, repeats=settled.sweeps
    )
    return played._replace(row=row, errors=[ErrorRow._make(error)], settled=_word(settled))


def _word(settled: _Settled) -> str:
    """How it was settled, for those who count."""
    if settled.comes != HANDLED:
        return _WORDS[settled.comes]
    if settled.case.flags & BUDDY:
        return "free page, found by the scrubber"
    return (
        "clean file page, found by the scrubber"
        if settled.case.flags & LRU
        else "kernel page, found by the scrubber"
    )
