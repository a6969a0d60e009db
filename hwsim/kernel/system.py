"""One booted kernel: its profile, sysctls, counters, tasks and memory map.

The functions of the other files take it as their first argument.  What is not the kernel's (what a task does
with a signal, what follows from a handled page) is told to those who have registered at its :mod:`ports`.
"""

from __future__ import annotations

from collections.abc import Callable

from hwsim.engine import HANDLER_STEP, Bell, Engine, Steps
from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import Config, ErrorState, row_bytes
from hwsim.kernel.failure import Chance, MemoryFailure
from hwsim.kernel.mem_map import MemMap
from hwsim.kernel.mm_types import AddressSpace, Page, Task
from hwsim.kernel.ports import FileWatcher, Halted, HandlerWatcher, PageWatcher
from hwsim.kernel.printk import Printk
from hwsim.kernel.profile import Profile
from hwsim.kernel.switches import MEMINFO_FORMATS, with_overrides
from hwsim.kernel.writeback import SET_INTERVAL, Flusher
from hwsim.rng import Slot
from hwsim.spec import MachineSpec

EINVAL = 22
MCE_KILL = ("late", "early", "default")  # PR_MCE_KILL_LATE 0, EARLY 1, DEFAULT 2
_CENTISEC_NS = 10_000_000


