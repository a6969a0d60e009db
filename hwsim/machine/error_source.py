"""Where errors come from: the arrivals of one ``[[errors]]`` table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.engine import FAULT_ONSET, Sleeper, Steps
from hwsim.machine.arrivals import onsets
from hwsim.rng import Slot
from hwsim.spec import ErrorSpec

if TYPE_CHECKING:
    from hwsim.machine.machine import Machine


class ErrorSource(Sleeper):
    """Lets lines go bad, or a DRAM fault appear, as its table says.

    Life: asleep until the first arrival -> awake: an error, a burst of them or a fault -> asleep until the
    next arrival, the only one that waits in the heap; after the last one for good.
    """

    def __init__(self, machine: Machine, number: int, spec: ErrorSpec) -> None:
        super().__init__(machine.engine)
        self._machine = machine
        self._number = number
        self._priority = FAULT_ONSET | number
        self._spec = spec
        self._onsets = onsets(machine.draws, number, spec, machine.horizon_ns)
        first_ns = next(self._onsets, None)
        if first_ns is not None:
            self.wake_at(first_ns, self._priority)

    def life(self) -> Steps:
        """An arrival, and sleep until the next."""
        while True:
            self._arrive()
            time_ns = next(self._onsets, None)
            yield self.sleep() if time_ns is None else self.sleep_until(time_ns, self._priority)

    def _arrive(self) -> None:
        machine, spec = self._machine, self._spec
        if spec.dram is not None:
            machine.dram.onset(self._number, spec.dram)
            return
        u = machine.draws.row(machine.bad_lines.error_count)
        first = machine.plan.place(spec.where, u[Slot.PLACE])
        fitted = machine.spec.machine.memory_pages + machine.spec.machine.hidden_pages
        for offset in range(min(spec.burst_pages, fitted - first)):
            if offset:
                u = machine.draws.row(machine.bad_lines.error_count)
            line = int(u[Slot.LINE] * 64)
            machine.bad_lines.add(self._number, first + offset, line, u[Slot.PERMANENT] < spec.permanent, u)
