"""Who is signalled, with what, and what becomes of it: every row of the table of signals, by script."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hwsim.record import Replication, SignalRow
from hwsim.spec import Delay, FileSpec, RegionSpec, SigbusSpec, TaskSpec, Touch
from tests.support.worlds import (
    DATA,
    MAPPED,
    NO_TIME,
    P0,
    app,
    happened,
    heap,
    log,
    outcomes,
    play,
    ptes,
    signals,
)

INJECT = (9_000, "inject", {"page": P0})
LOAD = (20_000, "load", {"task": "app.0", "page": heap()})
FAILS = (1_000, "unmap_fails", {"page": P0})
TWICE = (1_000, "unmap_fails", {"page": P0, "tries": 2})
WRITE = (500, "write", {"task": "app.0", "file": "data", "index": 0})
FILE: dict[str, Any] = {"tasks": (MAPPED,), "files": (DATA,)}
EARLY = (100, "SIGBUS", "BUS_MCEERR_AO", "early", "killed")
FORCED = (100, "SIGKILL", "", "forced", "killed")
RETRY = "MCE 0x1234: try_to_unmap retry needed 1"
FORK = (1_000, "fork", {"task": "app.0"})
CHILD_GAP = (2_000, "munmap", {"task": "app.0.0", "region": "heap", "first": 0, "pages": 2})


@pytest.mark.parametrize(
    ("what", "steps", "more", "wanted"),
    [
        ("early, mapped, dirty, unmapped", (INJECT,), {}, [EARLY]),
        ("no address", (FORK, CHILD_GAP, INJECT), {}, [EARLY, (101, "SIGKILL", "", "forced", "killed")]),
        ("unmap fails, dirty", (WRITE, FAILS, INJECT), FILE, [FORCED]),
        ("unmap fails, clean", (FAILS, INJECT), FILE, []),
        ("early, clean", (INJECT,), FILE, []),
        ("late", (INJECT,), {"early_kill": 0}, []),
        ("late, unmap fails", (FAILS, INJECT), {"early_kill": 0}, []),
        ("not mapped", (WRITE, INJECT), {"tasks": (TaskSpec("app"),), "files": (DATA,)}, []),
    ],
)
def test_who_is_signalled(what: str, steps: tuple[Any, ...], more: dict[str, Any], wanted: list[Any]) -> None:
    assert signals(play(*steps, **more)) == wanted


def test_dirty_anonymous_page_that_cannot_be_unmapped() -> None:
    """The dirty bit stays in the entry that could not be unmapped, so PG_dirty is clear and nobody dies."""
    result = play(FAILS, INJECT)
    assert log(result) == [
        *[RETRY] * 5,
        "MCE 0x1234:  page recovery: clean LRURecovered",
        "MCE 0x1234: clean LRU page still referenced by 1 users",
    ]
    assert (signals(result), ptes(result), result.errors[0].end) == ([], {"app.0": "present"}, "reachable")


def test_unmap_fails_five_times_early() -> None:
    result = play(WRITE, FAILS, INJECT, **FILE)
    assert log(result) == [
        *[RETRY] * 5,
        "MCE 0x1234: forcibly killing app:100 because of failure to unmap corrupted page",
        "MCE 0x1234:  page recovery: LRURecovered",
    ]
    assert result.row.kills_forced == 1


def test_unmap_fails_five_times_late() -> None:
    result = play((500, "store", {"task": "app.0", "page": heap()}), FAILS, INJECT, LOAD, early_kill=0)
    assert log(result).count(RETRY) == 5
    assert (signals(result), outcomes(result)) == ([], ["ok", "ok"])
    assert result.errors[0].end == "reachable"


def test_unmap_succeeds_at_the_third_try() -> None:
    assert log(play(TWICE, INJECT))[:3] == [
        RETRY,
        RETRY,
        "MCE 0x1234: Killing app:100 early due to hardware memory corruption",
    ]


def test_no_address_is_said_and_kills() -> None:
    result = play(FORK, CHILD_GAP, INJECT)
    assert log(result)[:3] == [
        "MCE: Unable to find user space address 1234 in app",
        "MCE 0x1234: Killing app:100 early due to hardware memory corruption",
        "MCE 0x1234: forcibly killing app:101 because of failure to unmap corrupted page",
    ]
    assert {"collect:no_address", "signal:SIGKILL no address"} <= set(result.reach)
    assert [row.innocent for row in result.signals] == [0, 1]


def test_kill_list_out_of_memory() -> None:
    """The entry allocated up front is for the first task; the others are skipped."""
    group = app(children=2)
    result = play(INJECT, tasks=(group,), atomic_alloc_fail=1.0)
    assert [row.pid for row in result.signals if row.cause == "early"] == [100]
    assert log(result)[:2] == ["MCE: Out of memory while machine check handling"] * 2


def test_every_sharer_of_the_anon_vma_is_collected() -> None:
    """A child that has made its own copy is killed for its parent's page."""
    store = (2_000, "store", {"task": "app.0.0", "page": heap(task="app.0.0")})
    result = play(FORK, store, INJECT)
    assert outcomes(result)[1] == "copied"
    assert ptes(result) == {"app.0": "poison"}
    assert [(row.pid, row.code, row.innocent) for row in result.signals] == [
        (100, "BUS_MCEERR_AO", 0),
        (101, "BUS_MCEERR_AO", 1),
    ]


