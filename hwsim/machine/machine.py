"""One machine: its parts made and wired, and what ends or renews its kernel."""

from __future__ import annotations

from hwsim.bad_lines.bad_lines import BadLines
from hwsim.bad_lines.discovery import scrub_visit
from hwsim.bad_lines.dram_faults import DramFaults
from hwsim.bad_lines.watch import ErrorWatch
from hwsim.engine import MACHINE_CHECK, Engine
from hwsim.hardware.machine_check_interrupt import MachineCheckInterrupt
from hwsim.hardware.patrol_scrubber import PatrolScrubber
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mce.delivery import Delivery
from hwsim.kernel.meminfo import meminfo_proc_show
from hwsim.kernel.printk import Printk
from hwsim.lost_writes.lost_writes import LostWrites
from hwsim.machine.boot import boot_kernel
from hwsim.machine.error_source import ErrorSource
from hwsim.machine.sums import replication_row
from hwsim.memory.cells import Cells
from hwsim.memory.draw_state import first_look
from hwsim.memory.find_cells import find_cells
from hwsim.memory.layout import MemoryLayout
from hwsim.record import Replication
from hwsim.rng import Draws, NoChance, Slot
from hwsim.script.script import Script
from hwsim.script.step import Power
from hwsim.spec import Spec
from hwsim.userspace.process_table import ProcessTable

SCRUBBER = -1  # the name of its draw, which belongs to no error


class Machine(Power):
    """A machine from power-on to the horizon.

    Life: :meth:`__init__` makes what outlives a kernel, and boots -> :meth:`run` -> :meth:`result`.  A panic
    halts the kernel; after ``reboot_ns`` another one comes up over the same parts, or the run ends there.
    """

    def __init__(self, spec: Spec, index: int, layout: MemoryLayout, trace: bool = False) -> None:
        self.spec = spec
        self.index = index
        self.layout = layout
        self.engine = engine = Engine()
        self.draws = draws = (Draws if spec.machine.chance else NoChance)(spec.seed, index)
        self.printk = Printk(trace)
        self.events: list[tuple[int, str, dict[str, object]]] | None = [] if trace else None
        self.reached: dict[str, int] = {}
        self.panics = 0
        self.downtime_ns = 0
        self.ended_ns: int | None = None
        self.bad_pages = 0
        self.poisoned_pages = 0
        frames = spec.machine.memory_pages + spec.machine.hidden_pages
        phase = draws.extra(SCRUBBER, Slot.PHASE)
        scrubber = PatrolScrubber(engine, spec.machine.scrub, frames, phase, scrub_visit)
        self.bad_lines = BadLines(index, spec, engine, draws, scrubber)
        self.dram = DramFaults(self.bad_lines, layout, self.cells)
        self.processes = ProcessTable(draws, spec.tasks, layout.users, spec.script)
        self.lost_writes = LostWrites(self.bad_lines, self.processes, spec.files)
        self._watch = ErrorWatch(self.bad_lines)
        self.kernel: Kernel
        self.delivery: Delivery
        self._boot()
        for number, each in enumerate(spec.errors):
            ErrorSource(self.bad_lines, self.dram, layout, number, each)
        self.script = Script(spec.script, self.bad_lines, self.processes, self)

    def cells(self) -> Cells:
        """The cells of the layout, found in a machine like this one that has just booted."""
        if self.layout.cells is None:
            self.layout.cells = find_cells(Machine(self.spec, self.index, self.layout).kernel)
        return self.layout.cells

    # -- boot, panic, reboot ------------------------------------------------------------------------

    def _boot(self) -> None:
        spec = self.spec.machine
        kernel = boot_kernel(self.engine, self.draws, spec, self.layout, self.printk, self.reached)
        interrupt = MachineCheckInterrupt(self.engine, kernel.profile.rendezvous_timeout_ns, spec.tolerant)
        self.kernel, self.delivery = kernel, Delivery(kernel, interrupt, self.dram.bank_is_taken)
        kernel.trace = self.events
        kernel.watcher = self._watch
        kernel.files = self.lost_writes
        kernel.handler_watchers = (self._watch,)
        kernel.look = first_look
        kernel.panic = self.panic
        self.bad_lines.booted(kernel, self.delivery)
        self.processes.boot(kernel)

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
        line = None if failure is None else self.bad_lines.all.get(failure.error)
        kernel.event("panic", reason=reason, error=None if line is None else line.error)
        kernel.reach(f"panic:{kind or reason}")
        kernel.halted = True
        self.panics += 1
        self.bad_lines.halted(line)
        if self.spec.machine.reboot_ns is None:
            self.ended_ns = self.engine.now_ns
            self.engine.stop()
        else:
            self._reboot_after(self.spec.machine.reboot_ns)

    def restart(self) -> None:
        """An orderly reboot."""
        self.kernel.halted = True
        self.bad_lines.halted()
        self._reboot_after(self.spec.machine.reboot_ns or 0)

    def _reboot_after(self, down_ns: int) -> None:
        now = self.engine.now_ns
        self.downtime_ns += min(down_ns, self.spec.horizon_ns - now)
        self.engine.at(now + down_ns, MACHINE_CHECK, self._reboot)

    def _reboot(self, _event: object) -> None:
        """Another kernel; the one that has ended is taken apart, as nobody collects circles meanwhile."""
        self._count_kernel()
        self.lost_writes.rebooted()
        self.dram.rebooted()
        self.bad_lines.leave_boot()
        self.processes.tear_down()
        self.delivery.tear_down()
        self.kernel.mem_map.tear_down()
        self._boot()
        self.kernel.event("reboot")
        self.bad_lines.go_on()

    def _count_kernel(self) -> None:
        self.bad_pages += self.kernel.mce_bad_pages
        self.poisoned_pages += self.kernel.poisoned_pages

    # -- the run ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Everything up to the horizon, which is not part of the run."""
        self.engine.run(self.spec.horizon_ns)

    def result(self) -> Replication:
        """Close all lines and write the records."""
        end = self.spec.horizon_ns if self.ended_ns is None else self.ended_ns
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
            "restarts": self.processes.restarts,
        }
        row = replication_row(self.index, end, counts, errors, signals, lost, faults)
        profile, level = self.kernel.profile, self.spec.machine.printk_level
        log = [line for line in self.printk.render(profile.formats) if line[1] <= level]
        return Replication(
            row,
            errors,
            signals,
            lost,
            dict(sorted(self.reached.items())),
            log,
            self.events or [],
            meminfo_proc_show(profile.meminfo, self.kernel.mce_bad_pages),
            faults,
        )
