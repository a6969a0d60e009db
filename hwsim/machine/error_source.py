"""Where errors come from: the arrivals of one ``[[errors]]`` table."""

from __future__ import annotations

from hwsim.bad_lines.bad_lines import BadLines
from hwsim.bad_lines.dram_faults import DramFaults
from hwsim.engine import FAULT_ONSET, Sleeper, Steps
from hwsim.machine.arrivals import onsets
from hwsim.memory.layout import MemoryLayout
from hwsim.rng import Slot
from hwsim.spec import ErrorSpec
from hwsim.units import LINES_PER_PAGE


class ErrorSource(Sleeper):
    """Lets lines go bad, or a DRAM fault appear, as its table says.

    Life: asleep until the first arrival -> awake: an error, a burst of them or a fault -> asleep until the
    next arrival, the only one that waits in the heap; after the last one for good.
    """

    def __init__(
        self, bad_lines: BadLines, dram: DramFaults, layout: MemoryLayout, number: int, spec: ErrorSpec
    ) -> None:
        around = bad_lines.around
        super().__init__(around.engine)
        self._bad_lines = bad_lines
        self._dram = dram
        self._layout = layout
        self._number = number
        self._priority = FAULT_ONSET | number
        self._spec = spec
        self._onsets = onsets(around.draws, number, spec, around.horizon_ns)
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
        spec, bad_lines, around = self._spec, self._bad_lines, self._bad_lines.around
        if spec.dram is not None:
            self._dram.onset(self._number, spec.dram)
            return
        u = around.draws.row(bad_lines.error_count)
        first = self._layout.place(spec.where, u[Slot.PLACE])
        fitted = around.spec.memory_pages + around.spec.hidden_pages
        for offset in range(min(spec.burst_pages, fitted - first)):
            if offset:
                u = around.draws.row(bad_lines.error_count)
            line = int(u[Slot.LINE] * LINES_PER_PAGE)
            bad_lines.add(self._number, first + offset, line, u[Slot.PERMANENT] < spec.permanent, u)
