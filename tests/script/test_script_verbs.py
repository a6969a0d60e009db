"""What verbs do and answer: errors, address spaces, kernel memory, settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hwsim.machine import Machine
from hwsim.memory.layout import MemoryLayout
from hwsim.script.step import ScriptError
from hwsim.spec import Delay, KernelPoolSpec, RegionSpec, ScrubSpec, SigbusSpec
from tests.support.worlds import (
    BARE,
    DATA,
    INJECT,
    NO_TIME,
    P0,
    PFN,
    app,
    happened,
    line,
    log,
    on_file,
    outcomes,
    play,
    touch,
    world,
)

# -- lines and poison --------------------------------------------------------------------------------


def test_a_bad_line_is_consumed_by_a_load() -> None:
    result = play(line(1_000), touch(2_000, "load"))
    assert happened(result)[-3:] == [(2_000, "consumed"), (2_000, "found"), (2_000, "panic")]
    assert (result.row.panics, result.row.end_ns) == (1, 2_000)
    assert (result.errors[0].found, result.errors[0].line, result.errors[0].end) == ("task_load", 7, "panic")


def test_a_partial_store_reads_the_line_too() -> None:
    assert play(line(1_000), touch(2_000, "store")).row.panics == 1


def test_a_store_of_the_whole_line_heals_what_is_transient() -> None:
    healed = play(line(1_000), touch(2_000, "store", full_line=True), touch(3_000, "load"))
    assert (healed.errors[0].end, healed.row.panics) == ("healed", 0)
    stays = play(line(1_000, permanent=True), touch(2_000, "store", full_line=True), touch(3_000, "load"))
    assert (stays.errors[0].end, stays.row.panics) == ("panic", 1)


def test_poison_without_a_bad_line_can_be_read_where_it_is_still_mapped() -> None:
    """A software injector sets PG_hwpoison and nothing else."""
    result = play((1_000, "unmap_fails", {"page": P0}), INJECT, touch(10_000, "load"))
    assert (outcomes(result), result.row.panics) == (["ok"], 0)
    assert (result.errors[0].found, result.errors[0].context) == ("injected", "injector")


def test_a_bad_line_that_cannot_be_unmapped_is_consumed_later() -> None:
    result = play(
        (500, "unmap_fails", {"page": P0}), line(1_000), (9_000, "scrub", {"page": P0}), touch(10_000, "load")
    )
    assert (outcomes(result), result.row.panics) == (["found", "consumed"], 1)


def test_scrub_finds_a_bad_line_and_nothing_else() -> None:
    found = play(line(1_000), (2_000, "scrub", {"page": P0}))
    assert (found.errors[0].found, found.errors[0].row, found.errors[0].context != "injector") == (
        "scrub",
        12,
        True,
    )
    assert outcomes(play((2_000, "scrub", {"page": P0}))) == ["no bad line"]
    assert outcomes(play(INJECT, (10_000, "scrub", {"page": P0}))) == ["no bad line"]


def test_scrub_reports_as_the_platform_does_and_mce_always() -> None:
    logged = play(line(1_000), (2_000, "scrub", {"page": P0}), scrub=ScrubSpec(None, "UCNA"))
    assert (logged.errors[0].logged_only, logged.errors[0].poisoned_ns) == (1, None)
    assert log(logged) == ["Machine check events logged"]
    checked = play(line(1_000), (2_000, "mce", {"page": P0}), scrub=ScrubSpec(None, "UCNA"))
    assert (checked.errors[0].found, checked.errors[0].poisoned_ns) == ("scrub", 2_000)


def test_mce_of_a_good_page_makes_it_bad() -> None:
    result = play((1_000, "mce", {"page": P0}))
    assert (result.errors[0].onset_ns, result.errors[0].row, result.row.kills_early) == (1_000, 12, 1)


def test_madvise_hwpoison_goes_page_by_page_with_trap_number_zero() -> None:
    advice = {"task": "app.0", "region": "heap", "first": 2, "pages": 2, "advice": "hwpoison"}
    result = play((1_000, "madvise", advice))
    assert [text for _, _, text in result.log if text.startswith("Injecting")] == [
        "Injecting memory failure for page 1236 at 402000",
        "Injecting memory failure for page 1237 at 403000",
    ]
    assert [row.pfn for row in result.errors] == [PFN + 2, PFN + 3]
    assert [row.row for row in result.errors] == [12, 12]
    started = [text.split()[0] for _, _, text in result.log]
    assert started == ["Injecting", "MCE", "MCE", "Injecting", "MCE", "MCE"]  # the first page is done by then


def test_madvise_does_not_cut_the_mapping() -> None:
    one = {"task": "app.0", "region": "heap", "first": 3, "pages": 1}
    poisoned = play((1_000, "madvise", {**one, "advice": "hwpoison"}))
    dropped = play((1_000, "madvise", {**one, "advice": "dontneed"}), INJECT)
    for result in (poisoned, dropped):  # one VMA: one signal, and nobody whose address is not found
        assert [(row.code, row.result) for row in result.signals] == [("BUS_MCEERR_AO", "killed")]
        assert "collect:no_address" not in result.reach
    cut = play((1_000, "munmap", one), INJECT)
    assert cut.reach["collect:no_address"] == 1


def test_madvise_takes_its_error_numbers_at_once() -> None:
    three = ranged(1_000, "madvise", 0, 3, advice="hwpoison")
    read = play(line(500), three, (9_000, "inject", {"page": {"free": 5}}))
    assert (read.row.panics, [row.error for row in read.errors]) == (0, [0, 2, 3, 4])  # 1 is 0 found
    times = replace(NO_TIME, page_handler=Delay("constant", mean_ns=10))
    dead = play(three, (9_000, "inject", {"page": {"free": 5}}), times=times)
    assert outcomes(dead) == ["EFAULT"]
    assert [(row.error, row.kind) for row in dead.errors] == [(0, "anon"), (3, "free")]


def test_madvise_of_a_gap_is_impossible() -> None:
    gap = ranged(500, "munmap", 3, 1)
    with pytest.raises(ScriptError, match="does not map all of pages 2 to 4"):
        play(gap, ranged(1_000, "madvise", 2, 3, advice="hwpoison"))


def test_device_reads_a_bad_line_when_the_page_is_written() -> None:
    result = play(on_file(500, "write", index=0), line(1_000), on_file(2_000, "fsync"), **BARE)
    assert (result.errors[0].found, result.errors[0].logged_only) == ("device_read", 1)
    fatal = play(
        on_file(500, "write", index=0), line(1_000), on_file(2_000, "fsync"), **BARE, device_read="fatal"
    )
    assert (fatal.row.panics, fatal.row.end_ns) == (1, 2_000)


def test_read_consumes_and_write_heals() -> None:
    assert play(line(1_000), on_file(2_000, "read", index=0), **BARE).row.panics == 1
    healed = play(line(1_000), on_file(2_000, "write", index=0), on_file(3_000, "read", index=0), **BARE)
    assert (healed.row.panics, healed.errors[0].end) == (0, "healed")


# -- address spaces -----------------------------------------------------------------------------------


def ranged(at: int, verb: str, first: int, pages: int, **more: Any) -> tuple[int, str, dict[str, Any]]:
    return at, verb, {"task": "app.0", "region": "heap", "first": first, "pages": pages, **more}


def test_munmap_frees_and_the_rest_stays() -> None:
    result = play(
        ranged(1_000, "munmap", 2, 3), touch(2_000, "load", 5), (3_000, "inject", {"page": {"pfn": PFN + 2}})
    )
    assert outcomes(result) == ["ok"]
    assert result.errors[0].message == "free or high order kernel"
    with pytest.raises(ScriptError, match="does not map page 3"):
        play(ranged(1_000, "munmap", 2, 3), touch(2_000, "load", 3))


def test_munmap_drops_a_poison_entry() -> None:
    result = play(INJECT, ranged(10_000, "munmap", 0, 1), touch(11_000, "load", 1), early_kill=0)
    assert (outcomes(result), result.row.kills) == (["ok"], 0)


def test_mremap_takes_the_page_along() -> None:
    moved = {"region": "app.0/new", "index": 1}
    result = play(
        ranged(1_000, "mremap", 2, 3, to="new"),
        (9_000, "inject", {"page": moved}),
        (10_000, "load", {"task": "app.0", "page": moved}),
        early_kill=0,
    )
    assert (result.errors[0].pfn, outcomes(result)) == (PFN + 3, ["VM_FAULT_HWPOISON"])


def test_dontneed_gives_zeroes() -> None:
    result = play(
        INJECT, ranged(10_000, "madvise", 0, 2, advice="dontneed"), touch(11_000, "load"), early_kill=0
    )
    assert (outcomes(result), result.row.kills) == (["zeroes"], 0)


def test_store_without_permission_kills() -> None:
    result = play(
        ranged(1_000, "mprotect", 0, 4, write=False), touch(2_000, "store", 5), touch(3_000, "store", 1)
    )
    assert outcomes(result) == ["ok", "SIGSEGV"]
    assert happened(result)[-1] == (3_000, "killed")


def test_mlock_and_munlock() -> None:
    lock = (1_000, "mlock", {"task": "app.0", "region": "heap"})
    unlock = (2_000, "munlock", {"task": "app.0", "region": "heap"})
    assert play(lock, INJECT).errors[0].row == 8
    assert play(lock, unlock, INJECT).errors[0].row == 12
    look = (500, "pin", {"page": P0})
    assert play(look, lock, INJECT).errors[0].row == 8
    assert play(look, lock, unlock, INJECT).errors[0].row == 12


@pytest.mark.parametrize(
    ("kind", "more", "row"),
    [("anon", {}, 12), ("shm", {}, 13), ("file", {"file": "data"}, 13), ("hugetlb", {}, 4)],
)
def test_mmap(kind: str, more: dict[str, Any], row: int) -> None:
    pages = {} if kind == "file" else {"pages": 512 if kind == "hugetlb" else 4}
    new = {"region": "app.0/new", "index": 0}
    result = play(
        (1_000, "mmap", {"task": "app.0", "name": "new", "kind": kind, **pages, **more}),
        (2_000, "load", {"task": "app.0", "page": new}),
        (9_000, "inject", {"page": new}),
        files=(DATA,),
    )
    assert (result.errors[0].row, result.errors[0].mappers) == (row, 1)


def test_a_mapping_has_a_number_of_its_own() -> None:
    gone = ranged(2_000, "munmap", 0, 8)

    def anon(at: int, name: str) -> tuple[int, str, dict[str, Any]]:
        return at, "mmap", {"task": "app.0", "kind": "anon", "name": name, "pages": 1}

    churn: list[Any] = []
    for at in range(10_000, 10_200, 2):
        drop = {"task": "app.0", "region": "x", "first": 0, "pages": 1}
        churn += [anon(at, "x"), (at + 1, "munmap", drop)]
    steps = (anon(1_000, "a"), gone, anon(3_000, "b"), *churn, anon(20_000, "c"))
    machine = Machine(spec := world(*steps, tasks=(app(count=2),)), 0, MemoryLayout(spec), True)
    machine.run()
    tasks = [member.task for member in machine.processes.groups[0].members if member.task is not None]
    numbers = [vma.number for task in tasks for vma in task.vmas.values()]
    assert len(numbers) == 4
    assert len(set(numbers)) == 4


def test_a_hole_of_a_segment_is_clean_until_it_is_written() -> None:
    segment = RegionSpec("seg", "shm", 8, shared=True, populate=False)
    page = {"region": "app.0/seg", "index": 0}

    def after(*verbs: str) -> Any:
        steps = [(1_000 + i, verb, {"task": "app.0", "page": page}) for i, verb in enumerate(verbs)]
        return play(*steps, (9_000, "inject", {"page": page}), tasks=(app(segment),))

    read, written = after("load"), after("load", "store")
    assert (read.errors[0].row, read.errors[0].data_lost_bytes, read.row.kills) == (13, 0, 0)
    assert (written.errors[0].row, written.errors[0].data_lost_bytes, written.row.kills) == (12, 4096, 1)
    assert "pte:file_clean->poison" in read.reach


def test_exit_and_fork() -> None:
    result = play(
        (1_000, "fork", {"task": "app.0"}),
        (2_000, "exit", {"task": "app.0"}),
        INJECT,
    )
    assert outcomes(result)[0] == 101
    assert [(row.task, row.pid, row.result) for row in result.signals] == [("app.0.0", 101, "killed")]


# -- kernel memory and the allocator -----------------------------------------------------------------


def alloc(at: int, name: str, order: int = 0, kind: str = "slab") -> tuple[int, str, dict[str, Any]]:
    return at, "alloc", {"kind": kind, "order": order, "name": name}


def first_free(result: Any) -> list[int]:
    return [facts["pfn"] for _, event, facts in result.events if event == "script" and "pfn" in facts]


def test_the_gatekeeper_drops_a_page_or_the_whole_block() -> None:
    single = play((1_000, "inject", {"page": {"free": 0}}), alloc(2_000, "one"))
    assert first_free(single) == [PFN + 9]
    assert (single.errors[0].capacity_lost_bytes, single.reach["allocator:page_dropped"]) == (4096, 1)
    block = play((1_000, "inject", {"page": {"free": 5}}), alloc(2_000, "eight", 3, "high_order"))
    assert first_free(block) == [0x1248]
    assert (block.errors[0].capacity_lost_bytes, block.reach["allocator:block_dropped"]) == (8 * 4096, 1)


def test_poisoned_kernel_memory_is_isolated_when_it_is_freed() -> None:
    slab = {"page": {"kernel": "one", "index": 0}}
    result = play(alloc(1_000, "one"), (2_000, "inject", slab), (3_000, "free", {"name": "one"}))
    assert outcomes(result) == ["allocated", "isolated"]
    assert (result.errors[0].outcome, result.errors[0].end) == ("Delayed", "isolated")
    assert outcomes(play(alloc(1_000, "one"), (3_000, "free", {"name": "one"}), alloc(4_000, "one"))) == [
        "allocated",
        "freed",
        "allocated",
    ]


@pytest.mark.parametrize("permanent", [False, True])
def test_a_block_is_cleared_which_heals_a_transient_line_and_keeps_a_permanent_one(permanent: bool) -> None:
    bad = (1_000, "inject", {"page": {"free": 0}, "how": "line", "permanent": permanent})
    result = play(bad, alloc(2_000, "one"), (3_000, "scrub", {"page": {"kernel": "one", "index": 0}}))
    assert outcomes(result) == ["allocated", "found" if permanent else "no bad line"]
    wanted = ("slab", "kernel:one", "kernel slab") if permanent else ("free", "free", "")
    assert (result.errors[0].kind, result.errors[0].region, result.errors[0].message) == wanted
    assert (result.errors[0].end == "healed") is not permanent


def test_free_page() -> None:
    pools = (KernelPoolSpec("reserved", PFN), KernelPoolSpec("slab", 8))
    page = {"page": {"kernel": "slab", "index": 0}}
    freed = play((1_000, "free_page", page), INJECT, tasks=(), pools=pools)
    assert (outcomes(freed), freed.errors[0].message) == (["freed"], "free or high order kernel")
    late = play(INJECT, (10_000, "free_page", page), tasks=(), pools=pools)
    assert (outcomes(late), late.errors[0].end) == (["isolated"], "isolated")


# -- settings and the machine ---------------------------------------------------------------------------


def test_sysctl_and_prctl() -> None:
    name = "vm.memory_failure_early_kill"
    result = play(
        (1_000, "sysctl", {"name": name, "value": 2}),
        (2_000, "sysctl", {"name": name, "value": 0}),
        (2_000, "sysctl", {"name": "vm.dirty_expire_centisecs", "value": 100}),
        (3_000, "prctl", {"task": "app.0", "option": "PR_MCE_KILL", "value": 1}),
        INJECT,
    )
    assert outcomes(result) == ["EINVAL", 0, 0, "EINVAL"]
    assert result.row.kills_early == 0


def test_steps_are_skipped_while_the_machine_is_down() -> None:
    result = play(
        (1_000, "reboot"),
        (2_000, "inject", {"page": P0}),
        (6_000, "inject", {"page": P0}),
        reboot_ns=5_000,
    )
    assert happened(result)[:3] == [(1_000, "reboot"), (2_000, "inject skipped"), (6_000, "reboot")]
    assert (len(result.errors), result.errors[0].error, result.row.downtime_ns) == (1, 1, 5_000)
    assert (result.signals[0].task, result.signals[0].pid) == ("app.0", 101)


def test_a_reboot_forgets_the_poison() -> None:
    result = play(INJECT, (10_000, "reboot"), reboot_ns=5_000)
    assert (result.errors[0].end, result.row.poisoned_pages) == ("rebooted", 1)


def test_a_step_stands_in_the_heap_and_nothing_else_does() -> None:
    spec = world(INJECT, touch(10_000, "load"))
    assert Machine(spec, 0, MemoryLayout(spec)).engine.pending == 2


def test_same_script_same_logs() -> None:
    steps = (INJECT, touch(10_000, "load"))
    first, second = (play(*steps, tasks=(app(sigbus=SigbusSpec(on_ao="remap")),)) for _ in range(2))
    assert first == second


def test_buffers_keep_a_file_page_from_being_released() -> None:
    busy = play((1_000, "buffers", {"page": P0, "state": "busy"}), INJECT, **BARE)
    assert log(busy)[0] == "<3>MCE 0x1234: failed to release buffers"
    idle = play((1_000, "buffers", {"page": P0, "state": "idle"}), INJECT, **BARE)
    none = play(
        (1_000, "buffers", {"page": P0, "state": "idle"}),
        (2_000, "buffers", {"page": P0, "state": "none"}),
        INJECT,
        **BARE,
    )
    assert [each.errors[0].outcome for each in (busy, idle, none)] == ["Failed", "Recovered", "Recovered"]


def test_a_pin_is_one_user_more_and_can_be_dropped() -> None:
    pin, unpin = (1_000, "pin", {"page": P0}), (2_000, "unpin", {"page": P0})
    assert log(play(pin, INJECT))[-1] == "MCE 0x1234: LRU page still referenced by 1 users"
    assert log(play(pin, unpin, INJECT))[-1] == "MCE 0x1234: dirty  page recovery: LRURecovered"


def test_region_that_is_not_populated_appears_with_the_first_touch() -> None:
    lazy = (app(RegionSpec("heap", "anon", 8, populate=False)),)
    assert play(INJECT, tasks=lazy).errors[0].kind == "free"
    result = play(touch(1_000, "load"), touch(2_000, "load"), INJECT, tasks=lazy)
    assert (outcomes(result), result.errors[0].row) == (["zeroes", "ok"], 12)


def test_an_unmapped_page_of_a_segment_is_not_mapped_again_by_the_look_that_follows() -> None:
    """The page has a bad line, so that munmap() draws its race anew; found by the stateful test."""
    segment = RegionSpec("segment", "shm", 8, shared=True)
    bad = (1_000, "inject", {"page": P0, "how": "line", "line": 3})
    gone = (2_000, "munmap", {"task": "app.0", "region": "segment", "first": 0, "pages": 1})
    found = (3_000, "scrub", {"page": P0})
    (row,) = play(bad, gone, found, tasks=(app(segment),), early_kill=1).errors
    assert (row.mappers, row.killed, row.outcome) == (0, 0, "Recovered")
