"""A machine that hypothesis drives step by step, and what must hold after every step."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hwsim.machine import Machine, MemoryLayout
from hwsim.record import End
from hwsim.script.pages import pfn_of
from hwsim.script.step import ScriptError, Step, StepSkipped
from hwsim.spec import (
    Delay,
    FileSpec,
    KernelPoolSpec,
    RegionSpec,
    ScriptStep,
    SigbusSpec,
    Spec,
    TaskSpec,
    TimesSpec,
)
from tests.support.must_hold import Watched, check_ledger, check_states
from tests.support.worlds import NO_TIME, machine

UNCOUNTED = (
    "memory outside kernel control",
    "already hardware poisoned",
    "free or high order kernel",
    "already unmapped LRU",
)
PAGES = 8
TASKS = st.sampled_from(["app.0", "app.1", "app.0.0", "job.0", "job.0.0"])
REGIONS = st.sampled_from(["heap", "segment", "map"])
INDEX = st.integers(0, 2)  # few pages, so that steps meet
HORIZON_NS = 1_000_000_000


def world(kernel: str, early_kill: int, *, slow: bool = False) -> Spec:
    """Two tasks that fork, with private memory, a segment and a mapped file; kernel pools; free memory.

    ``slow``: everything takes its time, so that steps fall in between; the dead start again, after a
    panic the machine does; and a handler maps a fresh page in place of the poisoned one.
    """
    if slow:
        more = {"times": TimesSpec(*[Delay("exponential", mean_ns=700)] * len(TimesSpec.__slots__))}
        restart, sigbus, reboot = 5_000, SigbusSpec("remap", "remap"), 10_000
    else:
        more, restart, sigbus, reboot = {"times": NO_TIME}, None, SigbusSpec(), None
    regions = (
        RegionSpec("heap", "anon", PAGES),
        RegionSpec("segment", "shm", PAGES, shared=True),
        RegionSpec("map", "file", PAGES, file="data", shared=True),
    )
    return Spec(
        "stateful", HORIZON_NS, 3, 1,
        machine(kernel=kernel, early_kill=early_kill, reboot_ns=reboot, **more), (),
        (FileSpec("data", PAGES), FileSpec("disk", PAGES, filesystem="blockdev", buffers="idle")),
        (
            TaskSpec("app", count=2, regions=regions, restart_ns=restart),
            TaskSpec("job", children=1, regions=regions[:1], sigbus=sigbus, restart_ns=restart),
        ),
        (KernelPoolSpec("reserved", 64), KernelPoolSpec("slab", 16), KernelPoolSpec("slab_multi", 16, 2)),
    )  # fmt: skip


ON_A_PAGE = st.sampled_from([
    "load", "store", "poison", "line", "scrub", "mce", "fork", "exit", "munmap", "mremap",
    "swap_out", "swap_in", "start_writeback", "end_writeback", "read", "write", "fsync",
    "lock_page", "unlock_page", "pin", "unpin", "pagevec", "unmap_fails",
])  # fmt: skip
ELSEWHERE = st.sampled_from(["free", "slab", "slab_multi", "reserved", "disk", "data"])


def elsewhere(where: str, index: int) -> dict[str, Any]:
    """A page that is not named by a task's region."""
    if where == "free":
        return {"free": index}
    return {"file" if where in ("disk", "data") else "kernel": where, "index": index}


