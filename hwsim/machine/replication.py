"""One replication: a machine over its whole horizon, as records; and the rehearsal of a script."""

from __future__ import annotations

from hwsim.machine.harmless import harmless
from hwsim.machine.machine import Machine
from hwsim.machine.quiet import uneventful
from hwsim.memory.layout import MemoryLayout
from hwsim.record import Replication, StepMistake
from hwsim.spec import Spec


def run_replication(
    spec: Spec, index: int, base: MemoryLayout | None = None, trace: bool = False
) -> Replication:
    """One machine over the whole horizon: pure in (spec, index).

    ``base`` is the :class:`~hwsim.memory.layout.MemoryLayout` of the same spec, shared between replications;
    it is a cache and cannot change the result.  ``trace`` keeps the kernel log and the event log.
    """
    quiet = uneventful(spec, index)
    if quiet is not None:
        return quiet
    layout = base if base is not None else MemoryLayout(spec)
    right = None if trace else harmless(spec, index, layout)
    if right is not None:
        return right
    machine = Machine(spec, index, layout, trace)
    machine.run()
    return machine.result()


def rehearse(spec: Spec) -> list[StepMistake]:
    """What is impossible in the script of a machine without chance, in order of time.

    A step that cannot be done is left out, and the others go on.
    """
    machine = Machine(spec, 0, MemoryLayout(spec))
    mistakes: list[StepMistake] = []
    machine.script.mistakes = mistakes
    machine.run()
    return mistakes
