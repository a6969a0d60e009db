"""What ``tools/same_bytes.py`` plays, as the tree NEW has it: printed as JSON, in groups.

A job is the name of a player in ``same_bytes_player.py`` and its arguments; the jobs of a group run in one
folder, one after the other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from tests.support import mce_logs as logs
from tests.whole.accelerated import OVERRIDES
from tests.whole.shipped import WITHOUT_KILLS

Job = list[Any]
# The accelerated forms, and one of a machine whose DIMMs fail so often that it reboots with their faults.
DENSE = {
    **OVERRIDES,
    "dram-server": (
        "dram.fit_factor=200",
        "dram.frailty=0",
        "dram.ecc=secded",
        "machine.on_panic.repair=0.2",
        "machine.corrected.signals=poll",
    ),
}
# Over each: paths that its own kernel and platform do not take.
VARIANTS = (
    ("machine.kernel=2.6.32",),
    ("machine.scrub.signals=fatal", "machine.on_panic.repair=0.5"),
    ("machine.tolerant=3", "machine.scrub.signals=fatal", "machine.device_read=fatal"),
    ("machine.switches.mca_recovery=off", "machine.device_read=silent"),
    ("machine.scrub.signals=UCNA", "machine.atomic_alloc_fail=0.3"),
    ("machine.switches.eio_mode=errseq", "machine.switches.pagecache_policy=keep_poisoned"),
    (
        "machine.switches.eio_mode=sticky",
        "machine.switches.close_reports=all",
        "machine.switches.collect_anon=mapped_only",
        "machine.switches.early_kill_scheme=has_handler",
        "machine.switches.free_page_policy=take_off_buddy",
        "machine.switches.unmap_retry_chance=0.3",
    ),
)
FLAGS = (
    "", "lru", "lru,dirty", "lru,swapbacked,dirty", "lru,swapcache,swapbacked", "lru,mlocked",
    "lru,unevictable", "lru,dirty,writeback", "slab", "reserved", "head,compound", "buddy",
)  # fmt: skip
COMMANDS = ("run", "compare", "mce", "plot", "explain", "faults", "kernels", "replay", "schema", "check")


def all_jobs(quick: bool) -> list[list[Job]]:
    """Worlds, studies, single commands, and what the library shows."""
    names = [Path(file).stem for file in _files("scenarios/*.toml")]
    both: tuple[int, ...] = (0, 1)
    if quick:  # lost writes cost most, and nearly the same under every kernel
        shipped = [_worlds(name, (), both, 2) for name in names]
        dense = [_worlds(name, keys, (1,), 1) for name, keys in DENSE.items()]
        others = [name for name in names if name not in WITHOUT_KILLS]
        varied = [_worlds(name, (*DENSE.get(name, ()), *VARIANTS[0]), (0,), 1) for name in others]
        return [*shipped, *dense, *varied, _studies("file-server"), _commands(quick), [["library"]]]
    shipped = [_worlds(name, (), both, 4) for name in names]
    dense = [_worlds(name, keys, both, 4) for name, keys in DENSE.items()]
    varied = [
        _worlds(name, (*DENSE.get(name, ()), *keys), both, 1) for name, keys in product(names, VARIANTS)
    ]
    studies = [_studies(name) for name in names]
    return [*shipped, *dense, *varied, *studies, _commands(quick), [["library"]]]


def screen_jobs(quick: bool) -> list[list[Job]]:
    """What is played with the screen and without."""
    seeds = ((), ("seed=1",)) if quick else ((), ("seed=1",), ("seed=2",))
    cases = product(_files("scenarios/*.toml"), seeds, ((), *VARIANTS[: 1 if quick else None]), (0, 1))
    return [
        [["together", file, [*seed, *keys, f"vm.memory_failure_early_kill={policy}"], 8 if quick else 60]]
        for file, seed, keys, policy in cases
    ]


def _files(pattern: str) -> list[str]:
    return [str(path) for path in sorted(Path().glob(pattern))]


def _worlds(name: str, overrides: Sequence[str], policies: Sequence[int], replications: int) -> list[Job]:
    file, key = f"scenarios/{name}.toml", "vm.memory_failure_early_kill"
    return [["world", file, [*overrides, f"{key}={policy}"], replications] for policy in policies]


def _studies(name: str) -> list[Job]:
    study = [f"scenarios/{name}.toml", "--repeat", "2", "--seed", "7", "--workers", "1", "--detected"]
    study += [part for each in DENSE.get(name, ()) for part in ("--set", each)]
    run, compare = f"run-{name}.sqlite", f"compare-{name}.sqlite"
    return [
        ["command", ["run", *study, "--out", run, "--dmesg", "--reach"]],
        ["command", ["run", *study, "--out", run, "--json"]],
        ["command", ["compare", *study, "--out", compare]],
        ["command", ["compare", *study, "--out", compare, "--json"]],
        ["command", ["replay", run, "--replication", "1"]],
        ["command", ["replay", compare, "--replication", "0", "--policy", "1", "--json"]],
        ["command", ["replay", run, "--replication", "0", "--map", "map"]],
        ["files", ".", "map.svg"],
        ["results", compare],
    ]


def _commands(quick: bool) -> list[Job]:
    faults = ["faults", "-q", "--trials", "2000", "--seed", "1"]
    return [
        *_machine_checks(quick),
        *_explain()[:: 7 if quick else 1],
        *(["command", ["check", file]] for file in _files("scenarios/*.toml") + _files("bad/*.toml")),
        *(["command", [*faults, file, "--json"]] for file in _files("scenarios/faults/*")),
        *(["command", ["kernels", *way]] for way in ([], ["--json"], ["v5", "2.6.32", "--json"])),
        *(["command", [name, "--help"]] for name in COMMANDS),
        *(["command", each] for each in (["explain", "--switches"], ["schema"], ["--help"], ["--version"])),
    ]


def _machine_checks(quick: bool) -> list[Job]:
    forms: list[Callable[[int], list[str]]] = [logs.kernel_lines, logs.polled_lines, logs.mcelog_lines]
    statuses = (logs.DATA_LOAD, logs.TIMER, logs.CORRECTED, logs.UCNA, logs.SCRUBBED)
    panic = logs.panic_lines(reason="why")
    texts = [logs.text_of(panic), *(logs.text_of(form(s), panic) for form, s in product(forms, statuses))]
    ways: list[list[str]] = [[], ["--json"], ["--kernel", "modern"], ["--tolerant", "3", "--no-ser"]]
    injected = _files("scenarios/mce/*")
    return [
        *(["command", ["mce", *injected, *way]] for way in ways),
        *(["command", ["mce", "-", *way], text] for text in texts for way in ways[: 2 if quick else None]),
    ]


def _explain() -> list[Job]:
    json_too, stuck = ["--json", "--early-kill", "0", "--pte-dirty"], ["--pins", "1", "--unmap-fails", "5"]
    ways: tuple[list[str], ...] = ([], json_too, stuck)
    return [
        ["command", ["explain", "--kernel", kernel, "--flags", flags, "--mapped", mapped, *way]]
        for kernel, flags, mapped, way in product(("v5", "2.6.32"), FLAGS, ("0", "2"), ways)
    ]


if __name__ == "__main__":
    jobs = screen_jobs if "--no-screen" in sys.argv else all_jobs
    print(json.dumps(jobs(quick="--quick" in sys.argv)))
