"""A machine at a moment: what memory is used for, and where it is bad."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hwsim.kernel.gather import Flags
from hwsim.kernel.page_flags import BUDDY, HWPOISON
from hwsim.machine.machine import Machine
from hwsim.memory.flag_array import flag_array
from hwsim.memory.kinds import FREE
from hwsim.memory.layout import MemoryLayout
from hwsim.spec import Spec

_CHUNK = 1 << 22  # frames


class Run(NamedTuple):
    """A run of frames with one use; ``kind`` free if its owner is dead."""

    first_pfn: int
    pages: int
    kind: str
    name: str


class Mark(NamedTuple):
    """A frame with a bad line or with PG_hwpoison.

    ``state``: latent (nobody knows), known (found, but the page is not poisoned), reachable (poisoned, and
    somebody can still read it), isolated (poisoned and out of everyone's reach).
    """

    pfn: int
    state: str


class Snapshot(NamedTuple):
    """One machine at ``time_ns``: all runs in physical order, all marks by frame.

    ``flags``: the state of every page as in ``memory/flag_array``, uint32.
    """

    name: str
    time_ns: int
    pages: int
    runs: tuple[Run, ...]
    marks: tuple[Mark, ...]
    flags: Flags

    def free_frames(self, run: Run) -> Iterator[npt.NDArray[np.intp]]:
        """The numbers of those frames of the run that nobody has, some at a time."""
        for start in range(run.first_pfn, run.first_pfn + run.pages, _CHUNK):
            stop = min(start + _CHUNK, run.first_pfn + run.pages)
            yield start + np.flatnonzero(self.flags[start:stop] & BUDDY)


def snapshot(spec: Spec, index: int, at_ns: int | None = None) -> Snapshot:
    """Replication ``index`` at ``at_ns`` (default: the end of the run).  Pure, as run_replication is."""
    machine = Machine(spec, index, MemoryLayout(spec))
    time = spec.horizon_ns if at_ns is None else min(at_ns, spec.horizon_ns)
    machine.engine.run(time)
    machine.engine.catch_up()
    return picture(machine, time)


def picture(machine: Machine, time_ns: int) -> Snapshot:
    """What a machine that has run up to ``time_ns`` is then."""
    spec, mem_map = machine.spec, machine.kernel.mem_map
    runs = sorted(
        Run(
            region.layout.first_pfn,
            region.layout.pages,
            region.kind if region.alive else FREE,
            region.name,
        )
        for region in mem_map.regions
        if region.layout.first_pfn >= 0 and region.layout.pages
    )
    marks = []
    for line in machine.bad_lines.open.values():
        if line.finished:
            continue
        page = mem_map.overlay.get(line.pfn)
        poisoned = page is not None and bool(page.flags & HWPOISON)
        if poisoned:
            state = "isolated" if line.in_boot.contained_ns is not None else "reachable"
        else:
            state = "latent" if line.record.found_ns is None else "known"
        marks.append(Mark(line.pfn, state))
    pages = spec.machine.memory_pages + spec.machine.hidden_pages
    flags = flag_array(machine.kernel, time_ns, machine.draws)
    return Snapshot(spec.name, time_ns, pages, tuple(runs), tuple(sorted(set(marks))), flags)
