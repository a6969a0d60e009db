"""One page in a kernel of one page: memory_failure() is run on it, and what becomes of everything is told.

What a later touch comes to is not played: it is said here, after do_page_fault() of ``kernel/mm/memory``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from hwsim.engine import Engine
from hwsim.explaining.question import KERNEL_OWNED
from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import scan
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.frames import Layout, Layouts
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mem_map import MemMap
from hwsim.kernel.mm.me_handlers import ACTION_NAME
from hwsim.kernel.mm.memory import meets_poison
from hwsim.kernel.mm.mmap import do_mmap
from hwsim.kernel.mm.page_cache import add_to_page_cache, attach_page_buffers, lru_cache_add
from hwsim.kernel.mm_types import (
    CACHE,
    NONE,
    OWNER,
    PIN,
    POISON,
    PRESENT,
    SWAP,
    AddressSpace,
    Page,
    Pte,
    Signal,
    Task,
    UserSpace,
)
from hwsim.kernel.printk import Printk
from hwsim.kernel.signal import BUS_ADRERR, BUS_MCEERR_AR, SIGBUS
from hwsim.kernel.versions.boot import booted
from hwsim.memory.page_law import Asker
from hwsim.rng import ROW
from hwsim.spec import Delay, MachineSpec, TimesSpec

Facts = dict[str, str | int]  # one line of the answer: what it says by name
PFN = 0x1234
_FIRST_PID = 100
# memory_failure() waits for both, without bound, before it looks at anything else.
_WAITED_FOR = pg.LOCKED | pg.WRITEBACK
_NO_TIME = TimesSpec(*[Delay()] * len(TimesSpec.__dataclass_fields__))

_LATER = {
    POISON: "the next touch is SIGBUS BUS_MCEERR_AR (late kill)",
    SWAP: "the next touch reads the good copy back from swap; no signal",
    NONE: "the next touch reads the page again from disk; no signal",
    PRESENT: "still mapped: the next read of the bad line is a machine check",
}
_OLD = "the next touch reads the old contents from disk: what was stored since is lost; no signal"
_HOLE = "the next touch finds a hole in the file, zeroes; no signal"
_NO_CONTENTS = "the next touch is SIGBUS BUS_ADRERR: the swap cache has no contents for it (late kill)"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer of :func:`explain`.

    ``row`` 1..15 is the matching row of error_states; ``exit`` how memory_failure() was left;
    ``signals`` who gets which signal when; ``entries`` what each page-table entry becomes; ``log`` the
    kernel log as (level, text); ``still_referenced_by`` users beyond the handler.
    """

    kernel: str
    flags: tuple[str, ...]
    row: int
    message: str
    handler: str
    outcome: str
    exit: str
    signals: tuple[Facts, ...]
    entries: tuple[Facts, ...]
    log: tuple[tuple[int, str], ...]
    still_referenced_by: int
    as_eio: bool
    flags_after: tuple[str, ...]
    counted_in_bad_pages: bool

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"kernel {self.kernel}, page flags: {', '.join(self.flags) or 'none'}",
            f"row {self.row}: {self.message!r}, handler {self.handler}(), outcome {self.outcome}"
            if self.exit == "table"
            else f"memory_failure() leaves before the table: {self.exit}, {self.message!r}, {self.outcome}; "
            f"there row {self.row} would match",
        ]
        lines += [
            f"page table entry of {entry['task']}:{entry['pid']}: {entry['becomes']}; {entry['later']}"
            for entry in self.entries
        ]
        for signal in self.signals:
            code = f" {signal['code']}" if signal["code"] else ""
            lines.append(f"{signal['task']}:{signal['pid']} gets {signal['signal']}{code}, {signal['when']}")
        if not self.signals:
            lines.append("nobody is signalled now")
        lines.append("the kernel prints:")
        lines += [f"  <{level}>{text}" for level, text in self.log]
        return "\n".join(lines)


DEFAULT = Asker("default", False)


class OnePage(NamedTuple):
    """What is asked about: ``mapping`` is the file system of the page's file, "anon" or "none".

    ``pagevec_cpu``: the CPU in whose pagevec it waits; memory_failure() runs on CPU 0.
    """

    flags: int
    mapping: str
    askers: tuple[Asker, ...] = ()
    pte_dirty: bool = False
    buffers: str = "none"
    pins: int = 0
    unmap_fails: int = 0
    used: bool = True  # somebody holds a reference
    pagevec_cpu: int = -1
    valid: bool = True  # the frame has a struct page


def handled(spec: MachineSpec, page: OnePage, names: tuple[str, ...]) -> Explanation:
    """What memory_failure() of the kernel of ``spec`` does to it; ``names`` are those of its flags."""
    spec = replace(spec, memory_pages=2 * PFN if page.valid else PFN, times=_NO_TIME)
    return _World(spec, page).explanation(names)


