"""Replications: machines over their whole horizon, as records; and the rehearsal of a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hwsim.machine.machine import Machine
from hwsim.machine.quiet import quiet, uneventful
from hwsim.machine.screen import screened
from hwsim.memory.layout import MemoryLayout
from hwsim.record import Replication, StepMistake
from hwsim.spec import Spec


def run_replication(
    spec: Spec, index: int, base: MemoryLayout | None = None, trace: bool = False, *, screen: bool = True
) -> Replication:
    """One machine over the whole horizon: pure in (spec, index).

    ``base`` is the :class:`~hwsim.memory.layout.MemoryLayout` of the same spec, shared between replications;
    it is a cache and cannot change the result.  ``trace`` keeps the kernel log and the event log.  Nor can
    ``screen``: without it, and traced, a machine is played even if nothing happens in it.
    """
    if screen and not trace:
        nothing = uneventful(spec, index)
        if nothing is not None:
            return nothing
    machine = Machine(spec, index, base if base is not None else MemoryLayout(spec), trace)
    machine.run()
    return machine.result()


def run_replications(
    spec: Spec, indices: Sequence[int], base: MemoryLayout | None = None, *, screen: bool = True
) -> Iterator[Replication]:
    """The machines ``indices``, in that order: each is what :func:`run_replication` makes of it.

    Only the ``settled`` of the results tells that those whose fate needs no machine were found together, in
    arrays; ``screen=False`` plays all of them.
    """
    layout = base if base is not None else MemoryLayout(spec)
    settled = _settled(spec, indices, layout) if screen else {}
    for index in indices:
        yield settled.get(index) or run_replication(spec, index, layout, screen=False)


def _settled(spec: Spec, indices: Sequence[int], layout: MemoryLayout) -> dict[int, Replication]:
    """The results of those that need not be played."""
    settled = quiet(spec, indices)
    return settled | screened(spec, [index for index in indices if index not in settled], layout)


def rehearse(spec: Spec) -> list[StepMistake]:
    """What is impossible in the script of a machine without chance, in order of time.

    A step that cannot be done is left out, and the others go on.
    """
    machine = Machine(spec, 0, MemoryLayout(spec))
    mistakes: list[StepMistake] = []
    machine.script.mistakes = mistakes
    machine.run()
    return mistakes
