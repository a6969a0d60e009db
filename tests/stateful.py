"""A machine that hypothesis drives step by step, and what must hold after every step."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hwsim.kernel import page_flags as pg
from hwsim.kernel.struct_page import NONE, PRESENT
from hwsim.machine import Machine, Plan
from hwsim.spec import FileSpec, KernelPoolSpec, RegionSpec, ScriptStep, Spec, TaskSpec
from hwsim.userspace.script_step import ScriptError, Step
from tests.worlds import machine

UNCOUNTED = (
    "memory outside kernel control",
    "already hardware poisoned",
    "free or high order kernel",
    "already unmapped LRU",
)
ENDS = {"isolated", "reachable", "healed", "panic", "latent", "rebooted", "duplicate"}
PAGES = 8
TASKS = st.sampled_from(["app.0", "app.1", "app.0.0", "app.1.0"])
REGIONS = st.sampled_from(["heap", "segment", "map"])
INDEX = st.integers(0, 2)  # few pages, so that steps meet
HORIZON_NS = 1_000_000_000


def world(kernel: str, early_kill: int) -> Spec:
    """Two tasks that fork, with private memory, a segment and a mapped file; kernel pools; free memory."""
    regions = (
        RegionSpec("heap", "anon", PAGES),
        RegionSpec("segment", "shm", PAGES, shared=True),
        RegionSpec("map", "file", PAGES, file="data", shared=True),
    )
    return Spec(
        "stateful", HORIZON_NS, 3, 1, machine(kernel=kernel, early_kill=early_kill), (),
        (FileSpec("data", PAGES), FileSpec("disk", PAGES, filesystem="blockdev", buffers="idle")),
        (TaskSpec("app", count=2, regions=regions),),
        (KernelPoolSpec("reserved", 64), KernelPoolSpec("slab", 16)),
    )  # fmt: skip


class Machines(RuleBasedStateMachine):
    """Rules are script steps; one that is impossible at its time does nothing."""

    KERNEL, EARLY_KILL = "v5", 1

    def __init__(self) -> None:
        super().__init__()
        spec = world(self.KERNEL, self.EARLY_KILL)
        self.machine = Machine(spec, 0, Plan(spec), trace=True)
        self.now = 0
        self.number = 0
        self.blocks = 0
        self.poisoned: set[int] = set()
        self.refused = 0

    @property
    def up(self) -> bool:
        return self.machine.ended_ns is None

    def do(self, verb: str, **args: Any) -> None:
        step = ScriptStep(self.now, verb, args, f"step[{self.number}]")
        self.number += 1
        if not self.up:
            return
        try:
            self.machine.script._run(Step(self.machine, step, self.number))
        except ScriptError:
            self.refused += 1
        self.advance()

    def advance(self, by_ns: int = 1_000) -> None:
        self.now += by_ns
        if self.up:
            self.machine.engine.run(self.now)

    # -- rules -------------------------------------------------------------------------------------

    @rule(task=TASKS, region=REGIONS, index=INDEX, verb=st.sampled_from(["load", "store"]))
    def touch(self, task: str, region: str, index: int, verb: str) -> None:
        self.do(verb, task=task, page={"region": f"{task}/{region}", "index": index})

    @rule(
        task=TASKS,
        region=REGIONS,
        index=INDEX,
        how=st.sampled_from(["poison", "line"]),
        permanent=st.booleans(),
    )
    def inject(self, task: str, region: str, index: int, how: str, permanent: bool) -> None:
        page = {"region": f"{task}/{region}", "index": index}
        self.do("inject", page=page, how=how, line=3, permanent=permanent)

    @rule(where=st.sampled_from(["free", "slab", "reserved", "disk", "data"]), index=INDEX)
    def inject_elsewhere(self, where: str, index: int) -> None:
        page: dict[str, Any] = {"free": index} if where == "free" else {"kernel": where, "index": index}
        if where in ("disk", "data"):
            page = {"file": where, "index": index}
        self.do("inject", page=page, how="poison")

    @rule(task=TASKS, index=INDEX)
    def lose_a_write(self, task: str, index: int) -> None:
        self.do("write", task=task, file="data", index=index)
        self.do("inject", page={"file": "data", "index": index}, how="poison")

    @rule(index=INDEX, order=st.integers(0, 2))
    def meet_a_poisoned_free_page(self, index: int, order: int) -> None:
        self.do("inject", page={"free": index}, how="poison")
        self.alloc(order, "slab")

    @rule(task=TASKS, region=REGIONS, index=INDEX)
    def scrub(self, task: str, region: str, index: int) -> None:
        self.do("scrub", page={"region": f"{task}/{region}", "index": index})

    @rule(task=st.sampled_from(["app.0", "app.1"]))
    def fork(self, task: str) -> None:
        self.do("fork", task=task)

    @rule(task=TASKS)
    def exit(self, task: str) -> None:
        self.do("exit", task=task)

    @rule(task=TASKS, region=REGIONS, first=INDEX, pages=st.integers(1, 3))
    def munmap(self, task: str, region: str, first: int, pages: int) -> None:
        self.do("munmap", task=task, region=region, first=first, pages=min(pages, PAGES - first))

    @rule(
        task=TASKS, region=st.sampled_from(["heap", "segment"]), index=INDEX,
        verb=st.sampled_from(["swap_out", "swap_in", "start_writeback", "end_writeback"]),
    )  # fmt: skip
    def reclaim(self, task: str, region: str, index: int, verb: str) -> None:
        self.do(verb, page={"region": f"{task}/{region}", "index": index})

    @rule(
        task=TASKS,
        region=REGIONS,
        index=INDEX,
        verb=st.sampled_from(["lock_page", "unlock_page", "pin", "unpin"]),
    )
    def hold(self, task: str, region: str, index: int, verb: str) -> None:
        self.do(verb, page={"region": f"{task}/{region}", "index": index})

    @rule(
        task=TASKS, file=st.sampled_from(["data", "disk"]), index=INDEX,
        verb=st.sampled_from(["read", "write"]), sync=st.booleans(),
    )  # fmt: skip
    def system_call(self, task: str, file: str, index: int, verb: str, sync: bool) -> None:
        more = {"sync": sync} if verb == "write" else {}
        self.do(verb, task=task, file=file, index=index, **more)

    @rule(
        task=TASKS, file=st.sampled_from(["data", "disk"]), fd=st.sampled_from(["fd", "other"]),
        verb=st.sampled_from(["open", "close", "fsync", "sync_file_range"]),
    )  # fmt: skip
    def ask(self, task: str, file: str, fd: str, verb: str) -> None:
        self.do(verb, task=task, file=file, fd=fd)

    @rule()
    def sync(self) -> None:
        self.do("sync")

    @rule(index=INDEX, pages=st.integers(1, 3))
    def punch(self, index: int, pages: int) -> None:
        self.do("punch", file="data", index=index, pages=min(pages, PAGES - index))

    @rule(order=st.integers(0, 2), kind=st.sampled_from(["slab", "high_order", "page_table"]))
    def alloc(self, order: int, kind: str) -> None:
        self.blocks += 1
        self.do("alloc", kind=kind, order=order, name=f"block{self.blocks}")

    @precondition(lambda self: self.blocks > 0)
    @rule(data=st.data())
    def free(self, data: Any) -> None:
        self.do("free", name=f"block{data.draw(st.integers(1, self.blocks))}")

    @rule(value=st.integers(0, 1))
    def sysctl(self, value: int) -> None:
        self.do("sysctl", name="vm.memory_failure_early_kill", value=value)

    @rule()
    def wait(self) -> None:
        self.advance(100_000)

    # -- what must hold ----------------------------------------------------------------------------

    @invariant()
    def references_are_the_sum_of_their_holders(self) -> None:
        for page in self.machine.kernel.mem_map.overlay.values():
            assert all(count > 0 for count in page.holders.values()), page.holders
            assert (page.head or page).count >= 0
            for vma, pte in page.ptes.items():
                assert pte.kind == PRESENT
                assert pte.page is page
                assert vma.alive, "a dead mapping holds a reference"
                assert vma.ptes.get(page.pgoff) is pte

    @invariant()
    def every_frame_is_in_exactly_one_state(self) -> None:
        for pfn, page in self.machine.kernel.mem_map.overlay.items():
            assert page.pfn == pfn
            free = bool(page.flags & pg.BUDDY)
            if free:
                assert not page.ptes, "a free frame is mapped"
                assert not page.holders, "a free frame is held"
                assert page.mapping is None
                assert not page.flags & (pg.LRU | pg.SWAPCACHE | pg.SLAB)
            if page.mapping is not None:
                assert not page.flags & pg.ANON
                cached = page.mapping.pages.get(page.pgoff)
                assert cached is page, "two pages for one place in a file"
            for vma in page.ptes:
                assert vma.ptes[page.pgoff].kind != NONE

    @invariant()
    def poison_is_never_handed_out(self) -> None:
        overlay = self.machine.kernel.mem_map.overlay
        for pfn in self.poisoned:
            page = overlay.get(pfn)
            assert page is not None, f"pfn {pfn:#x} is forgotten"
            assert page.flags & pg.HWPOISON, f"pfn {pfn:#x} serves somebody again"
        self.poisoned = {pfn for pfn, page in overlay.items() if page.flags & pg.HWPOISON}
        assert len(self.poisoned) == self.machine.kernel.poisoned_pages

    def teardown(self) -> None:
        if self.up:
            self.machine.engine.run(HORIZON_NS)
        self.poison_is_never_handed_out()
        result = self.machine.result()
        ends = Counter(row.end for row in result.errors)
        assert set(ends) <= ENDS
        assert sum(ends.values()) == result.row.errors
        lines = [text for _, _, text in result.log if " page recovery: " in text]
        counted = [text for text in lines if not any(name in text for name in UNCOUNTED)]
        if self.KERNEL == "v5":
            assert len(counted) == result.row.bad_pages
        numbers = re.findall(r"BadPages: +(\d+) kB|HardwareCorrupted: +(\d+) kB", result.meminfo)
        assert [int(a or b) for a, b in numbers] == [4 * result.row.bad_pages]
        row = result.row
        assert row.lost_writes == row.told_writer + row.told_other + row.told_nobody
        assert row.kills == row.kills_early + row.kills_late + row.kills_forced + row.kills_group
