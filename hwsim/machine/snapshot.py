"""A machine at a moment: what memory is used for, and where it is bad."""

from __future__ import annotations

from typing import NamedTuple

from hwsim.kernel.page_flags import HWPOISON
from hwsim.machine.machine import Machine
from hwsim.memory.kinds import FREE
from hwsim.memory.layout import MemoryLayout
from hwsim.spec import Spec


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
    """One machine at ``time_ns``: all runs in physical order, all marks by frame."""

    name: str
    time_ns: int
    pages: int
    runs: tuple[Run, ...]
    marks: tuple[Mark, ...]


def snapshot(spec: Spec, index: int, at_ns: int | None = None) -> Snapshot:
    """Replication ``index`` at ``at_ns`` (default: the end of the run).  Pure, as run_replication is."""
    machine = Machine(spec, index, MemoryLayout(spec))
    time = spec.horizon_ns if at_ns is None else min(at_ns, spec.horizon_ns)
    machine.engine.run(time)
    machine.engine.catch_up()
    mem_map = machine.kernel.mem_map
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
    return Snapshot(spec.name, time, pages, tuple(runs), tuple(sorted(set(marks))))
