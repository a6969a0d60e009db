"""The model's memory_failure() against an independent transcription of v5, page by page.

Every combination of the eleven flags of the table, mapped and not, with and without early kill, for
every kind of mapping; then odd holders, failing unmaps and kill lists by random search.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import Config as ModelConfig
from hwsim.kernel.error_states import classify, lookup, scan
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.mm.me_handlers import ACTION_NAME
from hwsim.kernel.mm_types import (
    BUFFERS,
    CACHE,
    OWNER,
    PAGEVEC,
    PIN,
    AddressSpace,
    Page,
    Pte,
    Signal,
    Task,
    UserSpace,
    Vma,
)
from hwsim.kernel.ports import HandlerWatcher
from hwsim.kernel.versions import v5
from hwsim.machine import Machine
from hwsim.memory.layout import MemoryLayout
from tests.oracles.oracle_v5 import (
    FLAGS,
    VECTORS,
    Config,
    Mapper,
    Mapping,
    PageCase,
    contradictions,
    decide,
    find_row,
    flagset,
)
from tests.support.worlds import world

SPEC = world()
PLAN = MemoryLayout(SPEC)
V5 = v5.PROFILE
Policies = dict[str, tuple[str, bool]]
MAPPINGS: tuple[Mapping | None, ...] = (None, "file", "blockdev", "tmpfs", "ramfs")
FILESYSTEM = {"file": "ext4", "blockdev": "blockdev", "tmpfs": "tmpfs", "ramfs": "ramfs"}
CONFIGS = (
    (Config(), ModelConfig()),
    (Config(unevictable_lru=False), ModelConfig(unevictable_lru=False)),
    (Config(mlocked_page_bit=False), ModelConfig(mlocked_page_bit=False)),
    (Config(pageflags_extended=False), ModelConfig(pageflags_extended=False)),
)


class Noted(HandlerWatcher, UserSpace):
    """Takes note of the signals, and does nothing with them."""

    def __init__(self) -> None:
        self.signals: list[tuple[int, str, str]] = []

    def signalled(self, signal: Signal) -> None:
        self.signals.append((signal.task.pid, signal.signal, signal.code))

    def deliver(self, signal: Signal, *, default: bool) -> None:
        pass

    def waited(self, failure: MemoryFailure, page: Page) -> None:
        pass

    def unmapped(self, failure: MemoryFailure, page: Page, entries: list[Pte]) -> None:
        pass


def make_machine() -> Machine:
    return Machine(SPEC, 0, PLAN, trace=True)


def build_page(case: PageCase, kernel: Any) -> Page:
    """A struct page that looks like ``case``, in the overlay at its pfn."""
    region = kernel.mem_map.by_name["app.0/heap"]
    page = Page(case.pfn, region, 3, region.epoch)
    page.flags = kernel.config.real_flags(pg.flags_of(case.flags) | pg.UPTODATE)
    page.flags |= pg.ANON * case.anon | pg.HWPOISON * case.hwpoison | pg.PRIVATE * (case.private is not None)
    mapping = AddressSpace("file", FILESYSTEM[case.mapping]) if case.mapping in FILESYSTEM else None
    page.mapping = mapping
    family: list[Vma] = []
    page.anon_vma = family if case.anon else None
    if case.mapping is not None:
        page.get(CACHE)
    if mapping is not None:
        mapping.pages[3] = page
    if case.private is not None:
        page.get(BUFFERS)
        page.buffers_busy = case.private == "busy"
    if case.pagevec is not None:
        page.get(PAGEVEC)
        page.pagevec_cpu = 0 if case.pagevec == "local" else 1
    for mapper in case.mappers:
        task = Task(mapper.name, mapper.name, mapper.pid, mapper.pid, 0, Noted())
        for number in range(mapper.vmas):
            first = 0 if mapper.address_found else 100
            vma = Vma(
                task,
                f"v{number}",
                region,
                0x400 + 16 * number,
                8,
                since_ns=0,
                anon_vma=family if case.anon else None,
                mapping=mapping,
                pgoff=first,
                shared=not case.anon,
            )
            vma.number = mapper.pid * 64 + number
            if mapper.mapped and number == 0:
                page.map(vma, dirty=mapper.pte_dirty, writable=mapper.writable)
    for _ in range(case.held - page.count):
        page.get(PIN if page.count else OWNER)
    page.unmap_failures = case.unmap_failures
    kernel.mem_map.overlay[case.pfn] = page
    return page


def run_case(machine: Machine, case: PageCase, policies: Policies | None = None) -> dict[str, Any]:
    """All that the model says and does, in the oracle's words; ``policies``: (PR_MCE_KILL, has a handler)."""
    kernel = machine.kernel
    kernel.sysctl.early_kill = case.early_kill
    kernel.mce_bad_pages = 0
    machine.printk.facts.clear()
    kernel.handler_watchers = (noted := Noted(),)
    tries = 1 + len(case.mappers) * 2
    kernel.failslab.times = tries if case.preallocation_fails else 0
    page = build_page(case, kernel)
    for vma in [*(page.anon_vma or ()), *(page.mapping.vmas if page.mapping is not None else ())]:
        vma.task.mce_kill, vma.task.caught = (policies or {}).get(vma.task.name, ("default", False))
    vmas = {vma.task.name: vma for vma in page.ptes}
    before = page.count
    report = MemoryFailure(0, case.pfn, [0.5] * 32, lambda _name, _slot, _k: 0.5)
    mapping = page.mapping
    for _ in kernel.profile.memory_failure(kernel, case.pfn, 18, report, 0):
        pytest.fail("memory_failure() waits for something")
    kinds = {}
    for mapper in case.mappers:
        entry = vmas[mapper.name].ptes.get(page.pgoff) if mapper.name in vmas else None
        kinds[mapper.name] = "none" if entry is None else entry.kind
    seen = pg.names_of(page.flags)
    return {
        "exit": report.exit,
        "row": report.row,
        "message": report.message,
        "outcome": ACTION_NAME[report.outcome],
        "log": tuple((level, text) for _, level, text in machine.printk.render(kernel.profile.formats)),
        "signals": tuple(noted.signals),
        "ptes": kinds,
        "users": page.count - 1 if report.row else 0,
        "bad_pages_delta": kernel.mce_bad_pages,
        "hwpoison": "hwpoison" in seen,
        "ref_kept": page.holders.get("handler", 0) == 1,
        "flags_after": frozenset(seen) & frozenset(FLAGS),
        "as_eio": mapping is not None and mapping.as_eio,
        "in_page_cache": mapping is not None and mapping.pages.get(3) is page,
        "in_swap_cache": "swapcache" in seen,
        "before": before,
    }