class _Told(UserSpace):
    """Tasks that do nothing but take note of their signals."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []

    def deliver(self, signal: Signal, *, default: bool) -> None:
        self.signals.append(signal)


class _World:
    """One page, its mappers and the kernel that meets it."""

    def __init__(self, spec: MachineSpec, asked: OnePage) -> None:
        engine = Engine()
        printk = Printk(enabled=True)
        mem_map = MemMap(Layouts([Layout("page", "anon", 0, spec.memory_pages)]), spec.memory_pages)
        self.kernel = kernel = Kernel(booted(spec.kernel, spec.switches), spec, engine, mem_map, printk, {})
        self.printk = printk
        flags = asked.flags & ~_WAITED_FOR
        region = mem_map.regions[0]
        anon = pg.ANON if asked.mapping == "anon" and not flags & KERNEL_OWNED else 0
        page = self.page = Page(PFN, region, PFN, region.epoch, flags | anon)
        self.file = self._owner(page, asked.mapping) if asked.used else None
        for _ in range(asked.pins):
            page.get(PIN)
        if asked.buffers != "none":
            attach_page_buffers(page)
            page.buffers_busy = asked.buffers == "busy"
        if asked.pagevec_cpu >= 0:
            lru_cache_add(page, asked.pagevec_cpu)
        page.unmap_failures = asked.unmap_fails
        user = _Told()
        self.signals = user.signals
        for n, asker in enumerate(asked.askers):
            task = Task(f"app.{n}", "app", _FIRST_PID + n, n, 0, user)
            task.mce_kill, task.caught = asker
            vma = do_mmap(
                task,
                "page",
                region,
                spec.memory_pages,
                since_ns=0,
                shared=self.file is not None,
                mapping=self.file,
                anon_vma=page.anon_vma,
            )
            page.map(vma, dirty=asked.pte_dirty, writable=asked.pte_dirty)
        if asked.used and page.count == 0:  # without a mapper: reclaim, migration or a pin holds it
            page.get(PIN)
        kernel.process_count = len(asked.askers)
        mem_map.overlay[PFN] = page
        self.failure = MemoryFailure(-1, PFN, [0.999999] * ROW, lambda _error, _slot, _k: 0.999999)
        self.entries: list[Pte] = list(page.ptes.values())
        self.flags_in_table = flags
        profile = kernel.profile
        engine.process(profile.memory_failure(kernel, PFN, profile.trapno, self.failure, 0))
        engine.run(1_000_000_000)

    def _owner(self, page: Page, mapping: str) -> AddressSpace | None:
        if page.flags & KERNEL_OWNED or mapping == "none":
            page.get(CACHE if page.flags & pg.SWAPCACHE else OWNER)
            if mapping != "none":  # a NULL mapping on the LRU would mean "torn down by someone else"
                page.mapping = AddressSpace("other", "ext4")
            return None
        if mapping == "anon":
            page.anon_vma = []
            if page.flags & pg.SWAPCACHE:
                page.get(CACHE)
            return None
        file = AddressSpace("file", mapping)
        add_to_page_cache(page, file)
        return file

    def explanation(self, names: tuple[str, ...]) -> Explanation:
        kernel, failure, page = self.kernel, self.failure, self.page
        state = scan(kernel.error_states, self.flags_in_table)
        if failure.row:
            state = next(each for each in kernel.error_states if each.row == failure.row)
        file, formats = self.file, kernel.profile.formats
        return Explanation(
            kernel=kernel.profile.name,
            flags=names,
            row=state.row,
            message=state.message if failure.exit == "table" else failure.message,
            handler=state.handler.__name__,
            outcome=ACTION_NAME[failure.outcome],
            exit=failure.exit,
            signals=tuple(self._signals()),
            entries=tuple(self._entry(pte) for pte in self.entries),
            log=tuple((level, text) for _, level, text in self.printk.render(formats)),
            still_referenced_by=max(0, page.count - 1),
            as_eio=file.as_eio if file is not None else kernel.mem_map.swapper.as_eio,
            flags_after=pg.names_of(page.flags),
            counted_in_bad_pages=kernel.mce_bad_pages > 0,
        )

    def _signals(self) -> list[Facts]:
        now = [_fact(each.task, each.signal, each.code, "at once") for each in self.signals]
        fatal = {_LATER[POISON]: BUS_MCEERR_AR, _NO_CONTENTS: BUS_ADRERR}
        later = [
            _fact(pte.vma.task, SIGBUS, fatal[text], "if it lives to touch the page")
            for pte in self.entries
            if (text := self._later(pte)) in fatal
        ]
        return now + later

    def _entry(self, pte: Pte) -> Facts:
        task = pte.vma.task
        return {"task": task.comm, "pid": task.pid, "becomes": pte.kind, "later": self._later(pte)}

    def _later(self, pte: Pte) -> str:
        """What the next touch of the entry comes to.

        A page of tmpfs in the swap cache keeps its mapping here, and is_fatal() would not know it.
        """
        page, file = self.page, self.file
        if pte.kind == NONE and self.flags_in_table & pg.SWAPCACHE:  # a page of a memory file system
            return _NO_CONTENTS if page.flags & pg.SWAPCACHE else _LATER[SWAP]
        if meets_poison(pte):
            return _LATER[POISON]
        if pte.kind == NONE and file is not None and not file.accounts_dirty:
            return _HOLE
        if pte.kind == NONE and self.failure.dirty:
            return _OLD
        return _LATER[pte.kind]


def _fact(task: Task, signal: str, code: str, when: str) -> Facts:
    return {"task": task.comm, "pid": task.pid, "signal": signal, "code": code, "when": when}
