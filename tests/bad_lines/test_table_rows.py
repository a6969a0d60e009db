"""One scripted case for each row of what happens later to a poisoned page: ``scenarios/aftermath.toml``.

The rows are those of mm/page_alloc.c (allocation and freeing), mm/memory.c and arch/x86/mm/fault.c (touches),
mm/filemap.c and fs/fs-writeback.c (who is told); the number is that of the case in the file.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest

from hwsim.machine import run_replication
from hwsim.record import Replication
from tests.whole.shipped import SCENARIOS, spec_of

MINUTE_NS = 60_000_000_000
GATES = ("gatekeeper", "free_isolated")
CASES: dict[int, tuple[str, list[Any]]] = {
    1: ("order 0 meets poison", ["allocated"]),
    2: ("order 2 meets poison", ["allocated"]),
    3: ("freed while poisoned", ["allocated", "isolated"]),
    4: ("poison entry", ["VM_FAULT_HWPOISON"]),
    5: ("swap entry, page in the swap cache", ["swapped out", "VM_FAULT_HWPOISON"]),
    6: ("swap entry, clean page gone", ["swapped out", "reread_swap"]),
    7: ("clean file page", ["reread_disk"]),
    8: ("dirty file page", ["ok", "stale", "EIO"]),
    9: ("tmpfs", ["zeroes"]),
    10: ("system call", ["EFAULT"]),
    11: ("blocked", ["VM_FAULT_HWPOISON"]),
    12: ("inherited", [111, "VM_FAULT_HWPOISON"]),
    13: ("munmap", []),
    14: ("fsync of the writer", ["ok", "EIO", 0]),
    15: ("fdatasync of a bystander", ["ok", "EIO", 0]),
    16: ("O_SYNC", ["ok", "EIO"]),
    17: ("sync_file_range", ["ok", "EIO"]),
    18: ("msync", ["ok", "EIO"]),
    19: ("later session", [0, "ok", 0, 0, "EIO"]),
    20: ("close on NFS", [0, "ok", "EIO"]),
    21: ("sync", ["ok", 0, 0]),
    22: ("inode", [0, "ok", 0, "an error is lost"]),
    23: ("two descriptors", [0, 0, "ok", "EIO", 0]),
    24: ("block device", ["ok", "EIO"]),
    25: ("touched by a handler", ["VM_FAULT_HWPOISON"]),
    26: ("swap cache without contents", ["swapped out", "BUS_ADRERR"]),
    27: ("ignored", ["VM_FAULT_HWPOISON"]),
    28: ("later openers", ["ok", 0, "EIO", 0, 0, 0]),
    29: ("last close of a block device", [0, "ok", 0]),
}
LOST = [  # (case, writer, told, by, swallowed, what reads find, stale reads)
    (8, "clerk.0", "writer", "fsync", "", "old data", 1),
    (9, "", "nobody", "", "sync", "zeroes", 1),
    (14, "clerk.0", "writer", "fsync", "", "old data", 0),
    (15, "clerk.0", "bystander", "fdatasync", "", "old data", 0),
    (16, "clerk.0", "writer", "o_sync", "", "old data", 0),
    (17, "clerk.0", "writer", "sync_file_range", "", "old data", 0),
    (18, "clerk.0", "bystander", "msync", "", "old data", 0),
    (19, "clerk.0", "later_session", "fsync", "", "old data", 0),
    (20, "clerk.0", "writer", "close", "", "old data", 0),
    (21, "clerk.0", "nobody", "", "sync", "old data", 0),
    (22, "clerk.0", "nobody", "", "inode", "old data", 0),
    (23, "clerk.1", "writer", "fsync", "", "old data", 0),
    (24, "clerk.0", "writer", "fsync", "", "the page", 0),
    (28, "clerk.0", "writer", "fsync", "", "old data", 0),
    (29, "clerk.0", "nobody", "", "close", "the page", 0),
]


@pytest.fixture(scope="module")
def played() -> Replication:
    return run_replication(spec_of("aftermath"), 0, trace=True)


def results(played: Replication) -> dict[int, list[Any]]:
    """What came of the steps of each case."""
    steps = [
        (time // MINUTE_NS, facts["result"])
        for time, event, facts in played.events
        if event == "script" and "result" in facts
    ]
    return {case: [result for _, result in group] for case, group in groupby(steps, key=lambda each: each[0])}


def test_what_came_of_every_step(played: Replication) -> None:
    assert results(played) == {case: found for case, (_, found) in CASES.items() if found}
    assert not any("skipped" in facts for _, event, facts in played.events if event == "script")


def test_a_later_opener_under_errseq() -> None:
    """lib/errseq.c of 4.17: a file is told once, also of an error that nobody had seen when it was opened."""
    spec = spec_of("aftermath")
    modern = replace(spec, machine=replace(spec.machine, switches=(("eio_mode", "errseq"),)))
    assert results(run_replication(modern, 0, trace=True))[28] == ["ok", 0, "EIO", 0, "EIO", 0]


def test_who_was_told_of_every_lost_write(played: Replication) -> None:
    found = [
        (
            row.lost_ns // MINUTE_NS,
            row.writer,
            row.told,
            row.told_by,
            row.swallowed,
            row.reads_find,
            row.stale_before + row.stale_after,
        )
        for row in played.lost_writes
    ]
    assert found == LOST


def test_what_the_allocator_dropped(played: Replication) -> None:
    lost = [row.capacity_lost_bytes // 4096 for row in played.errors[:3]]
    assert lost == [1, 4, 1]
    gates = [
        (time // MINUTE_NS, event)
        for time, event, _ in played.events
        if event in ("gatekeeper", "free_isolated")
    ]
    assert gates == [(1, "gatekeeper"), (2, "gatekeeper"), (3, "free_isolated"), (29, "free_isolated")]


def test_who_died(played: Replication) -> None:
    deaths = [
        (row.time_ns // MINUTE_NS, row.task, row.code) for row in played.signals if row.result == "killed"
    ]
    assert deaths == [
        (4, "app.0", "BUS_MCEERR_AR"),
        (5, "app.1", "BUS_MCEERR_AR"),
        (11, "app.1", "BUS_MCEERR_AR"),
        (12, "app.2.0", "BUS_MCEERR_AR"),
        (25, "saver.0", "BUS_MCEERR_AR"),
        (26, "app.3", "BUS_ADRERR"),
        (27, "deaf.0", "BUS_MCEERR_AR"),
    ]
    assert played.reach["signal:AR forced on blocked or ignored"] == 3


def test_the_file_numbers_its_cases_as_here() -> None:
    numbers = re.findall(r"^# (\d+)\. ", (SCENARIOS / "aftermath.toml").read_text("utf-8"), re.MULTILINE)
    assert [int(each) for each in numbers] == list(CASES)