def check(machine: Machine, case: PageCase) -> None:
    wanted, found = decide(case), run_case(machine, case)
    found.pop("before")
    for name, value in found.items():
        assert value == getattr(wanted, name), (name, case)


def every_flags() -> list[frozenset[str]]:
    return [
        frozenset(flag for bit, flag in enumerate(FLAGS) if number >> bit & 1)
        for number in range(1 << len(FLAGS))
    ]


ANON_AND_MAPPINGS = [(True, None), *((False, mapping) for mapping in MAPPINGS)]


@pytest.mark.parametrize(("anon", "mapping"), ANON_AND_MAPPINGS)
def test_all_flags(anon: bool, mapping: Mapping | None) -> None:
    machine, compared = make_machine(), 0
    for flags in every_flags():
        where: Mapping | None = "swapper" if "swapcache" in flags else mapping
        for mapped in (False, True):
            for early_kill in (0, 1):
                case = PageCase(
                    flags,
                    anon=anon,
                    mapping=where,
                    mappers=(Mapper("app", 100, pte_dirty=anon),) if mapped else (),
                    early_kill=early_kill,
                )
                if not contradictions(case):
                    check(machine, case)
                    compared += 1
    # A page without a mapping, or in the swapper's, cannot be mapped unless it is anonymous.
    assert compared == (8192 if anon else 8064 if mapping else 7936)


MAPPERS = st.lists(
    st.builds(
        Mapper,
        name=st.sampled_from(["a", "b", "c"]),
        pid=st.just(0),
        mapped=st.booleans(),
        pte_dirty=st.booleans(),
        writable=st.booleans(),
        address_found=st.booleans(),
        vmas=st.integers(1, 2),
    ),
    max_size=3,
    unique_by=lambda mapper: mapper.name,
)
# Made once: hypothesis takes longer to make a strategy than to draw from it.
SOME_FLAGS = st.frozensets(st.sampled_from(FLAGS), max_size=5)
YES_NO, ZERO_ONE = st.booleans(), st.sampled_from([0, 1])
SOME_FAILURES, SOME_PINS = st.integers(0, 6), st.integers(0, 2)
SOME_OWNER, SOME_BUFFERS = st.sampled_from(MAPPINGS), st.sampled_from([None, "idle", "busy"])
SOME_PAGEVEC = st.sampled_from([None, "local", "other"])


