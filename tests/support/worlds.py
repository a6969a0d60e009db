"""Tiny machines for scripted tests: every time is zero, nothing happens by chance.

The first page of interest has pfn 0x1234 and the first process pid 100.  :func:`run` gives everything
a run leaves behind; :func:`log` the kernel log without the injectors' own line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwsim.machine import Machine, MemoryLayout, run_replication
from hwsim.record import Replication
from hwsim.spec import (
    Delay,
    FileSpec,
    KernelPoolSpec,
    MachineSpec,
    RegionSpec,
    ScriptStep,
    ScrubSpec,
    Spec,
    TaskSpec,
    TimesSpec,
)

PFN = 0x1234
MEMORY = 8192
HORIZON_NS = 1_000_000
ZERO = Delay()
NO_TIME = TimesSpec(*[ZERO] * 11)

HEAP = RegionSpec("heap", "anon", 8)
APP = TaskSpec("app", regions=(HEAP,))
DATA = FileSpec("data", 8)
MAPPED = TaskSpec("app", regions=(RegionSpec("map", "file", 8, file="data", shared=True),))
FILLER = KernelPoolSpec("reserved", PFN)
P0 = {"pfn": PFN}


def app(*regions: RegionSpec, **more: Any) -> TaskSpec:
    """A task group "app" with these regions, or with a heap of 8 pages."""
    return TaskSpec("app", regions=regions or (HEAP,), **more)


def machine(**more: Any) -> MachineSpec:
    """Four CPUs, no patrol scrub, no time for anything; a panic ends the run."""
    known: dict[str, Any] = {"scrub": ScrubSpec(None), "times": NO_TIME, "reboot_ns": None}
    return MachineSpec(**({"memory_pages": MEMORY} | known | more))


def world(
    *steps: tuple[Any, ...],
    tasks: Sequence[TaskSpec] = (APP,),
    files: Sequence[FileSpec] = (),
    pools: Sequence[KernelPoolSpec] = (FILLER,),
    **more: Any,
) -> Spec:
    """A machine and its script: steps are (time_ns, verb, {arguments})."""
    script = tuple(
        ScriptStep(step[0], step[1], step[2] if len(step) > 2 else {}, f"script[{number}]")
        for number, step in enumerate(steps)
    )
    return Spec(
        "test", HORIZON_NS, 1, 1, machine(**more), (), tuple(files), tuple(tasks), tuple(pools), script
    )


def run(spec: Spec) -> Replication:
    """Replication 0 with all its logs."""
    return run_replication(spec, 0, trace=True)


def events_of(spec: Spec, index: int = 0, layout: MemoryLayout | None = None) -> int:
    """How many events the engine schedules in this replication."""
    machine = Machine(spec, index, layout or MemoryLayout(spec))
    machine.run()
    return machine.engine.scheduled


def play(*steps: tuple[Any, ...], **more: Any) -> Replication:
    """Run a world; see :func:`world`."""
    return run(world(*steps, **more))


def log(result: Replication) -> list[str]:
    """The kernel log without what the injectors say of themselves."""
    return [text for _, _, text in result.log if not text.startswith("Injecting")]


def happened(result: Replication) -> list[tuple[int, str]]:
    """(time_ns, event) in order; of a script step the verb and what came of it."""
    return [(time, _name(event, facts)) for time, event, facts in result.events]


def _name(event: str, facts: dict[str, Any]) -> str:
    if event != "script":
        return event
    if "skipped" in facts:
        return f"{facts['verb']} skipped"
    return f"{facts['verb']} {facts['result']}" if "result" in facts else str(facts["verb"])


def outcomes(result: Replication) -> list[Any]:
    """What came of each script step that has a result."""
    return [facts["result"] for _, event, facts in result.events if event == "script" and "result" in facts]


def signals(result: Replication) -> list[tuple[int, str, str, str, str]]:
    """(pid, signal, code, cause, result) of every signal."""
    return [(row.pid, row.signal, row.code, row.cause, row.result) for row in result.signals]


def ptes(result: Replication) -> dict[str, str]:
    """What the last unmapping left in the page table of each task."""
    return {str(facts["task"]): str(facts["pte"]) for _, event, facts in result.events if event == "unmapped"}


def heap(index: int = 0, task: str = "app.0", region: str = "heap") -> dict[str, Any]:
    """A page of a task's region."""
    return {"region": f"{task}/{region}", "index": index}


# -- steps that several files use ------------------------------------------------------------------

FILE: dict[str, Any] = {"tasks": (MAPPED,), "files": (DATA,)}
BARE: dict[str, Any] = {"tasks": (TaskSpec("app", count=2),), "files": (DATA,)}
INJECT = (9_000, "inject", {"page": P0})


def on_file(at: int, verb: str, task: str = "app.0", **more: Any) -> tuple[int, str, dict[str, Any]]:
    return at, verb, {"task": task, "file": "data", **more}


def touch(
    at: int, verb: str, index: int = 0, task: str = "app.0", **more: Any
) -> tuple[int, str, dict[str, Any]]:
    return at, verb, {"task": task, "page": heap(index, task), **more}


def line(at: int, **more: Any) -> tuple[int, str, dict[str, Any]]:
    return at, "inject", {"page": P0, "how": "line", "line": 7, **more}