class Kernel:
    """A kernel from boot to halt.

    Life: made at boot with all tasks not yet started -> its ports are wired -> runs -> :attr:`halted` at a
    panic, after which everything that was under way in it stops.  ``mce_bad_pages`` counts as the
    profile counts; ``poisoned_pages`` is the true number of frames with PG_hwpoison.
    """

    # Wired by who boots: who looks at a frame first, who goes down with the kernel, who watches.
    look: Callable[[Kernel, int, Chance], Page]
    panic: Callable[[str, MemoryFailure | None, str], None]  # reason, because of what, and its kind
    watcher: PageWatcher
    files: FileWatcher

    def __init__(
        self,
        profile: Profile,
        spec: MachineSpec,
        engine: Engine,
        mem_map: MemMap,
        printk: Printk,
        reached: dict[str, int],
        flusher: Flusher | None = None,
    ) -> None:
        self.spec = spec
        self.engine = engine
        self.mem_map = mem_map
        self.swapper = AddressSpace("swapper", "swapper")  # its i_mmap tree is always empty
        self.flusher = flusher or Flusher(0, 0, 0)
        self.profile = profile
        self.config = Config(spec.unevictable_lru, spec.mlocked_page_bit, spec.pageflags_extended)
        self.error_states = self.config.build(self.profile.error_states)
        self._rows = row_bytes(self.error_states)
        self._states = {state.row: state for state in self.error_states}
        self.times = spec.times
        self.switches = with_overrides(self.profile.switches, spec.switches)
        self.early_kill = self.profile.early_kill_default if spec.early_kill is None else spec.early_kill
        self.recovery = 1 if spec.recovery is None else spec.recovery
        order, level = self.switches.result_order, self.switches.unmap_retry_level
        own = self.profile.switches
        self.result_format = "result" if order == own.result_order else f"result_{order}"
        self.retry_format = "retry" if level == own.unmap_retry_level else f"retry_{level}"
        self.cpus = spec.cpus
        self.mce_bad_pages = 0
        self.poisoned_pages = 0
        self.lost_blocks: set[tuple[int, int]] = set()  # (first pfn, order) that no allocation gets again
        self.halted = False
        self.stalled_until_ns = 0
        self.process_count = 0
        self.alloc_failures = 0
        self.atomic_alloc_fail = spec.atomic_alloc_fail
        self.log = printk
        self._reached = reached
        self.trace: list[tuple[int, str, dict[str, object]]] | None = None
        self.handler_watchers: tuple[HandlerWatcher, ...] = ()

    def error_state(self, flags: int) -> ErrorState:
        """The row of error_states that a page with these flags matches."""
        return self._states[self._rows[flags & pg.TABLE_MASK]]

    def printk(self, name: str, *args: int | str) -> None:
        """One line for the kernel log: a format id of the profile and its arguments."""
        if self.log.enabled:
            self.log.facts.append((self.engine.now_ns, name, args))

    def event(self, name: str, **facts: object) -> None:
        """One entry of the event log, if somebody wants it."""
        if self.trace is not None:
            self.trace.append((self.engine.now_ns, name, facts))

    def reach(self, what: str) -> None:
        """Count that an exit, row, page-table result or path was met."""
        self._reached[what] = self._reached.get(what, 0) + 1

    def pfn_to_page(self, pfn: int, chance: Chance) -> Page:
        """The struct page; a frame nobody has looked at since it got its owner is settled first."""
        page = self.mem_map.overlay.get(pfn)
        if page is None or (
            page.epoch != page.region.epoch
            and not page.flags & pg.HWPOISON
            and pfn not in page.region.watched
        ):
            return self.look(self, pfn, chance)
        if chance.error >= 0:
            self.watcher.look(chance)
        return page

    def set_sysctl(self, name: str, value: int) -> int:
        """Write a sysctl; 0, or -EINVAL with the value unchanged (proc_dointvec_minmax)."""
        if name == "vm.memory_failure_early_kill" and value in (0, 1):
            self.early_kill = value
            return 0
        if name == "vm.memory_failure_early_kill":
            return -EINVAL
        if name == "vm.memory_failure_recovery" and self.profile.has_recovery_sysctl:
            self.recovery = value if value in (0, 1) else self.recovery
            return 0 if value in (0, 1) else -EINVAL
        if name == "vm.dirty_expire_centisecs" and value >= 0:
            self._advance_inodes()
            self.flusher.set_expire(self.engine.now_ns, value * _CENTISEC_NS)
            return 0
        if name == "vm.dirty_writeback_centisecs" and value >= 0:
            self._advance_inodes()
            SET_INTERVAL[self.profile.flusher](self.flusher, self.engine.now_ns, value * _CENTISEC_NS)
            return 0
        return -EINVAL if name.startswith("vm.dirty_") else -2  # ENOENT: there is no such file

    def _advance_inodes(self) -> None:
        """What has been written out so far went by the sysctls as they were."""
        for region in self.mem_map.regions:
            if region.mapping is not None and region.mapping.host is not None:
                region.mapping.host.advance(self.engine.now_ns)

    def prctl(self, task: Task, option: str, value: str) -> int:
        """prctl(PR_MCE_KILL, early | late | default) or PR_MCE_KILL_GET; v5 as posted has neither."""
        if not self.profile.has_prctl and self.switches.early_kill_scheme != "prctl":
            return -EINVAL
        if option == "PR_MCE_KILL_GET":
            return MCE_KILL.index(task.mce_kill)
        if value not in MCE_KILL:
            return -EINVAL
        task.mce_kill = value
        return 0

    def meminfo(self) -> str:
        """The line of /proc/meminfo about bad pages, in 4 KiB pages turned to kB."""
        return MEMINFO_FORMATS[self.switches.meminfo_name] % (self.mce_bad_pages << 2)

    def kmalloc(self, failure: MemoryFailure, number: int) -> bool:
        """Whether allocation ``number`` of a kill list succeeds."""
        if self.alloc_failures > 0:
            self.alloc_failures -= 1
            return False
        fail = self.atomic_alloc_fail
        return not fail or number == 0 or failure.extra(Slot.ATOMIC_ALLOC, number) >= fail

    def workqueue_delay(self, failure: MemoryFailure) -> int:
        """How long the shared workqueue takes to run the work item, in ns."""
        return self.times.workqueue.draw(failure.draw(Slot.NOTIFY))

    def pause(self, delay_ns: int) -> Steps:
        """Let ``delay_ns`` pass in process context; longer if a machine check stops all CPUs meanwhile."""
        yield self.engine.wait(delay_ns, HANDLER_STEP)
        if self.halted or self.stalled_until_ns > self.engine.now_ns:
            yield from self.stalled()

    def stalled(self) -> Steps:
        """Wait for the end of a rendezvous; raises Halted if the kernel has panicked."""
        while self.stalled_until_ns > self.engine.now_ns and not self.halted:
            yield self.engine.wait(self.stalled_until_ns - self.engine.now_ns, HANDLER_STEP)
        if self.halted:
            raise Halted

    def wait_on_page(self, page: Page) -> Steps:
        """Sleep until the page's lock or writeback state changes."""
        bell = Bell(self.engine)
        page.waiters.append(bell)
        yield bell
        yield from self.stalled()

    def wake_up_page(self, page: Page) -> None:
        """Wake those who sleep in wait_on_page(), in the order they came."""
        waiters, page.waiters = page.waiters, []
        for bell in waiters:
            bell.ring(0, HANDLER_STEP)

    def tear_down(self) -> None:
        """The boot is over: what it is made of lets go of one another."""
        self.mem_map.tear_down()

    def end_page_writeback(self, page: Page) -> None:
        """The I/O is done: the page is clean unless it was stored to again."""
        page.flags &= ~pg.WRITEBACK
        page.writeback_until_ns = 0
        self.wake_up_page(page)
