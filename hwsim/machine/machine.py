"""One machine, built from a spec on one SimPy environment; and ``run_replication``.

The machine owns what outlives a kernel: the engine, the scrubber, the errors and their stories.  A
reboot makes a new kernel and starts the tasks again.
"""

from __future__ import annotations

from typing import Any

from hwsim.bad_lines import discovery
from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.bad_lines import BadLines
from hwsim.bad_lines.dram_faults import DramFaults
from hwsim.bad_lines.surroundings import Surroundings
from hwsim.bad_lines.watch import ErrorWatch
from hwsim.engine import MACHINE_CHECK, Engine
from hwsim.hardware.machine_check_interrupt import MachineCheckInterrupt
from hwsim.hardware.patrol_scrubber import PatrolScrubber
from hwsim.kernel.delivery import Delivery
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.first_look import first_look
from hwsim.kernel.meminfo import meminfo_proc_show
from hwsim.kernel.printk import Printk
from hwsim.kernel.system import Kernel
from hwsim.lost_writes.fsync_calls import LostWrites
from hwsim.machine.boot import boot_kernel
from hwsim.machine.error_source import ErrorSource
from hwsim.machine.quiet import uneventful
from hwsim.machine.sums import replication_row
from hwsim.plan import Plan
from hwsim.record import Replication, StepMistake
from hwsim.rng import Draws, NoChance, Slot
from hwsim.script.script import Script
from hwsim.spec import Spec
from hwsim.userspace.process_table import ProcessTable


