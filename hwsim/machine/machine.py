"""One machine, built from a spec on one SimPy environment; and ``run_replication``.

The machine owns what outlives a kernel: the engine, the scrubber, the errors and their stories.  A
reboot makes a new kernel and starts the tasks again.
"""

from __future__ import annotations

from typing import Any

from hwsim.bad_lines import discovery, frame_reuse
from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.dram_faults import DramFaults
from hwsim.bad_lines.later_sweeps import count_repeats
from hwsim.bad_lines.rows import error_row, replication_row
from hwsim.bad_lines.states import OVER
from hwsim.engine import MACHINE_CHECK, Engine
from hwsim.hardware.machine_check_interrupt import NEVER_PANIC, PANIC, TIMED_OUT, MachineCheckInterrupt
from hwsim.hardware.patrol_scrubber import PatrolScrubber
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.first_look import first_look
from hwsim.kernel.meminfo import meminfo_proc_show
from hwsim.kernel.printk import Printk
from hwsim.kernel.profiles import PROFILES
from hwsim.kernel.ring import Cpu, mce_notify_irq
from hwsim.kernel.system import Kernel
from hwsim.lost_writes.fsync_calls import LostWrites
from hwsim.machine.boot import boot_kernel, start_groups, tear_down
from hwsim.machine.error_source import ErrorSource
from hwsim.machine.quiet import uneventful
from hwsim.machine.watch import ErrorWatch
from hwsim.plan import Plan
from hwsim.record import Replication, StepMistake
from hwsim.rng import Draws, NoChance, Slot
from hwsim.script.script import Script
from hwsim.spec import Spec
from hwsim.userspace.task_group import TaskGroup

