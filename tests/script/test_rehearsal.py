"""Scripts are rehearsed when a scenario is loaded: what cannot be done is told before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import hwsim
from hwsim.cli.main import app as command
from hwsim.machine import rehearse
from hwsim.record import Replication, StepMistake
from hwsim.scenario import load as read
from hwsim.script.step import ScriptError
from hwsim.spec import FileSpec, RegionSpec, Spec, SwapCycle, TaskSpec, without_chance
from hwsim.study.conduct import conduct
from hwsim.study.manifest import Policy
from tests.support.worlds import BARE, P0, app, happened, heap, outcomes, play, run, touch, world

MACHINE = """
name = "x"
horizon = "1 h"
repeat = 2
[machine]
memory = "64 MiB"
{machine}
[[file]]
name = "data"
size = "32 KiB"
[[task]]
name = "app"
count = 2
restart = "1 s"
[[task.region]]
name = "heap"
kind = "anon"
size = "32 KiB"
{more}
"""


def scenario(folder: Path, *steps: str, machine: str = "", more: str = "") -> Path:
    """A file with these steps, each ``at, do, arguments`` as an inline table holds them."""
    path = folder / "x.toml"
    lines = "".join("\n[[script]]\n" + step.replace("; ", "\n") for step in steps)
    path.write_text(MACHINE.format(machine=machine, more=more) + lines + "\n")
    return path


def messages(path: Path, *overrides: str) -> list[tuple[str, str]]:
    """(key, message) of everything that is wrong."""
    with pytest.raises(hwsim.ScenarioError) as caught:
        hwsim.load(path, overrides)
    return [(each.key, each.message) for each in caught.value.problems]


DEAD = ('at = "1 s"; do = "exit"; task = "app.0"', 'at = "1.5 s"; do = "mask"; task = "app.0"')
SAID = ("script[1].task", 'task "app.0" is dead at this time')


@pytest.mark.parametrize("words", [["check"], ["run"], ["compare"], ["faults"]], ids=" ".join)
def test_every_command_rehearses(tmp_path: Path, words: list[str]) -> None:
    path = scenario(tmp_path, *DEAD)
    done = CliRunner().invoke(command, [*words, str(path)])
    assert done.exit_code == 2
    assert f'{path}:28: {SAID[0]} = "app.0": {SAID[1]}\n    allowed: a task that lives' in done.stderr
    assert not (tmp_path / "results").exists()


def test_load_and_run_of_the_package_rehearse(tmp_path: Path) -> None:
    path = scenario(tmp_path, *DEAD)
    assert messages(path) == [SAID]
    with pytest.raises(hwsim.ScenarioError):
        hwsim.run(path)


def test_a_step_that_cannot_be_done_is_left_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = scenario(
        tmp_path,
        'at = "1 s"; do = "lock_page"; page = { file = "data", index = 1 }',
        'at = "2 s"; do = "lock_page"; page = { file = "data", index = 1 }',
        'at = "3 s"; do = "unlock_page"; page = { file = "data", index = 1 }',
        'at = "4 s"; do = "unlock_page"; page = { file = "data", index = 1 }',
        'at = "5 s"; do = "load"; task = "app.0"; page = { region = "app.1/heap", index = 0 }',
    )
    assert messages(path) == [
        ("script[1].do", "the page is locked already"),
        ("script[3].do", "no step has locked the page"),
        ("script[4].page", 'task "app.0" does not map memory of "app.1"'),
    ]


def test_mistakes_of_tables_that_build_no_machine_hide_no_step(tmp_path: Path) -> None:
    path = scenario(tmp_path, *DEAD, more='[[errors]]\nrate = "2 / dayy"\n')
    assert [key for key, _ in messages(path, "seed=-1")] == ["errors[0].rate", SAID[0], "seed"]


def test_a_machine_that_cannot_be_built_is_not_rehearsed(tmp_path: Path) -> None:
    path = scenario(tmp_path, *DEAD)
    assert [key for key, _ in messages(path, "machine.memory=8 KiB")] == ["machine.memory"]
    assert [key for key, _ in messages(path, "file.data.size=3 KB")] == ["file[0].size"]


def test_the_rehearsal_is_without_the_chance_of_the_scenario(tmp_path: Path) -> None:
    """Errors by rate, which would have killed every task long before, are not part of it."""
    errors = '[[errors]]\nrate = "50 / s"\nwhere = { region = "app/heap" }\n'
    path = scenario(tmp_path, 'at = "59 min"; do = "fork"; task = "app.1"', more=errors)
    assert hwsim.load(path).spec.machine.chance


def test_a_change_of_the_scenario_is_rehearsed_again(tmp_path: Path) -> None:
    path = scenario(tmp_path, 'at = "1 s"; do = "read"; task = "app.0"; file = "data"; index = 7')
    good = hwsim.load(path)
    with pytest.raises(hwsim.ScenarioError, match="the cached part of data has 4 pages"):
        good.with_overrides(["file.data.size=16 KiB"])
    with pytest.raises(hwsim.ScenarioError, match=r"x\.toml:26: script\[0\]\.index = 7: the cached part"):
        conduct(good, [Policy("whole"), Policy("small", ("file.data.size=16 KiB",))])
    assert read(path, ["file.data.size=16 KiB"]).spec.script, (
        "without a rehearsal only what is written counts"
    )


def test_steps_of_tasks_that_a_policy_kills_are_no_mistakes(tmp_path: Path) -> None:
    """Early kill takes app.0, and with it the region that a step has mapped: the next process has none."""
    at = '; page = { region = "app.0/new", index = 0 }'
    path = scenario(
        tmp_path,
        'at = "1 s"; do = "mmap"; task = "app.0"; name = "new"; kind = "anon"; size = "16 KiB"',
        'at = "2 s"; do = "inject"; page = { region = "app.0/heap", index = 0 }',
        f'at = "2.5 s"; do = "load"; task = "app.0"{at}',
        f'at = "9 s"; do = "load"; task = "app.0"{at}',
        machine='chance = "off"',
    )
    done = CliRunner().invoke(command, ["compare", str(path), "--out", str(tmp_path / "x.sqlite")])
    assert done.exit_code == 0
    skipped = [
        [facts.get("skipped") for _, event, facts in hwsim.replay(tmp_path / "x.sqlite", 0, policy).events
         if event == "script"]
        for policy in (0, 1)
    ]  # fmt: skip
    gone = 'task "app.0" maps no region "new" at this time'
    assert skipped == [[None] * 4, [None, None, 'task "app.0" was killed', gone]]


def test_a_region_that_was_never_there_is_a_mistake_after_a_death_too() -> None:
    steps = ((1_000, "inject", {"page": P0}), touch(9_000, "load", 99))
    tasks = (app(restart_ns=1_000),)
    found = rehearse(without_chance(world(*steps, tasks=tasks)))
    assert [(each.key, each.problem) for each in found] == [
        (("page", "index"), 'region "heap" of task "app.0" has 8 pages')
    ]


def test_after_a_panic_what_the_reboot_took_is_no_mistake() -> None:
    steps = (
        (500, "fork", {"task": "app.0"}),
        (1_000, "inject", {"page": P0, "how": "line"}),
        touch(2_000, "load"),
        (9_000, "mask", {"task": "app.0.0"}),
        (9_500, "unpin", {"page": P0}),
    )
    result = play(*steps, reboot_ns=1_000)
    assert result.row.panics == 1
    skipped = [facts.get("skipped") for _, event, facts in result.events if event == "script"]
    assert skipped[-2:] == ['there is no task "app.0.0" at this time', "no step has pinned the page"]


def test_a_task_whose_handler_exits_is_skipped_like_a_killed_one(tmp_path: Path) -> None:
    machine = 'chance = "off"'
    steps = ('at = "1 s"; do = "inject"; page = { region = "app.0/heap", index = 0 }',)
    path = scenario(tmp_path, *steps, 'at = "1.5 s"; do = "mask"; task = "app.0"', machine=machine)
    assert hwsim.load(path, ["task.app.sigbus='exit'"]).spec.script


def test_a_death_by_the_scripts_own_store_is_a_mistake_of_the_script() -> None:
    read_only = {"task": "app.0", "region": "heap", "first": 0, "pages": 1, "write": False}
    steps = ((1_000, "mprotect", read_only), touch(2_000, "store"), touch(3_000, "load", 1))
    found = rehearse(without_chance(world(*steps)))
    assert {each.problem for each in found} == {'task "app.0" is dead at this time'}


def test_what_a_step_meets_after_it_has_slept_is_told_as_well() -> None:
    """The second page of the range is poison that nobody has injected."""
    steps = (
        (1_000, "flags", {"page": {"file": "data", "index": 1}, "set": ("hwpoison",)}),
        (2_000, "madvise", {**RANGE, "advice": "hwpoison"}),
        (9_000, "mask", {"task": "app.0"}),
    )
    mapping = RegionSpec("map", "file", 8, file="data", shared=True, populate=False)
    spec = world(*steps, tasks=(app(mapping),), files=(FileSpec("data", 8),), pools=())
    said = "the page is poisoned, but no error has been injected into it"
    assert [each.problem for each in rehearse(without_chance(spec))] == [said]
    with pytest.raises(ScriptError, match=said):
        run(spec)


RANGE: dict[str, Any] = {"task": "app.0", "region": "map", "first": 0, "pages": 2}
TASK_FILE = {"task": "app.0", "file": "data"}
NEW = {"task": "app.0", "name": "new"}


# What the verbs refuse themselves: the steps of a machine, without a scenario file before them.
@pytest.mark.parametrize(
    ("verb", "args", "says"),
    [
        ("read", {**TASK_FILE, "index": 8}, "the cached part of data has 8 pages"),
        ("write", {**TASK_FILE, "index": 8}, "the cached part of data has 8 pages"),
        ("read", {**TASK_FILE, "file": "none", "index": 0}, 'no file has the name "none"'),
        ("punch", {"file": "data", "index": 6, "pages": 3}, "pages 6 to 8, but the cached part"),
        ("truncate", {"file": "data", "pages": 9}, "longer than the cached part of data"),
        ("scrub", {"page": {"pfn": 8192}}, "pfn 0x2000 is beyond the memory"),
        ("scrub", {"page": {"file": "data", "index": 8}}, "the cached part of data has 8 pages"),
        ("pin", {"page": {"free": 99_999}}, "free memory has"),
        ("pin", {"page": {"kernel": "reserved", "index": 0x1234}}, "reserved has 4660 pages"),
        ("load", {"task": "app.0", "page": heap(0, "app.1")}, 'does not map memory of "app.1"'),
        ("load", {"task": "app.0", "page": {"file": "data", "index": 0}}, "does not map this file"),
        ("load", {"task": "app.0", "page": {"kernel": "reserved", "index": 0}}, "a task cannot load"),
        ("write", {**TASK_FILE, "index": 0, "buffer": heap(0, "app.1")}, "the task's own memory"),
        ("msync", TASK_FILE, "does not map this file"),
        ("mmap", {**NEW, "kind": "file"}, "a mapping needs the file"),
        ("mmap", {**NEW, "kind": "file", "file": "data", "pages": 9}, 'larger than the cached part'),
        ("mmap", {**NEW, "kind": "anon"}, "mmap needs this argument"),
        ("mmap", {**NEW, "kind": "anon", "pages": 1, "file": "data"}, "a region of kind anon has no file"),
        ("mmap", {**NEW, "kind": "shm", "pages": 1, "shared": False}, "not for kind shm"),
        ("mmap", {**NEW, "kind": "anon", "pages": 8192}, "there is no free block of 8192 pages"),
        ("mmap", {**NEW, "name": "heap", "kind": "anon", "pages": 1}, 'maps a region "heap" already'),
    ],
)  # fmt: skip
def test_verbs_refuse_what_cannot_be(verb: str, args: dict[str, Any], says: str) -> None:
    tasks = (TaskSpec("app", count=2, regions=(RegionSpec("heap", "anon", 8),)),)
    with pytest.raises(ScriptError) as caught:
        play((1_000, verb, args), tasks=tasks, files=(FileSpec("data", 8),))
    assert says in str(caught.value)
    assert caught.value.mistake.key != ("do",)


def test_hidden_memory_can_go_bad_and_be_scrubbed_but_has_no_struct_page() -> None:
    hidden = {"page": {"pfn": 8192 + 3}}
    steps = ((1_000, "inject", {**hidden, "how": "line"}), (2_000, "scrub", hidden), (3_000, "pin", hidden))
    found = rehearse(without_chance(world(*steps, hidden_pages=8)))
    assert [(each.verb, each.key) for each in found] == [("pin", ("page", "pfn"))]


def test_a_report_may_name_memory_that_does_not_exist() -> None:
    far = {"page": {"pfn": 1 << 30}}
    assert not rehearse(without_chance(world((1_000, "mce", far), (2_000, "inject", far))))


def test_a_child_inherits_the_pieces_of_a_region_under_its_name() -> None:
    """munmap() has cut the parent's region in two; mprotect() holds in the child as well."""
    cut = {"task": "app.0", "region": "heap", "first": 2, "pages": 2}
    read_only = {"task": "app.0", "region": "heap", "first": 6, "pages": 1, "write": False}
    child = "app.0.0"
    steps = (
        (1_000, "munmap", cut),
        (1_500, "mprotect", read_only),
        (2_000, "fork", {"task": "app.0"}),
        touch(3_000, "load", 5, child, page=heap(5, child)),
        touch(4_000, "store", 6, child, page=heap(6, child)),
    )
    assert outcomes(play(*steps))[1:] == ["ok", "SIGSEGV"]


