"""The eleven kernel logs that HWPOISON v5 prints, byte for byte, from scripts and from scenario files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hwsim.scenario import load
from hwsim.spec import FileSpec, KernelPoolSpec, Spec, TaskSpec
from tests.oracles.oracle_v5 import TRANSCRIPTS
from tests.support.worlds import DATA, FILLER, MAPPED, P0, log, run, world

INJECT = (9_000, "inject", {"page": P0})
SWAP_OUT = (1_000, "swap_out", {"page": P0})
SLAB, TABLE = KernelPoolSpec("slab", 8), KernelPoolSpec("page_table", 8)
NOBODY: tuple[TaskSpec, ...] = ()
DISK = FileSpec("disk", 8, filesystem="blockdev", buffers="idle")

WORLDS: dict[str, Spec] = {
    "anon dirty, mapped once": world(INJECT),
    "file clean, mapped": world(INJECT, tasks=(MAPPED,), files=(DATA,)),
    "file dirty, written with write(), unmapped": world(
        (1_000, "write", {"task": "app.0", "file": "data", "index": 0}),
        INJECT,
        tasks=(TaskSpec("app"),),
        files=(DATA,),
    ),
    "swap cache dirty, mapped": world(SWAP_OUT, (2_000, "load", {"task": "app.0", "page": P0}), INJECT),
    "swap cache clean, unmapped": world(
        SWAP_OUT, (2_000, "start_writeback", {"page": P0}), (3_000, "end_writeback", {"page": P0}), INJECT
    ),
    "free page": world(INJECT, tasks=NOBODY),
    "second report of a page": world((1_000, "inject", {"page": P0}), INJECT, tasks=NOBODY),
    "order-0 slab": world(INJECT, tasks=NOBODY, pools=(FILLER, SLAB)),
    "reserved": world(INJECT, tasks=NOBODY, pools=(KernelPoolSpec("reserved", FILLER.pages + 1),)),
    "page table page": world(INJECT, tasks=NOBODY, pools=(FILLER, TABLE)),
    "block device, clean, with buffers": world(INJECT, tasks=NOBODY, files=(DISK,)),
}

HEAD = """
name = "transcript"
horizon = "1 ms"
repeat = 1
[machine]
memory = "32 MiB"
on_panic = "end"
chance = "off"
[machine.times]
rendezvous = "0 s"
return_to_user = "0 s"
workqueue = "0 s"
lock_wait = "0 s"
writeback = "0 s"
reread = "0 s"
rmap_per_vma = "0 s"
unmap = "0 s"
page_handler = "0 s"
signal_delivery = "0 s"
sigbus_handler = "0 s"
"""
FILL = '[[kernel]]\nkind = "reserved"\nsize = "18640 KiB"\n'
HEAP = '[[task]]\nname = "app"\n[[task.region]]\nname = "heap"\nkind = "anon"\nsize = "32 KiB"\n'
MAP = '[[task]]\nname = "app"\n[[task.region]]\nname = "map"\nkind = "file"\nfile = "data"\n'
FILE = '[[file]]\nname = "data"\nsize = "32 KiB"\n'
DEVICE = '[[file]]\nname = "disk"\nsize = "32 KiB"\nfilesystem = "blockdev"\nbuffers = "idle"\n'


def step(at: int, do: str, rest: str = "page = { address = '0x1234000' }") -> str:
    return f'[[script]]\nat = "{at} us"\ndo = "{do}"\n{rest}\n'


HIT = step(9, "inject")
OUT = step(1, "swap_out", "page = { region = 'app.0/heap', index = 0 }")
WRITE = step(1, "write", 'task = "app.0"\nfile = "data"\nindex = 0')
LOAD = step(2, "load", "task = 'app.0'\npage = { region = 'app.0/heap', index = 0 }")
TEXTS: dict[str, str] = {
    "anon dirty, mapped once": FILL + HEAP + HIT,
    "file clean, mapped": FILL + MAP + FILE + HIT,
    "file dirty, written with write(), unmapped": FILL + '[[task]]\nname = "app"\n' + FILE + WRITE + HIT,
    "swap cache dirty, mapped": FILL + HEAP + OUT + LOAD + HIT,
    "swap cache clean, unmapped": FILL
    + HEAP
    + OUT
    + step(2, "start_writeback", "page = { region = 'app.0/heap', index = 0 }")
    + step(3, "end_writeback", "page = { region = 'app.0/heap', index = 0 }")
    + HIT,
    "free page": FILL + step(9, "inject", "page = { free = 0 }"),
    "second report of a page": FILL + step(1, "inject") + HIT,
    "order-0 slab": FILL
    + '[[kernel]]\nkind = "slab"\nsize = "32 KiB"\n'
    + step(9, "inject", "page = { kernel = 'slab', index = 0 }"),
    "reserved": FILL.replace("18640", "18644") + HIT,
    "page table page": FILL + '[[kernel]]\nkind = "page_table"\nsize = "32 KiB"\n' + HIT,
    "block device, clean, with buffers": FILL
    + DEVICE
    + step(9, "inject", "page = { file = 'disk', index = 0 }"),
}


def last_report(spec: Spec) -> list[Any]:
    """Log lines from the last step on, with their levels."""
    return [(level, text) for time, level, text in run(spec).log if time == 9_000]


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(name: str) -> None:
    says = (6, "Injecting memory failure at pfn 1234")
    assert last_report(WORLDS[name]) == [says, *TRANSCRIPTS[name][1]]


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript_from_a_scenario_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(HEAD + TEXTS[name])
    says = (6, "Injecting memory failure at pfn 1234")
    assert last_report(load(path).spec) == [says, *TRANSCRIPTS[name][1]]


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript_by_machine_check(name: str) -> None:
    """A machine check prints the same; mce_notify_irq() speaks first, and no injector."""
    spec = WORLDS[name]
    steps = [each if each.verb != "inject" else _as_mce(each) for each in spec.script]
    says = (6, "Machine check events logged")
    assert last_report(_with_script(spec, steps)) == [says, *TRANSCRIPTS[name][1]]


def _as_mce(each: Any) -> Any:
    return type(each)(each.at_ns, "mce", each.args, each.where)


def _with_script(spec: Spec, steps: list[Any]) -> Spec:
    from dataclasses import replace

    return replace(spec, script=tuple(steps))


def test_corrected_order_of_the_result_line() -> None:
    lines = log(run(world(INJECT, switches=(("result_order", "as_meant"),))))
    assert lines[-1] == "MCE 0x1234: dirty LRU page recovery: Recovered"