def test_every_vma_that_covers_the_file_page_is_collected() -> None:
    region = RegionSpec("map", "file", 8, file="data", populate=False)
    load = (600, "load", {"task": "app.0", "page": {"file": "data", "index": 0}})
    tasks = (app(region), TaskSpec("other", regions=(region,)))
    result = play(WRITE, load, INJECT, tasks=tasks, files=(DATA,))
    assert [(row.task, row.innocent) for row in result.signals] == [("app.0", 0), ("other.0", 1)]


# -- what the task does with it ------------------------------------------------------------------------


def with_sigbus(*steps: Any, on_ao: str = "default", on_ar: str = "default", **more: Any) -> Any:
    return play(*steps, tasks=(app(sigbus=SigbusSpec(on_ao, on_ar)),), **more)


def test_ignored() -> None:
    result = with_sigbus(INJECT, on_ao="ignored")
    assert signals(result) == [(*EARLY[:4], "ignored")]
    assert result.row.kills == 0


def test_blocked_stays_pending_until_it_is_unblocked() -> None:
    mask, unmask = (1_000, "mask", {"task": "app.0"}), (50_000, "unmask", {"task": "app.0"})
    assert signals(play(mask, INJECT)) == [(*EARLY[:4], "pending")]
    later = play(mask, INJECT, unmask)
    assert signals(later) == [EARLY]
    assert later.signals[0].done_ns == 50_000


def test_a_second_signal_merges_into_the_pending_one() -> None:
    second = (10_000, "inject", {"page": heap(1)})
    result = play((1_000, "mask", {"task": "app.0"}), INJECT, second)
    assert [row.result for row in result.signals] == ["pending", "merged"]


def test_a_task_dies_of_the_signal_that_it_had_blocked() -> None:
    """legacy_queue(): one SIGBUS is pending, so the touch only unblocks it and resets the disposition."""
    result = play((1_000, "mask", {"task": "app.0"}), INJECT, LOAD)
    assert [(row.code, row.cause, row.result, row.done_ns) for row in result.signals] == [
        ("BUS_MCEERR_AO", "early", "killed", 20_000),
        ("BUS_MCEERR_AR", "late", "merged", None),
    ]
    assert (result.row.kills_early, result.row.kills_late) == (1, 0)
    assert happened(result)[-5:] == [
        (20_000, "load VM_FAULT_HWPOISON"),
        (20_000, "signal"),
        (20_000, "disposition_reset"),
        (20_000, "merged"),
        (20_000, "killed"),
    ]


@pytest.mark.parametrize("block", [True, False])
def test_forced_signal_while_blocked_or_ignored(block: bool) -> None:
    steps = [(1_000, "mask", {"task": "app.0"})] if block else []
    result = with_sigbus(*steps, INJECT, LOAD, on_ao="default" if block else "ignored", early_kill=0)
    assert signals(result) == [(100, "SIGBUS", "BUS_MCEERR_AR", "late", "killed")]
    assert "disposition_reset" in [name for _, name in happened(result)]


def test_handler_that_remaps_lives_and_reads_zeroes() -> None:
    result = with_sigbus(INJECT, LOAD, on_ao="remap")
    assert signals(result) == [(*EARLY[:4], "handled")]
    assert outcomes(result) == ["zeroes"]
    assert result.row.kills == 0


def test_handler_that_exits() -> None:
    result = with_sigbus(INJECT, on_ao="exit")
    assert signals(result) == [(*EARLY[:4], "handled")]
    assert happened(result)[-1] == (9_000, "exit")


def test_handler_that_returns_loops() -> None:
    result = with_sigbus(INJECT, LOAD, on_ar="return", early_kill=0)
    assert [row.result for row in result.signals] == ["handled", "handled", "looping"]


# -- SIGBUS is blocked while its handler runs ----------------------------------------------------------

SLOW: dict[str, Any] = {"times": replace(NO_TIME, sigbus_handler=Delay(mean_ns=5_000))}