def test_only_the_last_step_is_waited_for(tmp_path: Path) -> None:
    """A lost write that somebody asks for each second would be millions of calls until the horizon."""
    more = '[[task]]\nname = "asks"\nfsync = { file = "data", every = "1 ms" }\n'
    step = 'at = "1 s"; do = "sync"'
    path = scenario(tmp_path, step, more=more)
    seen: list[Spec] = []

    def note(spec: Spec) -> list[StepMistake]:
        seen.append(spec)
        return []

    read(path, ["horizon=100 y"], rehearse=note)
    assert [(spec.horizon_ns, spec.errors, spec.machine.chance) for spec in seen] == [(10**9 + 1, (), False)]


# -- whatever acts by itself is in the event log ---------------------------------------------------------


def test_the_flusher_is_in_the_event_log() -> None:
    """A page written at 1 us has been written back when the script comes back to it."""
    file = FileSpec("data", 8, flush_every_ns=400_000)
    steps = (
        (1_000, "write", {**TASK_FILE, "index": 3}),
        (900_000, "inject", {"page": {"file": "data", "index": 3}}),
    )
    result = play(*steps, **{**BARE, "files": (file,)}, dirty_writeback_ns=100_000)
    (flushed,) = [(time, facts) for time, event, facts in result.events if event == "written_back"]
    assert flushed[0] == 900_000
    at_ns = flushed[1]["at_ns"]
    assert isinstance(at_ns, int)
    assert 1_000 < at_ns <= 900_000
    assert not result.lost_writes