class Machines(RuleBasedStateMachine):
    """Rules are script steps; one that is impossible at its time does nothing."""

    KERNEL, EARLY_KILL, SLOW = "v5", 1, False

    def __init__(self) -> None:
        super().__init__()
        spec = world(self.KERNEL, self.EARLY_KILL, slow=self.SLOW)
        self.machine = Machine(spec, 0, MemoryLayout(spec), trace=True)
        self.now = 0
        self.number = 0
        self.blocks = 0
        self.moved = 0
        self.injected = 0  # errors that must have a row
        self.watched = Watched(self.machine)
        self.refused = 0

    @property
    def up(self) -> bool:
        return self.machine.ended_ns is None

    def do(self, verb: str, **args: Any) -> None:
        step = ScriptStep(self.now, verb, args, f"step[{self.number}]")
        self.number += 1
        if not self.up:
            return
        rows = self.rows_of(self.machine.script.step(step, self.number))
        try:
            self.machine.script.do(self.machine.script.step(step, self.number))
            self.injected += rows
        except ScriptError:
            self.refused += 1
        self.advance()

    def rows_of(self, step: Step) -> int:
        """How many errors the step adds: software poison on a page with a bad line belongs to that."""
        if step.spec.verb not in ("inject", "mce") or self.machine.kernel.halted:
            return 0
        try:
            known = self.machine.bad_lines.live(pfn_of(step)) is not None
        except (ScriptError, StepSkipped):
            return 0
        return int(step.args.get("how") == "line" or not known)

    def advance(self, by_ns: int = 1_000) -> None:
        self.now += by_ns
        if self.up:
            self.machine.engine.run(self.now)

    def on_page(self, task: str, region: str, index: int, verb: str) -> None:
        page = {"region": f"{task}/{region}", "index": index}
        if verb in ("load", "store"):
            self.do(verb, task=task, page=page)
        elif verb in ("poison", "line"):
            self.do("inject", page=page, how=verb, line=3, permanent=index == 0)
        elif verb in ("munmap", "mremap"):
            self.moved += 1
            more = {"to": f"moved{self.moved}"} if verb == "mremap" else {}
            self.do(verb, task=task, region=region, first=index, pages=1, **more)
        elif verb in ("fork", "exit"):
            self.do(verb, task=task)
        elif verb in ("read", "write", "fsync"):
            self.do(verb, task=task, file="data", **({} if verb == "fsync" else {"index": index}))
        else:
            self.do(verb, page=page)

    # -- rules -------------------------------------------------------------------------------------

    @rule(task=TASKS, region=REGIONS, index=INDEX, verbs=st.lists(ON_A_PAGE, min_size=2, max_size=6))
    def life_of_a_page(self, task: str, region: str, index: int, verbs: list[str]) -> None:
        """Steps that meet: one at a time they seldom fall on the same page."""
        for verb in verbs:
            self.on_page(task, region, index, verb)
            self.look_round()

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

    @rule(where=ELSEWHERE, index=INDEX, how=st.sampled_from(["poison", "line"]), permanent=st.booleans())
    def inject_elsewhere(self, where: str, index: int, how: str, permanent: bool) -> None:
        self.do("inject", page=elsewhere(where, index), how=how, line=index, permanent=permanent)

    @rule(where=ELSEWHERE, index=INDEX, verb=st.sampled_from(["scrub", "mce"]))
    def report_elsewhere(self, where: str, index: int, verb: str) -> None:
        self.do(verb, page=elsewhere(where, index))

    @rule(task=TASKS, index=INDEX)
    def lose_a_write(self, task: str, index: int) -> None:
        self.do("write", task=task, file="data", index=index)
        self.do("inject", page={"file": "data", "index": index}, how="poison")

    @rule(index=INDEX, order=st.integers(0, 2))
    def meet_a_poisoned_free_page(self, index: int, order: int) -> None:
        self.do("inject", page={"free": index}, how="poison")
        self.alloc(order, "slab")

    @rule(task=TASKS, region=REGIONS, index=INDEX, verb=st.sampled_from(["scrub", "mce"]))
    def report(self, task: str, region: str, index: int, verb: str) -> None:
        self.do(verb, page={"region": f"{task}/{region}", "index": index})

    @rule(task=st.sampled_from(["app.0", "app.1", "job.0"]))
    def fork(self, task: str) -> None:
        self.do("fork", task=task)

    @rule(task=TASKS)
    def exit(self, task: str) -> None:
        self.do("exit", task=task)

    @rule(task=TASKS, region=REGIONS, first=INDEX, pages=st.integers(1, 3))
    def munmap(self, task: str, region: str, first: int, pages: int) -> None:
        self.do("munmap", task=task, region=region, first=first, pages=min(pages, PAGES - first))

    @rule(task=TASKS, region=REGIONS, first=INDEX, pages=st.integers(1, 3))
    def mremap(self, task: str, region: str, first: int, pages: int) -> None:
        self.moved += 1
        to = f"moved{self.moved}"
        self.do("mremap", task=task, region=region, first=first, pages=pages, to=to)

    @rule(task=TASKS, region=REGIONS, first=INDEX, pages=st.integers(1, 3))
    def dontneed(self, task: str, region: str, first: int, pages: int) -> None:
        self.do("madvise", task=task, region=region, first=first, pages=pages, advice="dontneed")

    @rule(task=TASKS, region=REGIONS, verb=st.sampled_from(["mlock", "munlock"]))
    def mlock(self, task: str, region: str, verb: str) -> None:
        self.do(verb, task=task, region=region)

    @rule(task=TASKS, verb=st.sampled_from(["mask", "unmask"]))
    def mask(self, task: str, verb: str) -> None:
        self.do(verb, task=task)

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
        verb=st.sampled_from(["lock_page", "unlock_page", "pin", "unpin", "pagevec", "unmap_fails"]),
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

    @rule(pages=st.integers(0, PAGES))
    def truncate(self, pages: int) -> None:
        self.do("truncate", file="data", pages=pages)

    @rule(index=INDEX, state=st.sampled_from(["idle", "busy", "none"]))
    def buffers(self, index: int, state: str) -> None:
        self.do("buffers", page={"file": "disk", "index": index}, state=state)

    @rule(index=INDEX)
    def free_page(self, index: int) -> None:
        self.do("free_page", page={"kernel": "slab", "index": index})

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

    def look_round(self) -> None:
        """All that must hold, between the steps of one rule too."""
        self.references_are_those_of_their_holders()
        self.every_frame_is_in_exactly_one_state()
        self.poison_is_never_handed_out()

    @invariant()
    def references_are_those_of_their_holders(self) -> None:
        if not self.machine.kernel.halted:
            check_ledger(self.machine)

    @invariant()
    def every_frame_is_in_exactly_one_state(self) -> None:
        if not self.machine.kernel.halted:
            check_states(self.machine)

    @invariant()
    def poison_is_never_handed_out(self) -> None:
        kernel = self.machine.kernel
        if kernel is not self.watched.kernel:
            self.watched = Watched(self.machine)  # a reboot forgets
        if not kernel.halted:
            self.watched.check()

    def teardown(self) -> None:
        if self.up:
            self.machine.engine.run(HORIZON_NS)
        self.poison_is_never_handed_out()
        result = self.machine.result()
        assert result.row.errors == len(result.errors) == self.injected
        ends = Counter(row.end for row in result.errors)
        assert set(ends) <= set(End.meanings())
        assert sum(ends.values()) == result.row.errors
        lines = [text for _, _, text in result.log if " page recovery: " in text]
        counted = [text for text in lines if not any(name in text for name in UNCOUNTED)]
        if self.KERNEL == "v5":
            assert len(counted) == result.row.bad_pages
        numbers = re.findall(r"BadPages: +(\d+) kB|HardwareCorrupted: +(\d+) kB", result.meminfo)
        assert [int(a or b) for a, b in numbers] == [4 * self.machine.kernel.mce_bad_pages]  # of this boot
        row = result.row
        assert row.lost_writes == row.told_writer + row.told_other + row.told_nobody
        assert row.kills == row.kills_early + row.kills_late + row.kills_forced + row.kills_group


class Late(Machines):
    EARLY_KILL = 0


class Slow(Machines):
    SLOW = True


class SlowLate(Machines):
    EARLY_KILL, SLOW = 0, True


class Merged(Machines):
    KERNEL = "2.6.32"


class MergedLate(Machines):
    KERNEL, EARLY_KILL = "2.6.32", 0


def driven(machines: type[Machines], how: settings) -> Any:
    """The test case that drives them so."""
    case = machines.TestCase
    case.settings = how
    return case
