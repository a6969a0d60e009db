"""The handler as it was merged, 2.6.32: what differs from v5, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from hwsim.explaining.explain import explain
from hwsim.explaining.side_by_side import side_by_side
from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import scan
from hwsim.kernel.versions import KERNELS, v2_6_32, v5
from hwsim.machine import Machine, MemoryLayout
from hwsim.spec import FileSpec, ScrubSpec, TaskSpec
from tests.support.worlds import (
    BARE,
    HEAP,
    INJECT,
    MAPPED,
    P0,
    line,
    log,
    on_file,
    outcomes,
    play,
    signals,
    touch,
    world,
)

K32: dict[str, Any] = {"kernel": "2.6.32"}


def test_it_kills_late_by_default() -> None:
    assert signals(play(INJECT, **K32)) == []
    assert log(play(INJECT, **K32)) == ["MCE 0x1234: dirty LRU page recovery: Recovered"]
    early = play(INJECT, **K32, early_kill=1)
    assert log(early) == [
        "MCE 0x1234: Killing app:100 early due to hardware memory corruption",
        "MCE 0x1234: dirty LRU page recovery: Recovered",
    ]


def test_each_kernel_lists_the_messages_of_its_own() -> None:
    messages = {line.what: line.values for line in side_by_side("v5", "2.6.32") if line.part == "messages"}
    assert {key: [bool(text) for text in texts] for key, texts in messages.items() if not all(texts)} == {
        "metadata": [True, False],
        "not_invalidated": [False, True],
        "failed_to_unmap": [False, True],
    }
    assert messages["result"] == (
        "<3>MCE %#x: %s page recovery: %s%s",
        "<3>MCE %#x: %s%s page recovery: %s",
    )
    assert {key for key, texts in messages.items() if len(set(texts)) == 2} == {
        "result",
        "buffers",
        "metadata",
        "not_invalidated",
        "failed_to_unmap",
    }
    assert set(messages).isdisjoint({"result_as_printed", "result_as_meant", "retry_err", "retry_debug"})


@pytest.mark.parametrize(
    ("kernel", "order", "wanted"),
    [
        ("v5", "as_meant", "MCE 0x1234: clean LRU page recovery: Recovered"),
        ("2.6.32", "as_printed", "MCE 0x1234:  page recovery: clean LRURecovered"),
    ],
)
def test_a_switch_has_it_print_what_the_other_does(kernel: str, order: str, wanted: str) -> None:
    switches = (("result_order", order), ("unmap_retry_level", "err"), ("unmap_retry_chance", 1.0))
    lines = play(INJECT, kernel=kernel, early_kill=0, switches=switches).log
    assert [level for _, level, text in lines if "retry needed" in text] == [3] * 5
    assert wanted in [text for _, _, text in lines]


@pytest.mark.parametrize(
    ("sysctl", "asked", "told"),
    [(0, "early", 1), (0, "late", 0), (0, "default", 0), (1, "early", 1), (1, "late", 0), (1, "default", 1)],
)
def test_each_task_may_ask_otherwise(sysctl: int, asked: str, told: int) -> None:
    ask = (100, "prctl", {"task": "app.0", "option": "PR_MCE_KILL", "value": asked})
    result = play(ask, INJECT, **K32, early_kill=sysctl)
    assert len(result.signals) == told
    declared = play(
        INJECT, **K32, early_kill=sysctl, tasks=(TaskSpec("app", regions=(HEAP,), mce_kill=asked),)
    )
    assert len(declared.signals) == told


def test_prctl_answers() -> None:
    get = {"task": "app.0", "option": "PR_MCE_KILL_GET"}
    steps = (
        (1, "prctl", get),
        (2, "prctl", {"task": "app.0", "option": "PR_MCE_KILL", "value": "early"}),
        (3, "prctl", get),
        (4, "prctl", {"task": "app.0", "option": "PR_MCE_KILL", "value": "soon"}),
    )
    assert outcomes(play(*steps, **K32)) == [2, 0, 1, "EINVAL"]


@pytest.mark.parametrize("flags", ["slab", "reserved", "head", "tail", "swapbacked,dirty", "dirty", ""])
def test_what_is_on_no_lru_list_is_left_alone(flags: str) -> None:
    answer = explain(flags, kernel="2.6.32")
    assert (answer.exit, answer.outcome, answer.message) == ("non_lru", "Ignored", "non LRU")
    assert answer.counted_in_bad_pages
    assert answer.log == (
        (3, f"MCE 0x1234: {'dirty ' if 'dirty' in flags else ''}non LRU page recovery: Ignored"),
    )


def test_a_page_in_any_pagevec_is_drained() -> None:
    pagevec = (500, "pagevec", {"page": P0, "cpu": 3})
    (row,) = play(pagevec, INJECT, **K32, **BARE).errors
    assert (row.message, row.outcome) == ("clean LRU", "Recovered")
    (v5,) = play(pagevec, INJECT, **BARE).errors
    assert (v5.message, v5.outcome) == ("unknown page state", "Failed")


def test_every_combination_of_flags_is_decided_by_the_lru_bit() -> None:
    """2^11 combinations: on the LRU the rows 6 to 13 decide, off it none; v5's table agrees on the LRU."""
    names = [name for name, bit in pg.NAMES.items() if bit <= pg.SWAPBACKED]
    assert len(names) == 11
    rows = set()
    for bits in range(1 << len(names)):
        flags = pg.flags_of(name for n, name in enumerate(names) if bits >> n & 1)
        assert scan(v2_6_32.ERROR_STATES, flags).row == scan(v5.ERROR_STATES, flags).row
        if flags & pg.LRU:
            rows.add(scan(v2_6_32.ERROR_STATES, flags).row)
    assert rows == set(range(1, 14))