def ends(result: Replication) -> list[tuple[str, str, int | None]]:
    """(code, result, done_ns) of every signal."""
    return [(row.code, row.result, row.done_ns) for row in result.signals]


def test_handler_that_touches_the_page_dies() -> None:
    result = with_sigbus(INJECT, on_ao="touch", **SLOW)
    assert ends(result) == [("BUS_MCEERR_AO", "lost", None), ("BUS_MCEERR_AR", "killed", 14_000)]
    assert [row.cause for row in result.signals] == ["early", "late"]
    assert (result.row.kills, result.row.kills_late) == (1, 1)
    assert happened(result)[-5:] == [
        (9_000, "handler"),
        (14_000, "touch"),
        (14_000, "signal"),
        (14_000, "disposition_reset"),
        (14_000, "killed"),
    ]
    assert log(result)[-1] == "MCE: Killing app:100 due to hardware memory corruption fault at 400000"


def test_handler_of_a_touch_that_touches_again_dies() -> None:
    result = with_sigbus(INJECT, LOAD, on_ar="touch", early_kill=0, **SLOW)
    assert ends(result) == [("BUS_MCEERR_AR", "lost", None), ("BUS_MCEERR_AR", "killed", 25_000)]


def test_a_load_of_the_script_while_the_handler_runs_is_its_own() -> None:
    load = (12_000, "load", {"task": "app.0", "page": heap()})
    result = with_sigbus(INJECT, load, on_ao="remap", on_ar="remap", **SLOW)
    assert ends(result) == [("BUS_MCEERR_AO", "lost", None), ("BUS_MCEERR_AR", "killed", 12_000)]


def test_a_second_error_waits_for_the_handler_and_a_third_merges() -> None:
    steps = INJECT, (10_000, "inject", {"page": heap(1)}), (11_000, "inject", {"page": heap(2)})
    result = with_sigbus(*steps, on_ao="remap", **SLOW)
    code = "BUS_MCEERR_AO"
    assert ends(result) == [(code, "handled", 14_000), (code, "handled", 19_000), (code, "merged", None)]
    assert [name for _, name in happened(result) if name in ("pending", "merged")] == ["pending", "merged"]


def test_the_access_is_repeated_after_what_waited() -> None:
    """The handler of a touch returns: first the error that came meanwhile is told, then it touches again."""
    other = (22_000, "inject", {"page": heap(1)})
    early = (1_000, "sysctl", {"name": "vm.memory_failure_early_kill", "value": 0})
    on = (21_000, "sysctl", {"name": "vm.memory_failure_early_kill", "value": 1})
    result = with_sigbus(early, INJECT, LOAD, on, other, on_ao="remap", on_ar="return", **SLOW)
    assert [(row.code, row.time_ns, row.result) for row in sorted(result.signals, key=_sent)] == [
        ("BUS_MCEERR_AR", 20_000, "handled"),
        ("BUS_MCEERR_AO", 22_000, "handled"),
        ("BUS_MCEERR_AR", 30_000, "handled"),
        ("BUS_MCEERR_AR", 35_000, "looping"),
    ]


def _sent(row: SignalRow) -> int:
    return row.time_ns


def test_by_chance_a_task_in_its_handler_touches_nothing_else() -> None:
    busy = RegionSpec("heap", "anon", 8, touch=(Touch(1.0, 1e6, 0.0),))
    task = app(busy, sigbus=SigbusSpec("return", "exit"))
    result = play(INJECT, tasks=(task,), **SLOW)
    first, second = result.signals
    assert (first.result, first.done_ns) == ("handled", 14_000)
    assert (second.code, second.result, second.time_ns) == ("BUS_MCEERR_AR", "handled", 14_000)


def test_child_dies_of_inherited_poison() -> None:
    child = (15_000, "load", {"task": "app.0.0", "page": heap(task="app.0.0")})
    result = play(INJECT, (10_000, "fork", {"task": "app.0"}), child, LOAD, early_kill=0)
    assert "fork:poison_copied" in result.reach
    assert [(row.pid, row.code, row.cause, row.result) for row in result.signals] == [
        (101, "BUS_MCEERR_AR", "late", "killed"),
        (100, "BUS_MCEERR_AR", "late", "killed"),
    ]


# -- shared memory that was in the swap cache, dirty: shmem_getpage() has nothing to give ----------------


SEGMENT = RegionSpec("shm", "shm", 8, shared=True)
BUSY = replace(SEGMENT, touch=(Touch(1.0, 1e5, 0.0),))  # a load every 10 us
SHM_OUT = (1_000, "swap_out", {"page": P0})
LOAD_SHM = (20_000, "load", {"task": "app.0", "page": heap(region="shm")})


