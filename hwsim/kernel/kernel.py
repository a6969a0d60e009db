"""One booted kernel: its profile as the scenario's switches have it, sysctls, counters, tasks and memory map.

The functions of the other files take it as their first argument.  What is not the kernel's (what a task does
with a signal, what follows from a handled page) is told to those who have registered at its ports
(:mod:`~hwsim.kernel.ports`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from hwsim.engine import HANDLER_STEP, Engine, Steps
from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import Config, ErrorState, lookup
from hwsim.kernel.failslab import FailSlab
from hwsim.kernel.failure import Chance, MemoryFailure
from hwsim.kernel.mem_map import MemMap
from hwsim.kernel.mm_types import Page
from hwsim.kernel.ports import FileWatcher, Halted, HandlerWatcher, PageWatcher
from hwsim.kernel.printk import Printk
from hwsim.kernel.profile import Profile
from hwsim.kernel.sysctl import Sysctl
from hwsim.kernel.writeback import Flusher
from hwsim.spec import MachineSpec


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
        profile: Profile[Kernel],
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
        self.profile = profile
        self.config = Config(spec.unevictable_lru, spec.mlocked_page_bit, spec.pageflags_extended)
        self.error_states, self._rows, self._states = error_table(profile.error_states, self.config)
        self.times = spec.times
        self.scrub_signals = profile.signalled(spec.scrub.signals)  # what becomes of a find
        early_kill = profile.early_kill_default if spec.early_kill is None else spec.early_kill
        recovery = 1 if spec.recovery is None else spec.recovery
        flusher = flusher or Flusher(0, 0, 0)
        self.sysctl = Sysctl(
            profile.sysctls, profile.set_interval, engine, mem_map, flusher, early_kill, recovery
        )
        self.failslab = FailSlab(spec.atomic_alloc_fail)
        self.mce_bad_pages = 0
        self.poisoned_pages = 0
        self.halted = False
        self.stalled_until_ns = 0
        self.process_count = 0
        self.log = printk
        self._reached = reached
        self.trace: list[tuple[int, str, dict[str, object]]] | None = None
        self.private: object = None  # what one version keeps for itself, such as a mutex
        self.handler_watchers: tuple[HandlerWatcher, ...] = ()

    def error_state(self, flags: int) -> ErrorState[Kernel]:
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


@lru_cache(maxsize=16)
def error_table(
    table: tuple[ErrorState[Kernel], ...], config: Config
) -> tuple[tuple[ErrorState[Kernel], ...], bytes, dict[int, ErrorState[Kernel]]]:
    """The error states of one build, the row number for each value of the low flag bits, the state of a row.

    Bytes, as indexing them is far cheaper than an array element.
    """
    states = config.build(table)
    return states, lookup(states).tobytes(), {state.row: state for state in states}
