"""From file to spec: every field of the model's input can be set, and arrives as it was meant."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from hwsim import spec
from hwsim.kernel import page_flags
from hwsim.memory.layout import MemoryLayout
from hwsim.scenario import load
from hwsim.scenario.schema import ScenarioModel
from hwsim.scenario.valid_parts import Parts, free_pages
from hwsim.script.verbs import PAGE_FLAGS, VERBS

MINUTE_NS = 60 * 10**9

# No key here has the value that it would have if it were left out.
EVERYTHING = """
name = "everything"
description = "x"
horizon = "2 h"
seed = 5
repeat = 6

[machine]
memory = "1 GiB"
cpus = 3
hidden = "8 KiB"
kernel = "2.6.32"
tolerant = 2
device_read = "silent"
user_share = "25 %"
printk_level = 4
atomic_alloc_fail = 0.125
on_panic = { reboot = "1 min", repair = 0.25 }
scrub = { period = "1 h", signals = "fatal" }
corrected = { signals = "poll", storms = true, mcelog = "1 h" }
sync = "1 h"
alloc = { rate = "5 / s", order = 2 }
config = { UNEVICTABLE_LRU = false, HAVE_MLOCKED_PAGE_BIT = false, PAGEFLAGS_EXTENDED = false }
[machine.sysctl]
"vm.memory_failure_early_kill" = 0
"vm.memory_failure_recovery" = 0
"vm.dirty_expire_centisecs" = 500
"vm.dirty_writeback_centisecs" = 100
[machine.switches]
eio_mode = "errseq"
unmap_retry_chance = "10 %"
[machine.times]
rendezvous = "1 us"
return_to_user = "2 us"
workqueue = "3 us"
lock_wait = "4 us"
writeback = { kind = "exponential", mean = "1 us", chance = "50 %" }
reread = { kind = "uniform", low = "1 us", high = "2 us" }
rmap_per_vma = { kind = "lognormal", mean = "1 us", sigma = 0.25 }
unmap = "55 us"
page_handler = "6 us"
signal_delivery = "7 us"
sigbus_handler = "8 us"

[[errors]]
kind = "uncorrected"
rate = "3 / GiB / h"
where = { region = "web/heap" }
permanent = 0.25
burst_pages = 2
start = "1 min"
end = "1 h"
field_rate = "1 / 77 y"

[[file]]
name = "logs"
size = "8 MiB"
cached = "50 %"
filesystem = "nfs"
touch = { share = 0.5, load = "1 / s", store = "2 / s" }
flush_every = "1 min"
buffers = "idle"
buffers_busy = 0.5
turnover = "1 / min"
pagevec = 0.1
lines_per_touch = 2
truncate = "1 / h"
writers = ["web"]
evict = "1 / day"

[[task]]
name = "web"
count = 2
children = 3
sigbus = { on_ao = "blocked", on_ar = "exit", unblock = "1 min" }
group_death = true
restart = "1 min"
fsync = { file = "logs", every = "1 min", call = "o_sync", reopen = "1 h", open = 0.5, checks = false }
lifetime = "1 min"
mce_kill = "early"
[[task.region]]
name = "heap"
kind = "anon"
size = "1 MiB"
touch = [ { share = 0.25, load = "1 / s" } ]
populate = false
lines_per_touch = 3
full_line = 0.5
pagevec = 0.1
unmap_fail = 0.2
[task.region.swap]
period = "1 min"
dirty_mapped = 0.1
dirty_unmapped = 0.2
clean_unmapped = 0.3
clean_mapped = 0.15
[[task.region]]
name = "pool"
kind = "hugetlb"
size = "2 GiB"
huge_page = "1 GiB"
huge_free = 0.5
shared = true
mlock = true
[[task.region]]
name = "map"
kind = "file"
file = "logs"

[[kernel]]
kind = "kernel_stack"
size = "64 KiB"
order = 2
load = "1 / s"
store = "2 / s"
lifetime = "1 min"
full_line = 0.5