def test_the_flusher_is_in_the_event_log_for_a_page_of_a_script_too() -> None:
    """Nothing is wrong with the page: one step has written it, and another one comes back."""
    file = FileSpec("data", 8, flush_every_ns=100_000)
    page = {"file": "data", "index": 3}
    steps = ((1_000, "write", {**TASK_FILE, "index": 3}), (900_000, "write", {**TASK_FILE, "index": 3}))
    machine = {**BARE, "files": (file,), "dirty_writeback_ns": 100_000}
    result = play(*steps, (910_000, "inject", {"page": page}), **machine)
    (flushed,) = [(time, facts["at_ns"]) for time, event, facts in result.events if event == "written_back"]
    assert flushed[0] == 900_000
    assert isinstance(flushed[1], int)
    assert 101_000 <= flushed[1] <= 201_000
    assert len(result.lost_writes) == 1


def test_a_restart_is_in_the_event_log() -> None:
    result = play((1_000, "inject", {"page": P0}), tasks=(app(restart_ns=5_000),))
    (started,) = [(time, facts["task"]) for time, event, facts in result.events if event == "start"]
    assert started == (6_000, "app.0")


def test_what_happens_to_a_bad_frame_by_chance_is_in_the_event_log() -> None:
    """Each rate alone, so high that it is met: reclaim, allocation, swap, the death of the owner."""
    line = {"how": "line", "permanent": True}
    on_file = (1_000, "inject", {"page": {"file": "data", "index": 3}, **line})
    assert "refilled" in names(
        play((1_000, "inject", {**on_file[2], "permanent": False}), **busy(turnover_per_s=1e6))
    )
    assert "allocated" in names(play((1_000, "inject", {"page": {"free": 3}, **line}), alloc_per_s=1e8))
    cycle = SwapCycle(10_000, 0.2, 0.2, 0.2, 0.2)
    swapping = (app(RegionSpec("heap", "anon", 8, swap=cycle)),)
    assert "swap" in names(play((1_000, "inject", {"page": P0, **line}), tasks=swapping))
    dead = play((1_000, "inject", {"page": P0, **line}), (2_000, "exit", {"task": "app.0"}))
    assert (2_000, "freed") in happened(dead)


def busy(**rates: Any) -> dict[str, Any]:
    return {**BARE, "files": (FileSpec("data", 8, **rates),)}


def names(result: Replication) -> set[str]:
    return {name for _, name in happened(result)}
