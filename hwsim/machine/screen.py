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
from hwsim.kernel.page_flags import BUDDY
from hwsim.machine.boot import inode_at_boot
from hwsim.machine.fates import HANDLED, NOTHING, PANIC, Fates, fates
from hwsim.machine.first_errors import FirstErrors, single_errors
from hwsim.machine.machine import Machine
from hwsim.many_draws import ManyDraws
from hwsim.memory.course import REACHED, Case, Course
from hwsim.memory.draw_each import first_looks
from hwsim.memory.find_cells import find_cells
from hwsim.memory.layout import MemoryLayout
from hwsim.memory.page_array import PageArray
from hwsim.record import ErrorRow, Replication
from hwsim.spec import Spec

_TIMES = tuple(name for name in ErrorRow._fields if name.endswith("_ns") and name != "onset_ns")


class _Settled(NamedTuple):
    """One machine that need not be played: where its error is, its case, and its times in ns by name."""

    index: int
    source: int
    onset_ns: int
    pfn: int
    line: int
    region: str
    sweeps: int
    case: Case
    instants: dict[str, int]


def screened(spec: Spec, indices: Sequence[int], layout: MemoryLayout) -> dict[int, Replication]:
    """The results of those of these machines that need not be played, by number."""
    if not _applies(spec):
        return {}
    kernel = Machine(spec, indices[0], layout).kernel
    if layout.cells is None:
        layout.cells = find_cells(kernel)
    draws = ManyDraws(spec.seed, indices)
    errors = single_errors(spec, layout, draws, len(indices))
    pages = PageArray(
        layout.cells, draws, errors.machine, errors.pfn, errors.line, errors.onset_ns, errors.permanent
    )
    pages.unsure |= pages.pfn >= spec.machine.memory_pages  # the kernel does not see them
    first_looks(pages, kernel, lambda draws, region: inode_at_boot(draws, spec, region))
    found = fates(spec, kernel, pages)
    results = {}
    for each in _settled(spec, indices, errors, pages, found):
        result = _told(spec, layout, each)
        if result is not None:
            results[each.index] = result
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
    spec: Spec, indices: Sequence[int], errors: FirstErrors, pages: PageArray, found: Fates
) -> Iterator[_Settled]:
    cells, checks, horizon_ns = pages.cells, found.checks, spec.horizon_ns
    region = cells.region[pages.cell]
    handled, panics = found.comes == HANDLED, found.comes == PANIC
    columns = (
        found.first,
        cells.families[region],
        np.where(handled, pages.flags, pages.flags & BUDDY),
        np.where(handled, pages.references, 0),
        pages.permanent,
        handled & checks.from_user,
        handled & checks.waits,
        found.touched,
        panics & (checks.rebooted_ns < horizon_ns),
    )
    at = np.flatnonzero(found.settled)
    cases = zip(*(column[at].tolist() for column in columns), strict=True)
    then = [found.then[each] for each in at.tolist()]
    places = (errors.machine, errors.source, pages.onset_ns, pages.pfn, pages.line, region, found.sweeps)
    times = (
        found.comes,
        found.first_ns,
        checks.checked_ns,
        checks.started_ns,
        checks.done_ns,
        checks.rebooted_ns,
    )
    for place, case, time, next_ in zip(
        zip(*(column[at].tolist() for column in places), strict=True),
        cases,
        zip(*(column[at].tolist() for column in times), strict=True),
        then,
        strict=True,
    ):
        machine, source, onset_ns, pfn, line, number, sweeps = place
        first, *facts = case
        yield _Settled(
            indices[machine],
            source,
            onset_ns,
            pfn,
            line,
            cells.names[number],
            sweeps,
            Case(found.names[first], next_, *facts),
            _instants(horizon_ns, *time),
        )


def _instants(
    horizon_ns: int,
    comes: int,
    first_ns: int,
    checked_ns: int,
    started_ns: int,
    done_ns: int,
    rebooted_ns: int,
) -> dict[str, int]:
    """The times at which something happens in the machine, by name."""
    instants = {"horizon": horizon_ns}
    if comes != NOTHING:
        instants["first"] = first_ns
    if comes in (PANIC, HANDLED):
        instants["checked"] = checked_ns
    if comes == HANDLED:
        instants["started"], instants["done"] = started_ns, done_ns
    if comes == PANIC and rebooted_ns < horizon_ns:
        instants["rebooted"] = rebooted_ns
    return instants


# -- one is played, the others are told like it --------------------------------------------------------------


def _told(spec: Spec, layout: MemoryLayout, settled: _Settled) -> Replication | None:
    """The result of the machine; None if it has to be played."""
    courses = layout.courses
    if settled.case in courses:
        course = courses[settled.case]
        return None if course is None else _like(spec, course, settled)
    machine = Machine(spec, settled.index, layout)
    machine.run()
    played = machine.result()
    if len(set(settled.instants.values())) == len(settled.instants):  # each time is one of them
        courses[settled.case] = _course(spec, played, settled)
    return played


def _course(spec: Spec, played: Replication, settled: _Settled) -> Course | None:
    """What the machine tells of its case; None if it is not what was expected."""
    names = {time_ns: name for name, time_ns in settled.instants.items()}
    if len(played.errors) != 1 or played.signals or played.lost_writes:
        return None
    row = played.errors[0]
    if settled.case.then == REACHED and row.contained_ns is None:
        return None
    times = {column: getattr(row, column) for column in _TIMES}
    if any(time_ns is not None and time_ns not in names for time_ns in times.values()):
        return None
    instants = {column: names[time_ns] for column, time_ns in times.items() if time_ns is not None}
    course = Course(played, instants)
    return course if _like(spec, course, settled) == played else None


def _like(spec: Spec, course: Course, settled: _Settled) -> Replication:
    """The result of a machine that goes the way of the one that was played."""
    instants, played, horizon_ns = settled.instants, course.played, spec.horizon_ns
    was = played.errors[0]
    error = was._replace(
        replication=settled.index,
        source=settled.source,
        onset_ns=settled.onset_ns,
        pfn=settled.pfn,
        line=settled.line,
        region=settled.region,
        panic_region=settled.region if was.panic_region else "",
        repeats=settled.sweeps,
        logged_only=settled.sweeps + 1 if was.logged_only else 0,
        **{column: instants[name] for column, name in course.instants.items()},
    )
    end_ns, down_ns = horizon_ns, 0
    if played.row.panics:
        up_ns = instants.get("rebooted", horizon_ns)
        if spec.machine.reboot_ns is None:
            end_ns = instants["checked"]
        else:
            down_ns = up_ns - instants["checked"]
    row = played.row._replace(
        replication=settled.index, end_ns=end_ns, downtime_ns=down_ns, repeats=settled.sweeps
    )
    return played._replace(row=row, errors=[error])