[[script]]
at = "2 s"
do = "sync"
[[script]]
at = "1 s"
do = "inject"
page = { pfn = 7 }
"""


@pytest.fixture
def full(tmp_path: Path) -> spec.Spec:
    file = tmp_path / "everything.toml"
    file.write_text(EVERYTHING.replace('memory = "1 GiB"', 'memory = "4 GiB"'))
    return load(file).spec


def _left_at_default(value: Any, name: str = "spec") -> list[str]:
    """Fields below ``value`` that still have their default."""
    found = []
    for field in dataclasses.fields(value):
        here = getattr(value, field.name)
        if dataclasses.is_dataclass(here):
            found += _left_at_default(here, f"{name}.{field.name}")
        elif here == field.default:
            found.append(f"{name}.{field.name}")
    return found


def test_every_field_of_the_model_can_be_set(full: spec.Spec) -> None:
    heap, pool, mapping = full.tasks[0].regions
    left = (
        _left_at_default(full)
        + _left_at_default(full.errors[0], "error")
        + _left_at_default(full.files[0], "file")
    )
    left += _left_at_default(full.pools[0], "pool")
    left += [item for item in _left_at_default(full.tasks[0], "task") if "regions" not in item]
    assert [item for item in left if ".times." not in item] == [
        "spec.machine.chance",  # would leave out most of the others: see test_chance_off
        "error.where.pfns",
        "error.dram",
        "error.count",
    ]
    for field in dataclasses.fields(spec.TimesSpec):
        assert getattr(full.machine.times, field.name) != getattr(spec.TimesSpec(), field.name), field.name
    names = {
        field.name
        for field in dataclasses.fields(spec.RegionSpec)
        if field.default is not dataclasses.MISSING
    }
    default = spec.RegionSpec("x", "anon", 1)
    moved = {n for n in names for r in (heap, pool, mapping) if getattr(r, n) != getattr(default, n)}
    assert moved == names


def test_what_arrives(full: spec.Spec) -> None:
    machine = full.machine
    assert (full.horizon_ns, full.seed, full.repeat) == (120 * MINUTE_NS, 5, 6)
    assert (machine.memory_pages, machine.hidden_pages) == (1 << 20, 2)
    assert (machine.early_kill, machine.reboot_ns, machine.alloc_per_s) == (0, MINUTE_NS, 5.0)
    assert machine.times.writeback == spec.Delay("exponential", 1000, chance=0.5)
    assert machine.times.reread == spec.Delay("uniform", low_ns=1000, high_ns=2000)
    assert machine.times.rmap_per_vma == spec.Delay("lognormal", 1000, sigma=0.25)
    file = full.files[0]
    assert (file.pages, file.flush_every_ns) == (1024, MINUTE_NS)
    assert file.touch == (spec.Touch(0.5, 1.0, 2.0), spec.Touch(0.5))
    heap, pool, mapping = full.tasks[0].regions
    assert heap.touch == (spec.Touch(0.25, 1.0), spec.Touch(0.75)), (
        "pages that no band names are never touched"
    )
    assert heap.swap == spec.SwapCycle(MINUTE_NS, 0.1, 0.2, 0.3, 0.15)
    assert (pool.pages, pool.huge_order, pool.shared) == (1 << 19, 18, True)
    assert (mapping.pages, mapping.file, mapping.shared) == (1024, "logs", True)
    assert full.tasks[0].sigbus == spec.SigbusSpec("blocked", "exit", MINUTE_NS)


def test_a_rate_per_gib_counts_the_memory_of_the_place(full: spec.Spec) -> None:
    heap_gib = 2 * (1 + 3) / 1024  # two tasks, room for three children each, 1 MiB
    assert full.errors[0].rate_per_s == pytest.approx(3 * heap_gib / 3600)


def test_a_count_stands_instead_of_a_rate(tmp_path: Path) -> None:
    found = _minimal(tmp_path, "[[errors]]\ncount = 3\nfield_rate = '1 / 77 y'\n").errors[0]
    assert (found.count, found.rate_per_s) == (3, 0.0)
    assert found.field_per_s == pytest.approx(1 / (77 * 365 * 86_400))


def _minimal(tmp_path: Path, more: str = "") -> spec.Spec:
    file = tmp_path / "minimal.toml"
    file.write_text(f"name = 'm'\nhorizon = '1 h'\nmachine.memory = '1 GiB'\n{more}")
    return load(file).spec


def test_defaults_are_those_of_the_model(tmp_path: Path) -> None:
    more = """
[[errors]]
rate = "1 / h"
[[file]]
name = "f"
size = "4 KiB"
touch = { share = 1 }
[[task]]
name = "t"
[[task.region]]
kind = "anon"
size = "4 KiB"
touch = { share = 1 }
[[kernel]]
kind = "slab"
size = "4 KiB"
"""
    made = _minimal(tmp_path, more)
    assert made.machine == spec.MachineSpec(1 << 18)
    assert made.errors == (spec.ErrorSpec(1 / 3600),)
    assert made.files == (spec.FileSpec("f", 1),)
    assert made.tasks == (spec.TaskSpec("t", regions=(spec.RegionSpec("anon", "anon", 1),)),)
    assert made.pools == (spec.KernelPoolSpec("slab", 1),)


def test_a_panic_can_be_the_end(tmp_path: Path) -> None:
    assert _minimal(tmp_path, "machine.on_panic = 'end'\n").machine.reboot_ns is None


def test_a_uniform_rate_per_gib_counts_hidden_memory_too(tmp_path: Path) -> None:
    more = "machine.hidden = '1 GiB'\n[[errors]]\nrate = '1 / GiB / h'\n"
    assert _minimal(tmp_path, more).errors[0].rate_per_s == pytest.approx(2 / 3600)


def test_steps_come_in_order_of_time_and_keep_their_number(full: spec.Spec) -> None:
    assert [(step.at_ns, step.verb, step.where) for step in full.script] == [
        (10**9, "inject", "script[1]"),
        (2 * 10**9, "sync", "script[0]"),
    ]
    assert full.script[0].args == {"page": {"pfn": 7}, "line": 0, "how": "poison", "permanent": False}


def _steps(tmp_path: Path, *steps: str) -> list[dict[str, Any]]:
    more = """