_FIRST_PID = 100


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
        # How often one free page is handed out, per ns.
        self.allocation_rate = (
            machine.alloc_per_s * 1e-9 * (1 << machine.alloc_order) / max(1, plan.free_pages)
        )
        self.stories: dict[int, BadLine] = {}  # all of them by error, for the record
        self.open: dict[int, BadLine] = {}  # those that may go on, by error
        self.lost_writes = LostWrites(self)
        self.sync_ns = 0  # phase of the periodic sync()
        self.by_pfn: dict[int, BadLine] = {}
        self.watch = ErrorWatch(self.stories, self.by_pfn, self.lost_writes)
        self.cpus: dict[int, Cpu] = {}  # of this boot, made when first needed
        self.error_count = 0
        self.boot = -1  # number of the boot, from 0
        self.panics = 0
        self.restarts = 0
        self.downtime_ns = 0
        self.ended_ns: int | None = None
        self.bad_pages = 0
        self.poisoned_pages = 0
        self._waiting: list[BadLine] = []  # errors whose onset fell into a reboot
        self._pid = _FIRST_PID
        self.kernel: Kernel
        self.groups: list[TaskGroup] = []
        self._boot()
        self.dram = DramFaults(self)
        self.sources = [ErrorSource(self, number, each) for number, each in enumerate(spec.errors)]
        self.script = Script(self, spec.script)

    # -- boot, panic, reboot ------------------------------------------------------------------------

    def _boot(self) -> None:
        self.boot += 1
        self.check = MachineCheckInterrupt(
            self.engine,
            PROFILES[self.spec.machine.kernel].rendezvous_timeout_ns,
            self.spec.machine.tolerant,
        )
        self.kernel = boot_kernel(self)
        self.kernel.watcher = self.watch
        self.kernel.files = self.lost_writes
        self.kernel.handler_watchers = (self.watch,)
        self.kernel.look = first_look
        self.kernel.panic = self._memory_failure_panics
        self.cpus = {}
        self.groups = start_groups(self)

    def next_pid(self) -> int:
        """Process ids count up from 100 and are not used twice."""
        self._pid += 1
        return self._pid - 1

    def panic(self, reason: str, story: BadLine | None = None, kind: str = "") -> None:
        """mce_panic(): the machine stops; it reboots after ``reboot_ns`` or the run ends here.

        ``kind`` names the reason where its text has a page or a number in it.
        """
        kernel = self.kernel
        if kernel.halted:
            return
        if self.check.cpu_missing:  # of this rendezvous, or of one long ago
            kernel.printk("cpu_missing")
        kernel.printk("panic", reason)
        kernel.event("panic", reason=reason, error=story.error if story else None)
        kernel.reach(f"panic:{kind or reason}")
        kernel.halted = True
        self.panics += 1
        if story is not None:
            story.panicked()
        for each in self.open.values():
            each.disarm()
        reboot = self.spec.machine.reboot_ns
        if reboot is None:
            self.ended_ns = self.engine.now_ns
            self.engine.stop()
            return
        self.downtime_ns += min(reboot, self.horizon_ns - self.engine.now_ns)
        self.engine.at(self.engine.now_ns + reboot, MACHINE_CHECK, self._reboot)

    def _memory_failure_panics(self, reason: str, failure: MemoryFailure) -> None:
        self.panic(reason, self.stories.get(failure.error), "Memory failure")

    def restart(self) -> None:
        """An orderly reboot."""
        self.kernel.halted = True
        for each in self.open.values():
            each.disarm()
        down = self.spec.machine.reboot_ns or 0
        self.downtime_ns += min(down, self.horizon_ns - self.engine.now_ns)
        self.engine.at(self.engine.now_ns + down, MACHINE_CHECK, self._reboot)

    def _reboot(self, _event: Any) -> None:
        self._count_kernel()
        self.lost_writes.rebooted()
        self.dram.rebooted()
        for story in list(self.open.values()):
            count_repeats(story, self.engine.now_ns)
            story.leave_boot()
            if story.finished:
                self.story_over(story)
        tear_down(self)
        self._boot()
        self.kernel.event("reboot")
        seen: set[int] = set()
        while stories := [each for each in self.open.values() if each.error not in seen]:
            for story in stories:  # with a line that healed, another one of its page may come up
                seen.add(story.error)
                frame_reuse.rebooted(story)
        waiting, self._waiting = self._waiting, []
        for story in waiting:
            if story.finished:
                continue
            if frame_reuse.is_replaced(story):
                story.finish("replaced")
            else:
                story.begin()

    def _count_kernel(self) -> None:
        self.bad_pages += self.kernel.mce_bad_pages
        self.poisoned_pages += self.kernel.poisoned_pages

    # -- errors -------------------------------------------------------------------------------------

    def add_error(
        self,
        source: int,
        pfn: int,
        line: int,
        permanent: bool,
        u: list[float] | None = None,
        line_is_bad: bool = True,
    ) -> BadLine:
        """A line goes bad now.

        A page has one story at a time: a further bad line makes a read of the page's bad lines likelier
        and takes over if the first one heals; until then its end is ``duplicate``.
        """
        number = self.error_count
        self.error_count += 1
        story = BadLine(self, number, source, pfn, line, permanent, u or self.draws.row(number), line_is_bad)
        self.stories[number] = story
        other = self.by_pfn.get(pfn)
        if other is not None and other.state != OVER:
            story.end, story.end_ns, story.state = "duplicate", self.engine.now_ns, OVER
            story.kind, story.region = other.kind, other.region
            other.line_is_bad = other.line_is_bad or line_is_bad
            if line_is_bad and line not in {other.line, *(each.line for each in other.other_lines)}:
                other.other_lines.append(story)
                if other.latent:
                    other.draw_race()
            return story
        self.open[number] = self.by_pfn[pfn] = story
        if self.kernel.halted:
            self._waiting.append(story)
        else:
            story.begin()
        return story

    def machine_check(self, story: BadLine, further: bool = False) -> bool:
        """Raise an SRAO machine check for the line of ``story``; False if its bank was taken.

        ``further``: for another bad line of a page that is being reported; nothing is lost with it.
        """
        kernel = self.kernel
        report = story.new_report(further)
        kernel.event("machine_check", error=story.error, pfn=story.pfn)

        def done(outcome: str, overflowed: bool) -> None:
            if self._gave_up(kernel, story, outcome):
                return
            mce_notify_irq(kernel)
            if overflowed or self.dram.bank_is_taken(report):
                kernel.reach("bank:overflow")
                if not further:
                    discovery.lost(story)
                return
            self._queue(story, report, further)

        u = report.draw(Slot.RENDEZVOUS)
        return self.check.raise_srao(kernel.times.rendezvous, u, done, self._stall)

    def fatal_check(self, story: BadLine) -> None:
        """Raise a machine check of panic severity: the CPUs meet, and none of them goes on.

        mce_reign() panics for all of them; if they did not meet, do_machine_check() for its own.  With
        tolerant 3 the bad data is used and the story goes on.
        """
        kernel = self.kernel

        def done(outcome: str, _overflowed: bool) -> None:
            if self._gave_up(kernel, story, outcome):
                return
            if self.check.tolerant < NEVER_PANIC:
                met = outcome != TIMED_OUT
                self.panic("Fatal Machine check" if met else "Fatal machine check on current CPU", story)
                return
            mce_notify_irq(kernel)
            discovery.survived(story)

        u = story.new_report().draw(Slot.RENDEZVOUS)
        self.check.raise_fatal(kernel.times.rendezvous, u, done, self._stall)

    def _stall(self, until_ns: int) -> None:
        self.kernel.stalled_until_ns = until_ns

    def _gave_up(self, kernel: Kernel, story: BadLine, outcome: str) -> bool:
        """Whether the end of a rendezvous is the end of the kernel, or comes after it."""
        if kernel.halted:
            return True
        if outcome == PANIC:
            self.panic("Timeout synchronizing machine check over CPUs", story)
            return True
        if outcome == TIMED_OUT:
            kernel.reach("rendezvous:timeout")
        return False

    def _queue(self, story: BadLine, report: MemoryFailure, further: bool) -> None:
        """The end of do_machine_check(): into the CPU's ring, and somebody is asked to empty it."""
        kernel = self.kernel
        number = int(report.draw(Slot.CPU) * kernel.cpus)
        cpu = self.cpus.get(number)
        if cpu is None:
            cpu = self.cpus[number] = Cpu(kernel, number)
        if not cpu.mce_ring_add(report):
            kernel.reach("ring:overflow")
            if not further:
                discovery.lost(story)
            return
        self.watch.queued(report)
        if self.notified_user(report) and cpu.wakes_ns is None:
            cpu.kick(kernel.times.return_to_user.draw(report.draw(Slot.NOTIFY)))
        else:
            cpu.worker.schedule_work(report)

    def notified_user(self, report: MemoryFailure) -> bool:
        """Whether the check interrupts user space, so that the ring is drained on the way back."""
        return report.draw(Slot.CONTEXT) < self.spec.machine.user_share

    # -- stories ------------------------------------------------------------------------------------

    def story_over(self, story: BadLine) -> None:
        """Nothing of the error is under way any more: only its facts are kept."""
        story.u = []
        self.open.pop(story.error, None)
        if self.by_pfn.get(story.pfn) is story:
            del self.by_pfn[story.pfn]

    def live_story(self, pfn: int) -> BadLine | None:
        """The story of the frame, if it is not over."""
        story = self.by_pfn.get(pfn)
        return None if story is None or story.finished else story

    def given_out(self, first_pfn: int, pages: int) -> None:
        """A script's allocation has taken these frames."""
        overlay, taken = self.kernel.mem_map.overlay, range(first_pfn, first_pfn + pages)
        for pfn in sorted(pfn for pfn in overlay.keys() | self.by_pfn.keys() if pfn in taken):
            overlay.pop(pfn, None)
            story = self.live_story(pfn)
            if story is not None:
                frame_reuse.given_out(story)

    # -- the run ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Everything up to the horizon, which is not part of the run."""
        self.engine.run(self.horizon_ns)

    def result(self) -> Replication:
        """Close all stories and write the records."""
        end = self.horizon_ns if self.ended_ns is None else self.ended_ns
        for story in self.open.values():
            story.close(end)
        self._count_kernel()
        lost = self.lost_writes.result(end)
        for story in self.open.values():
            story.book_signals()
        errors = [error_row(story, self.index) for story in self.stories.values()]
        signals = [row for story in self.stories.values() for row in story.signal_rows]
        faults = self.dram.rows(self.index, end)
        row = replication_row(self, end, errors, signals, lost, faults)
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