def test_recovery_off_panics_before_anything_else() -> None:
    result = play(INJECT, **K32, recovery=0)
    assert result.row.panics == 1
    assert log(result)[-1] == "Kernel panic - not syncing: Memory failure from trap 18 on page 1234"
    assert result.reach["panic:Memory failure"] == 1
    assert not any(key.startswith(("exit:", "row:")) for key in result.reach)
    assert result.row.poisoned_pages == 0


def test_the_recovery_sysctl_exists_only_there() -> None:
    step = (1, "sysctl", {"name": "vm.memory_failure_recovery", "value": 0})
    assert outcomes(play(step, **K32)) == [0]
    assert outcomes(play(step)) not in ([0], [])


def test_an_unmap_that_fails_says_so() -> None:
    steps = (10, "unmap_fails", {"page": P0, "tries": 5}), INJECT
    assert "MCE 0x1234: failed to unmap page (mapcount=1)" in log(play(*steps, **K32, early_kill=1))
    assert not any("mapcount" in text for text in log(play(*steps)))


def test_without_the_first_entry_nobody_is_collected() -> None:
    told = {}
    for kernel in KERNELS:
        spec = world(INJECT, kernel=kernel, early_kill=1)
        machine = Machine(spec, 0, MemoryLayout(spec), trace=True)
        machine.kernel.failslab.times = 1
        machine.run()
        result = machine.result()
        told[kernel] = len(result.signals)
        assert ("MCE 0x1234: Killing app:100 early" in str(log(result))) == bool(told[kernel])
    assert told == {"v5": 1, "2.6.32": 0}


def test_free_pages_are_counted_there() -> None:
    free = (1_000, "inject", {"page": {"free": 1}})
    assert [play(free, kernel=kernel).row.bad_pages for kernel in ("v5", "2.6.32")] == [0, 1]


@pytest.mark.parametrize(
    ("filesystem", "dirty", "outcome"),
    [("ext4", 1, "Recovered"), ("xfs", 1, "Recovered"), ("tmpfs", 1, "Recovered"), ("ramfs", 1, "Failed"),
     ("ramfs", 0, "Failed"), ("blockdev", 0, "Recovered"), ("blockdev", 1, "Failed")],
)  # fmt: skip
def test_the_file_system_is_asked(filesystem: str, dirty: int, outcome: str) -> None:
    before = [on_file(500, "write", index=0)] if dirty else []
    world = {**BARE, "files": (FileSpec("data", 8, filesystem=filesystem),)}
    (row,) = play(*before, INJECT, **world, **K32).errors
    assert row.outcome == outcome