file = [ { name = "f", size = "64 KiB" } ]
task = [ { name = "a", region = [ { kind = "anon", size = "64 KiB" } ] } ]
script = [ %s ]
"""
    return [step.args for step in _minimal(tmp_path, more % ", ".join(steps)).script]


def test_an_address_names_page_and_line(tmp_path: Path) -> None:
    at = "{ at = '1 s', do = 'inject', page = { address = '0x12345' }"
    plain, given = _steps(tmp_path, f"{at} }}", f"{at}, line = 3 }}")
    assert (plain["page"], plain["line"]) == ({"pfn": 0x12}, 0x345 >> 6)
    assert given["line"] == 3


def test_sizes_become_pages_and_sharing_follows_the_kind(tmp_path: Path) -> None:
    anon, shm, whole = _steps(
        tmp_path,
        "{ at = '1 s', do = 'mmap', task = 'a.0', name = 'x', kind = 'anon', size = '8 KiB' }",
        "{ at = '1 s', do = 'mmap', task = 'a.0', name = 'y', kind = 'shm', size = '8 KiB' }",
        "{ at = '1 s', do = 'mmap', task = 'a.0', name = 'z', kind = 'file', file = 'f' }",
    )
    assert anon == {"task": "a.0", "name": "x", "kind": "anon", "pages": 2, "shared": False}
    assert shm["shared"] is True
    assert whole == {"task": "a.0", "name": "z", "kind": "file", "file": "f", "shared": True}


def test_flags_a_script_sets_are_flags_the_kernel_has() -> None:
    assert set(PAGE_FLAGS) <= set(page_flags.NAMES)


EXAMPLES = {
    "page": "{ region = 'a.0/anon', index = 0 }",
    "task": "'a.0'",
    "region": "'anon'",
    "file": "'f'",
    "new_region": "'fresh'",
    "new_alloc": "'block'",
    "fd": "'log'",
    "alloc": "'block'",
    "count": "1",
    "index": "0",
    "line": "63",
    "cpu": "3",
    "order": "3",
    "tries": "5",
    "int": "1",
    "bool": "true",
    "flags": "['lru', 'dirty']",
    "sysctl": "'vm.memory_failure_early_kill'",
    "value": "'early'",
    "size": "'4 KiB'",
    "mce_text": "'CPU 3 BANK 8 STATUS CORRECTED'",
}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_can_be_written_with_all_its_arguments(tmp_path: Path, verb: str) -> None:
    args = VERBS[verb].args
    words = {k: repr(a.choices[0]) if a.kind == "choice" else EXAMPLES[a.kind] for k, a in args.items()}
    if verb == "mmap":
        words["kind"], words["shared"] = "'file'", "true"
    if verb == "msync":
        before = ["{ at = '1 s', do = 'mmap', task = 'a.0', name = 'fresh', kind = 'file', file = 'f' }"]
    else:
        before = ["{ at = '1 s', do = 'alloc', kind = 'slab', name = 'block' }"] if verb == "free" else []
    step = ", ".join(["at = '2 s'", f"do = '{verb}'", *(f"{key} = {text}" for key, text in words.items())])
    made = _steps(tmp_path, *before, f"{{ {step} }}")[-1]
    assert set(made) == {"pages" if args[key].kind == "size" else key for key in args}


def test_a_file_can_be_mapped_whole_by_a_child_after_fork(tmp_path: Path) -> None:
    steps = _steps(
        tmp_path,
        "{ at = '1 s', do = 'mmap', task = 'a.0', name = 'z', kind = 'file', file = 'f' }",
        "{ at = '2 s', do = 'fork', task = 'a.0' }",
        "{ at = '3 s', do = 'load', task = 'a.0.0', page = { region = 'a.0.0/z', index = 15 } }",
        "{ at = '4 s', do = 'load', task = 'a.0.0', page = { file = 'f', index = 15 } }",
        "{ at = '5 s', do = 'reboot' }",
        "{ at = '6 s', do = 'load', task = 'a.0', page = { region = 'a.0/anon', index = 15 } }",
    )
    assert len(steps) == 6


HUGE = """
name = "huge"
horizon = "1 h"
machine.memory = "4 GiB"
[[kernel]]
kind = "slab"
size = "4 KiB"
[[kernel]]
kind = "kernel_stack"
size = "64 KiB"
[[task]]
name = "kvm"
count = 3
[[task.region]]
kind = "anon"
size = "12 KiB"
[[task.region]]
kind = "hugetlb"
size = "2 MiB"
[[task.region]]
name = "all"
kind = "hugetlb"
size = "1 GiB"
huge_page = "1 GiB"
shared = true
"""


@pytest.mark.parametrize("text", [HUGE, EVERYTHING.replace('memory = "1 GiB"', 'memory = "4 GiB"')])
def test_memory_that_fits_here_fits_the_plan_of_the_machine(tmp_path: Path, text: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text)
    scenario = load(file)
    parts = Parts.of_model(ScenarioModel.model_validate(scenario.data), {})
    assert MemoryLayout(scenario.spec).layouts[-1].pages == free_pages(parts)