@st.composite
def cases(draw: Any) -> PageCase:
    anon = draw(YES_NO)
    flags = draw(SOME_FLAGS)
    mapping = None if anon else draw(SOME_OWNER)
    if "swapcache" in flags:
        mapping = "swapper"
    pids = {"a": 100, "b": 101, "c": 102}
    mappers = [replace(each, pid=pids[each.name]) for each in sorted(draw(MAPPERS), key=lambda m: m.name)]
    if not anon:  # a VMA of a file that does not cover the offset is not collected at all
        mappers = [replace(each, address_found=True) for each in mappers]
    if mapping == "swapper" and not anon:
        mappers = []  # the swapper has no VMAs
    fails = draw(YES_NO)
    mapped = sum(each.mapped for each in mappers)
    return PageCase(
        flags,
        anon=anon,
        mapping=mapping,
        private=draw(SOME_BUFFERS) if mapping in ("file", "blockdev") else None,
        pagevec=draw(SOME_PAGEVEC) if "lru" not in flags else None,
        mappers=tuple(mappers),
        early_kill=draw(ZERO_ONE),
        unmap_failures=draw(SOME_FAILURES) if mapped == 1 else 0,
        preallocation_fails=fails,
        further_allocation_fails=frozenset(pids.values()) if fails else frozenset(),
        pins=draw(SOME_PINS),
    )


@given(cases())
@settings(max_examples=1500)
def test_odd_pages(case: PageCase) -> None:
    if contradictions(case):
        return
    check(MACHINE, case)


MACHINE = make_machine()


def test_one_pin_is_one_user_more_in_every_row() -> None:
    machine, rows = make_machine(), set()
    for names, *_ in VECTORS:
        flags = flagset(names)
        mapping: Mapping | None = "file" if "lru" in flags and "swapbacked" not in flags else None
        case = PageCase(
            flags, anon="swapbacked" in flags, mapping="swapper" if "swapcache" in flags else mapping
        )
        users = [run_case(machine, replace(case, pins=pins))["users"] for pins in (1, 2, 3)]
        assert users == [users[0], users[0] + 1, users[0] + 2], names
        rows.add(find_row(flags).number)
    assert rows == set(range(1, 16))


def test_row_counts_over_all_flag_combinations() -> None:
    """The table as data gives the published counts, by scan, by lookup and by classify()."""
    states = ModelConfig().build(V5.error_states)
    values = np.array([pg.flags_of(flags) for flags in every_flags()], np.uint32)
    rows = classify(states, values)
    counts = np.bincount(rows, minlength=16)[1:]
    assert counts.tolist() == [1024, 512, 256, 128, 64, 16, 16, 8, 8, 4, 4, 2, 2, 2, 2]
    assert rows.tolist() == [scan(states, int(value)).row for value in values]
    assert rows.tolist() == lookup(states)[values].tolist()


@pytest.mark.parametrize(("theirs", "ours"), CONFIGS)
def test_every_row_in_every_configuration(theirs: Config, ours: ModelConfig) -> None:
    states = ours.build(V5.error_states)
    for flags in every_flags():
        real = ours.real_flags(pg.flags_of(flags))
        wanted = find_row(flags, theirs)
        found = scan(states, real)
        number = 4 if not ours.pageflags_extended and found.row == 4 else found.row
        assert (number, found.message, found.handler.__name__) == (
            wanted.number,
            wanted.message,
            wanted.handler,
        )
        assert lookup(states)[real] == found.row


@pytest.mark.parametrize(("names", "all_on", "no_unevictable", "no_mlocked"), VECTORS)
def test_vectors(names: str, all_on: int, no_unevictable: int, no_mlocked: int) -> None:
    for wanted, (_, config) in zip((all_on, no_unevictable, no_mlocked), CONFIGS, strict=False):
        flags = config.real_flags(pg.flags_of(flagset(names)))
        states = config.build(V5.error_states)
        assert scan(states, flags).row == lookup(states)[flags] == wanted
        assert classify(states, np.array([flags], np.uint32))[0] == wanted
