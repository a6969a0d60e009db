"""A frame changes while memory_failure() is on its way to it, and other corners that few worlds meet."""

from __future__ import annotations

from pathlib import Path

import hwsim
from hwsim.machine import run_replication
from hwsim.record import Replication

_SLAB = """
name = "slab heals while its find waits"
horizon = "300 s"
[machine]
memory = "16 MiB"
user_share = 0
scrub = { period = "10 s", signals = "SRAO" }
[machine.times]
workqueue = "20 s"
[[kernel]]
kind = "slab"
size = "64 KiB"
store = "10 / s"
full_line = 1
[[errors]]
count = 1
where = { kind = "slab" }
permanent = "0 %"
end = "100 s"
"""

_TASK = """
horizon = "60 s"
[machine]
memory = "16 MiB"
chance = "off"
[[task]]
name = "job"
"""

_GAP = f"""
name = "a frame of the gap before huge pages"
{_TASK}
[[task.region]]
name = "seg"
kind = "shm"
size = "32 KiB"
[[task.region]]
name = "huge"
kind = "hugetlb"
size = "4 MiB"
shared = true
[[script]]
at = "1 s"
do = "inject"
page = {{ pfn = 40 }}
[[script]]
at = "10 s"
do = "exit"
task = "job.0"
"""

_MMAP = f"""
name = "a segment is mapped over a bad free frame"
{_TASK}
[[task.region]]
name = "heap"
kind = "anon"
size = "32 KiB"
[[script]]
at = "1 s"
do = "inject"
page = {{ free = 1 }}
how = "line"
permanent = true
[[script]]
at = "2 s"
do = "mmap"
task = "job.0"
name = "n"
kind = "shm"
size = "24 KiB"
[[script]]
at = "3 s"
do = "load"
task = "job.0"
page = {{ region = "job.0/n", index = 1 }}
"""


def _run(tmp_path: Path, text: str, index: int = 0) -> Replication:
    path = tmp_path / "world.toml"
    path.write_text(text, "utf-8")
    return run_replication(hwsim.load(path).spec, index)


def test_a_line_that_heals_while_its_find_waits_is_found_no_more(tmp_path: Path) -> None:
    """The sweeps that follow, every 10 s, read a good line, though PG_hwpoison is set."""
    runs = [_run(tmp_path, _SLAB, index) for index in range(30)]
    found = [error for run in runs for error in run.errors if error.found == "scrub"]
    assert len(found) > 3
    assert {error.repeats for error in found} == {0}


def test_a_segment_that_goes_ends_all_its_lost_writes(tmp_path: Path) -> None:
    """The frame lies behind the segment, where huge pages are aligned, and counts as one of its pages."""
    (lost,) = _run(tmp_path, _GAP).lost_writes
    assert (lost.file, lost.end, lost.end_ns) == ("job/seg", "released", 10_000_000_000)


def test_a_segment_can_take_a_bad_free_frame(tmp_path: Path) -> None:
    """The frame is looked at before the segment has its mapping."""
    run = _run(tmp_path, _MMAP)
    assert [(row.found, row.end) for row in run.errors] == [("task_load", "panic")]
