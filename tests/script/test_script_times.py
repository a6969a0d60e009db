"""Scripts with exact lists of (time, event), scripts that use every verb in a file, and the exit status."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hwsim.scenario import load
from hwsim.script.verbs import VERBS
from hwsim.spec import Delay
from tests.support.worlds import NO_TIME, P0, happened, heap, outcomes, play, run

US = 1_000
TIMES = replace(
    NO_TIME,
    rendezvous=Delay(mean_ns=100 * US),
    return_to_user=Delay(mean_ns=2 * US),
    workqueue=Delay(mean_ns=50 * US),
    lock_wait=Delay(mean_ns=7 * US),
    rmap_per_vma=Delay(mean_ns=200),
    unmap=Delay(mean_ns=5 * US),
    page_handler=Delay(mean_ns=20 * US),
    signal_delivery=Delay(mean_ns=30 * US),
)
LINE = (1_000, "inject", {"page": P0, "how": "line"})
SCRUB = (10_000, "scrub", {"page": P0})
LOAD = (500_000, "load", {"task": "app.0", "page": heap()})


@pytest.mark.parametrize(("user_share", "start"), [(1.0, 112_000), (0.0, 160_000)])
def test_early_kill_step_by_step(user_share: float, start: int) -> None:
    """Through the return to user mode of an innocent task, or through the workqueue."""
    result = play(LINE, SCRUB, times=TIMES, user_share=user_share)
    unmapped = start + 7 * US + 200 + 5 * US
    assert happened(result) == [
        (1_000, "inject"),
        (1_000, "onset"),
        (10_000, "scrub found"),
        (10_000, "found"),
        (10_000, "machine_check"),
        (start, "memory_failure"),
        (start, "poisoned"),
        (unmapped, "unmapped"),
        (unmapped, "signal"),
        (unmapped + 20 * US, "result"),
        (unmapped + 30 * US, "killed"),
    ]


def test_late_kill_step_by_step() -> None:
    """Without early kill the reverse map is not walked for tasks, so it takes that much less."""
    result = play(LINE, SCRUB, LOAD, times=TIMES, user_share=1.0, early_kill=0)
    assert happened(result)[5:] == [
        (112_000, "memory_failure"),
        (112_000, "poisoned"),
        (124_000, "unmapped"),
        (144_000, "result"),
        (500_000, "load VM_FAULT_HWPOISON"),
        (500_000, "signal"),
        (530_000, "killed"),
    ]
    (error,), (signal,) = result.errors, result.signals
    assert (error.found_ns, error.poisoned_ns, error.contained_ns) == (10_000, 112_000, 144_000)
    assert (signal.time_ns, signal.done_ns, signal.code) == (500_000, 530_000, "BUS_MCEERR_AR")


def test_a_load_between_detection_and_unmapping_still_consumes() -> None:
    result = play(LINE, SCRUB, (113_000, *LOAD[1:]), times=TIMES, user_share=1.0, early_kill=0)
    assert happened(result)[-3:] == [(113_000, "consumed"), (113_000, "found"), (213_000, "panic")]
    assert result.errors[0].found == "scrub"


def test_two_pages_are_handled_one_after_the_other_in_one_context() -> None:
    second = (111_000, "mce", {"page": heap(1)})  # the bank has been read out at 110 us
    result = play(LINE, SCRUB, second, times=TIMES, user_share=0.0, early_kill=0, cpus=1)
    starts = [time for time, name in happened(result) if name == "memory_failure"]
    # The second check stops the CPU until 211 us; the first page takes 32 us then.
    assert starts == [211_000, 243_000]


MACHINE = """
name = "every verb"
horizon = "1 s"
repeat = 1
[machine]
memory = "32 MiB"
chance = "off"
[[kernel]]
kind = "reserved"
size = "18640 KiB"
[[file]]
name = "data"
size = "32 KiB"
[[task]]
name = "app"
[[task.region]]
name = "heap"
kind = "anon"
size = "32 KiB"
"""
# Each line one step; what came of those that answer is in RESULTS.
EVERY_VERB = """
at="1 ms" do="fork" task="app.0"
at="2 ms" do="mmap" task="app.0" name="new" kind="anon" size="16 KiB"
at="2 ms" do="mmap" task="app.0" name="map" kind="file" file="data"
at="3 ms" do="store" task="app.0" page={region="app.0/new",index=1} full_line=true
at="3 ms" do="load" task="app.0" page={file="data",index=1}
at="3 ms" do="store" task="app.0" page={file="data",index=1} until="pte"
at="4 ms" do="mprotect" task="app.0" region="new" first=0 pages=2 write=false
at="4 ms" do="mremap" task="app.0" region="new" first=2 pages=2 to="far"
at="4 ms" do="load" task="app.0" page={region="app.0/far",index=1}
at="5 ms" do="mlock" task="app.0" region="far"
at="5 ms" do="munlock" task="app.0" region="far"
at="5 ms" do="madvise" task="app.0" region="far" first=0 pages=1 advice="dontneed"
at="5 ms" do="munmap" task="app.0" region="far" first=0 pages=2
at="6 ms" do="open" task="app.0" file="data"
at="6 ms" do="write" task="app.0" file="data" index=2 buffer={region="app.0/heap",index=3}
at="6 ms" do="read" task="app.0" file="data" index=2
at="6 ms" do="fsync" task="app.0" file="data"
at="6 ms" do="fdatasync" task="app.0" file="data"
at="6 ms" do="msync" task="app.0" file="data"
at="6 ms" do="sync_file_range" task="app.0" file="data" fd="log"
at="6 ms" do="sync"
at="6 ms" do="close" task="app.0" file="data"
at="7 ms" do="punch" file="data" index=5 pages=1
at="7 ms" do="truncate" file="data" pages=6
at="8 ms" do="swap_out" page={region="app.0/heap",index=4}
at="8 ms" do="swap_in" page={region="app.0/heap",index=4}
at="9 ms" do="start_writeback" page={file="data",index=2}
at="9 ms" do="end_writeback" page={file="data",index=2}
at="9 ms" do="lock_page" page={file="data",index=2}
at="9 ms" do="unlock_page" page={file="data",index=2}
at="9 ms" do="pin" page={file="data",index=2}
at="9 ms" do="unpin" page={file="data",index=2}
at="10 ms" do="buffers" page={file="data",index=2} state="idle"
at="10 ms" do="pagevec" page={file="data",index=2} cpu=2
at="10 ms" do="flags" page={file="data",index=2} set=["dirty"] clear=["error"]
at="10 ms" do="unmap_fails" page={region="app.0/heap",index=5} tries=2
at="11 ms" do="alloc" kind="slab_multi" order=3 name="big"
at="11 ms" do="free_page" page={kernel="big",index=0}
at="11 ms" do="alloc" kind="slab" name="one"
at="12 ms" do="free" name="one"
at="12 ms" do="mask" task="app.0"
at="12 ms" do="unmask" task="app.0"
at="12 ms" do="sysctl" name="vm.memory_failure_early_kill" value=0
at="12 ms" do="prctl" task="app.0" option="PR_MCE_KILL"
at="13 ms" do="inject" page={address="0x1239040"}
at="13 ms" do="inject" page={free=20} how="line" permanent=true
at="14 ms" do="scrub" page={free=20}
at="14 ms" do="mce" page={free=30}
at="14 ms" do="mce_inject" text="CPU 1 BANK 8 STATUS UNCORRECTED SRAO 0xc0 MCGSTATUS 5 ADDR 3145728 MISC 140"
at="15 ms" do="exit" task="app.0"
at="15 ms" do="exit" task="app.0.0"
at="15 ms" do="evict" file="data"
at="16 ms" do="reboot"
"""
RESULTS = [
    *[101, "zeroes", "ok", "ok", "zeroes"],  # fork, first touch, two of the mapped file, after mremap()
    *[0, "ok", "ok", 0, 0, 0, 0, 0, 0],  # open to close
    "ENOSYS",  # punch: ext4
    *["swapped out", "still in the swap cache", "set"],
    *["allocated", "freed", "allocated", "freed"],
    *[0, "EINVAL", "found", "goes on", 0],  # sysctl, prctl, scrub, mce_inject, evict
]


def as_file(steps: str) -> str:
    """The steps as tables of a scenario file."""
    tables = []
    for line in steps.strip().splitlines():
        pairs = re.findall(r"(\w+)=(\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"|\S+)", line)
        tables.append("\n".join(["[[script]]", *(f"{key} = {value}" for key, value in pairs)]))
    return MACHINE + "\n".join(tables)


def test_every_verb_from_a_scenario_file(tmp_path: Path) -> None:
    path = tmp_path / "verbs.toml"
    path.write_text(as_file(EVERY_VERB))
    spec = load(path).spec
    assert {step.verb for step in spec.script} == set(VERBS)
    result = run(spec)
    assert outcomes(result) == RESULTS
    assert len(result.errors) == 4


def test_a_step_of_a_task_that_has_exited_ends_with_status_2(tmp_path: Path) -> None:
    path = tmp_path / "dead.toml"
    page = 'page={region="app.0/heap",index=0}'
    path.write_text(as_file(f'at="1 ms" do="exit" task="app.0"\nat="500 ms" do="load" task="app.0" {page}'))
    command = [sys.executable, "-m", "hwsim", "run", str(path), "--out", str(tmp_path / "out.sqlite")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'script[1].task = "app.0": task "app.0" is dead at this time' in done.stderr
    assert "Traceback" not in done.stderr