@pytest.mark.parametrize(
    ("kernel", "switches", "wanted"),
    [
        (
            "2.6.32",
            (),
            [
                "MCE 0x1234: corrupted page was clean: dropped without side effects",
                "MCE 0x1234: Failed to invalidate",
                "MCE 0x1234: clean LRU page recovery: Failed",
                "MCE 0x1234: clean LRU page still referenced by 1 users",
            ],
        ),
        (
            "v5",
            (("blockdev_test", "fs_hook"), ("result_order", "as_meant")),
            [
                "MCE 0x1234: corrupted page was clean: dropped without side effects",
                "MCE 0x1234: clean LRU page recovery: Recovered",
            ],
        ),
    ],
)
def test_madvise_holds_the_page_that_it_poisons(
    kernel: str, switches: tuple[Any, ...], wanted: list[str]
) -> None:
    """Three references where remove_mapping() wants two; the message leaves the injector's own out."""
    disk = FileSpec("data", 8, filesystem="blockdev", buffers="none")
    world: dict[str, Any] = {"tasks": (MAPPED,), "files": (disk,), "kernel": kernel, "switches": switches}
    range_ = {"task": "app.0", "region": "map", "first": 0, "pages": 1}
    found = play((9_000, "madvise", {**range_, "advice": "hwpoison"}), **world)
    assert log(found) == wanted
    assert "Failed to invalidate" not in str(log(play(INJECT, **world)))


def test_madvise_counts_no_user_of_its_own() -> None:
    step = (
        9_000,
        "madvise",
        {"task": "app.0", "region": "heap", "first": 0, "pages": 2, "advice": "hwpoison"},
    )
    assert log(play(step, **K32)) == [
        "MCE 0x1234: dirty LRU page recovery: Recovered",
        "MCE 0x1235: dirty LRU page recovery: Recovered",
    ]


def test_swap_and_scrub_as_before() -> None:
    """What 2.6.32 did not touch stays: a scrubber's find goes through the ring to the same end."""
    steps = line(1_000), (2_000, "mce", {"page": P0})
    (row,) = play(*steps, **K32, scrub=ScrubSpec(None)).errors
    assert (row.found, row.outcome, row.end) == ("scrub", "Recovered", "isolated")
    load = touch(3_000, "load")
    kills = [
        play(*steps, *touches, **K32, early_kill=early_kill, scrub=ScrubSpec(None)).row.kills
        for touches, early_kill in (((), 0), ((load,), 0), ((), 1))
    ]
    assert kills == [0, 1, 1]
    out = (500, "swap_out", {"page": P0})
    swapped = play(out, *steps, load, **K32, scrub=ScrubSpec(None))
    assert (swapped.errors[0].message, swapped.errors[0].outcome) == ("swapcache", "Delayed")
    assert [row.code for row in swapped.signals] == ["BUS_MCEERR_AR"]


def test_a_page_that_could_not_be_dropped_is_still_read() -> None:
    """ramfs has no hook and its pages are always dirty: the page stays, and keeps its error."""
    world = {**BARE, "files": (FileSpec("data", 8, filesystem="ramfs"),)}
    result = play(on_file(500, "write", index=0), INJECT, **world, **K32)
    (row,) = result.lost_writes
    assert (result.errors[0].outcome, row.reads_find) == ("Failed", "the page")


def test_side_by_side_is_text_that_is_the_same_every_time():
    values = {line.what: line.values for line in side_by_side("v5", "2.6.32")}
    assert values["fsync_asks"] == ("filemap_fdatawait()", "filemap_write_and_wait_range()")
    assert not any(" at 0x" in value for found in values.values() for value in found)