def test_every_task_that_maps_the_segment_dies_of_its_next_touch() -> None:
    result = play(SHM_OUT, INJECT, tasks=(app(BUSY, count=2),))
    assert log(result) == [
        "MCE 0x1234:  page recovery: swapcacheDelayed",
        "MCE 0x1234: swapcache page still referenced by 1 users",
    ]
    assert sorted(signals(result)) == [(pid, "SIGBUS", "BUS_ADRERR", "late", "killed") for pid in (100, 101)]
    assert (result.row.kills_late, result.errors[0].killed, result.errors[0].end) == (2, 2, "isolated")
    assert result.reach["signal:ADRERR"] == 2


def test_it_is_the_same_under_both_policies() -> None:
    """Nobody is told early: the page was not mapped."""
    early, late = (play(SHM_OUT, INJECT, tasks=(app(BUSY, count=2),), early_kill=each) for each in (1, 0))
    assert early.signals == late.signals
    assert len(early.signals) == 2


def test_a_task_that_starts_again_dies_again_as_long_as_the_segment_lives() -> None:
    result = play(SHM_OUT, INJECT, tasks=(app(BUSY, count=2, restart_ns=100),))
    assert {(row.task, row.code) for row in result.signals} == {
        ("app.0", "BUS_ADRERR"),
        ("app.1", "BUS_ADRERR"),
    }
    assert len({row.pid for row in result.signals}) == len(result.signals) > 20
    alone = play(SHM_OUT, INJECT, tasks=(app(BUSY, restart_ns=100),))
    assert len(alone.signals) == 1, "its segment has gone with it"


def test_a_forked_child_meets_it_too() -> None:
    load = (20_000, "load", {"task": "app.0.0", "page": heap(0, "app.0.0", "shm")})
    result = play(SHM_OUT, INJECT, (10_000, "fork", {"task": "app.0"}), load, tasks=(app(SEGMENT),))
    assert [(row.task, *ends(result)[0]) for row in result.signals] == [
        ("app.0.0", "BUS_ADRERR", "killed", 20_000)
    ]


def test_a_handler_can_catch_it() -> None:
    result = play(SHM_OUT, INJECT, LOAD_SHM, tasks=(app(SEGMENT, sigbus=SigbusSpec("default", "exit")),))
    assert ends(result) == [("BUS_ADRERR", "handled", 20_000)]
    assert (outcomes(result)[-1], result.row.kills) == ("BUS_ADRERR", 0)
    loops = play(SHM_OUT, INJECT, LOAD_SHM, tasks=(app(SEGMENT, sigbus=SigbusSpec("default", "return")),))
    assert [row.result for row in loops.signals] == ["handled", "handled", "looping"]
    fresh = play(SHM_OUT, INJECT, tasks=(app(BUSY, sigbus=SigbusSpec("default", "remap")),))
    assert [row.result for row in fresh.signals] == ["handled"]


def test_the_load_of_a_script_is_in_the_record() -> None:
    result = play(SHM_OUT, INJECT, LOAD_SHM, tasks=(app(SEGMENT),))
    assert [(row.code, row.cause, row.result, row.done_ns) for row in result.signals] == [
        ("BUS_ADRERR", "late", "killed", 20_000)
    ]
    assert [event for time, event in happened(result) if time == 20_000] == [
        "load BUS_ADRERR",
        "signal",
        "killed",
    ]


def test_a_system_call_that_copies_from_it_answers_efault() -> None:
    write = (20_000, "write", {"task": "app.0", "file": "data", "index": 3, "buffer": heap(region="shm")})
    result = play(SHM_OUT, INJECT, write, tasks=(app(SEGMENT),), files=(DATA,))
    assert outcomes(result) == ["swapped out", "EFAULT"]
    assert result.signals == []


def test_a_file_in_memory_answers_eio() -> None:
    data = FileSpec("data", 8, filesystem="tmpfs")
    steps = (500, "write", {"task": "app.0", "file": "data", "index": 0}), SHM_OUT, INJECT
    asks = tuple(
        (at, verb, {"task": "app.0", "file": "data", "index": 0})
        for at, verb in ((20_000, "read"), (21_000, "write"))
    )
    result = play(*steps, *asks, tasks=(TaskSpec("app"),), files=(data,))
    assert outcomes(result)[-2:] == ["EIO", "EIO"]
    assert [row.reads_find for row in result.lost_writes] == ["EIO"]


def test_kernel_that_touches_poison_for_a_task_answers_efault() -> None:
    write = (20_000, "write", {"task": "app.0", "file": "data", "index": 3, "buffer": heap()})
    result = play(INJECT, write, files=(DATA,), early_kill=0)
    assert outcomes(result) == ["EFAULT"]
    assert (signals(result), result.reach["fault:EFAULT"]) == ([], 1)