class Machine:
    """A machine from power-on to the horizon.

    Life: :meth:`__init__` lays out memory and boots -> :meth:`run` -> :meth:`result`.  A panic halts
    the kernel; after ``reboot_ns`` :meth:`_boot` makes a new one, or the run ends there.
    """

    def __init__(self, spec: Spec, index: int, plan: Plan, trace: bool = False) -> None:
        self.spec = spec
        self.index = index
        self.plan = plan
        self.horizon_ns = spec.horizon_ns
        self.engine = Engine()
        self.draws = (Draws if spec.machine.chance else NoChance)(spec.seed, index)
        self.printk = Printk(trace)
        self.events: list[tuple[int, str, dict[str, Any]]] | None = [] if trace else None
        self.reached: dict[str, int] = {}
        machine = spec.machine
        frames = machine.memory_pages + machine.hidden_pages
        phase = self.draws.extra(-1, Slot.PHASE)
        self.scrubber = PatrolScrubber(self.engine, machine.scrub, frames, phase, discovery.scrub_visit)
        self.around: Surroundings[BadLine] = Surroundings(
            index, machine, spec.horizon_ns, self.engine, self.draws, self.scrubber
        )
        self.bad_lines = BadLines(self.around)
        self.stories, self.by_pfn = self.bad_lines.all, self.bad_lines.by_pfn
        self.add_error, self.live_story = self.bad_lines.add, self.bad_lines.live
        self.given_out = self.bad_lines.given_out
        self.watch = ErrorWatch(self.bad_lines)
        self.lost_writes = LostWrites(self)
        self.panics = 0
        self.downtime_ns = 0
        self.ended_ns: int | None = None
        self.bad_pages = 0
        self.poisoned_pages = 0
        self.kernel: Kernel
        self.processes = ProcessTable(self.draws, spec.tasks, spec.script)
        self.dram = DramFaults(self)
        self._boot()
        self.sources = [ErrorSource(self, number, each) for number, each in enumerate(spec.errors)]
        self.script = Script(self, spec.script)

    # -- boot, panic, reboot ------------------------------------------------------------------------

    def _boot(self) -> None:
        self.kernel = boot_kernel(
            self.spec.machine, self.plan.layouts, self.engine, self.draws, self.printk, self.reached
        )
        self.kernel.trace = self.events
        timeout_ns = self.kernel.profile.rendezvous_timeout_ns
        interrupt = MachineCheckInterrupt(self.engine, timeout_ns, self.spec.machine.tolerant)
        self.delivery = Delivery(self.kernel, interrupt, self.dram.bank_is_taken)
        self.kernel.watcher = self.watch
        self.kernel.files = self.lost_writes
        self.kernel.handler_watchers = (self.watch,)
        self.kernel.look = first_look
        self.kernel.panic = self.panic
        self.bad_lines.booted(self.kernel, self.delivery)
        self.processes.boot(self.kernel)

    @property
    def boot(self) -> int:
        return self.around.boot

    def panic(self, reason: str, failure: MemoryFailure | None = None, kind: str = "") -> None:
        """mce_panic(): the machine stops; it reboots after ``reboot_ns`` or the run ends here.

        ``kind`` names the reason where its text has a page or a number in it.
        """
        kernel = self.kernel
        if kernel.halted:
            return
        if self.delivery.interrupt.cpu_missing:  # of this rendezvous, or of one long ago
            kernel.printk("cpu_missing")
        kernel.printk("panic", reason)
        is_of_a_line = failure is not None and failure.error in self.bad_lines.all
        kernel.event("panic", reason=reason, error=failure.error if failure and is_of_a_line else None)
        kernel.reach(f"panic:{kind or reason}")
        kernel.halted = True
        self.panics += 1
        if failure is not None:
            self.bad_lines.panicked(failure)
        self.bad_lines.halted()
        reboot = self.spec.machine.reboot_ns
        if reboot is None:
            self.ended_ns = self.engine.now_ns
            self.engine.stop()
            return
        self.downtime_ns += min(reboot, self.horizon_ns - self.engine.now_ns)
        self.engine.at(self.engine.now_ns + reboot, MACHINE_CHECK, self._reboot)

    def restart(self) -> None:
        """An orderly reboot."""
        self.kernel.halted = True
        self.bad_lines.halted()
        down = self.spec.machine.reboot_ns or 0
        self.downtime_ns += min(down, self.horizon_ns - self.engine.now_ns)
        self.engine.at(self.engine.now_ns + down, MACHINE_CHECK, self._reboot)

    def _reboot(self, _event: Any) -> None:
        self._count_kernel()
        self.lost_writes.rebooted()
        self.dram.rebooted()
        self.bad_lines.leave_boot()
        # What refers to itself in a circle would stay until the run is over: nobody collects it meanwhile.
        self.processes.tear_down()
        self.delivery.tear_down()
        self.kernel.mem_map.tear_down()
        self._boot()
        self.kernel.event("reboot")
        self.bad_lines.go_on()

    def _count_kernel(self) -> None:
        self.bad_pages += self.kernel.mce_bad_pages
        self.poisoned_pages += self.kernel.poisoned_pages

    # -- what scripts and tasks still ask the machine for ---------------------------------------------

    @property
    def error_count(self) -> int:
        return self.bad_lines.error_count

    @error_count.setter
    def error_count(self, count: int) -> None:
        self.bad_lines.error_count = count

    # -- the run ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Everything up to the horizon, which is not part of the run."""
        self.engine.run(self.horizon_ns)

    def result(self) -> Replication:
        """Close all lines and write the records."""
        end = self.horizon_ns if self.ended_ns is None else self.ended_ns
        self.bad_lines.close(end)
        self._count_kernel()
        lost = self.lost_writes.result(end)
        errors, signals = self.bad_lines.rows()
        faults = self.dram.rows(self.index, end)
        counts = {
            "panics": self.panics,
            "downtime_ns": self.downtime_ns,
            "bad_pages": self.bad_pages,
            "poisoned_pages": self.poisoned_pages,
            "events": self.engine.scheduled,
            "restarts": self.processes.restarts,
        }
        row = replication_row(self.index, end, counts, errors, signals, lost, faults)
        formats = self.kernel.profile.all_formats(self.kernel.switches)
        log = [line for line in self.printk.render(formats) if line[1] <= self.spec.machine.printk_level]
        return Replication(
            row,
            errors,
            signals,
            lost,
            dict(sorted(self.reached.items())),
            log,
            self.events or [],
            meminfo_proc_show(self.kernel.switches.meminfo_name, self.kernel.mce_bad_pages),
            faults,
        )


def run_replication(spec: Spec, index: int, base: Plan | None = None, trace: bool = False) -> Replication:
    """One machine over the whole horizon: pure in (spec, index).

    ``base`` is a :class:`~hwsim.plan.Plan` of the same spec, shared between replications; it is a
    cache and cannot change the result.  ``trace`` keeps the kernel log and the event log.
    """
    quiet = uneventful(spec, index)
    if quiet is not None:
        return quiet
    machine = Machine(spec, index, base if base is not None else Plan(spec), trace)
    machine.run()
    return machine.result()


def rehearse(spec: Spec) -> list[StepMistake]:
    """What is impossible in the script of a machine without chance, in order of time.

    A step that cannot be done is left out, and the others go on.
    """
    machine = Machine(spec, 0, Plan(spec))
    mistakes: list[StepMistake] = []
    machine.script.mistakes = mistakes
    machine.run()
    return mistakes


__all__ = ["Machine", "Plan", "rehearse", "run_replication"]
