"""The table of verbs: what it says of a verb is all that anybody knows of it but how it is done."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hwsim.kernel import page_flags
from hwsim.kernel.versions.boot import all_profiles
from hwsim.scenario.arguments import shape
from hwsim.scenario.keys import spelled
from hwsim.scenario.schema_machine import Sysctl
from hwsim.scenario.valid_parts import Parts
from hwsim.script import errors, files, names, script, state, tasks, touch
from hwsim.script.verbs import (
    ARG_KINDS,
    GROUPS,
    N_UNMAP_TRIES,
    PAGE_FLAGS,
    PAGE_FORMS,
    SYSCTLS,
    VERBS,
    Arg,
    Verb,
)
from hwsim.userspace import open_files
from tests.support.copied_tree import ROOT, add, changed, copy_tree, python
from tools.verbs import reference

GOOD = [("bool", True), ("flags", []), ("value", -1), ("int", -1)]


def test_the_reference_says_what_the_table_says() -> None:
    assert reference() == (ROOT / "docs" / "verbs.md").read_text("utf-8"), "make schema"


def test_every_verb_has_one_function_and_no_function_is_without_a_verb() -> None:
    tables = [each.PLAYS for each in (errors, files, state, tasks, touch)]
    assert sum(map(len, tables)) == len(script._PLAYS) == len(VERBS)
    assert set(script._PLAYS) == set(VERBS)
    assert sum(map(len, GROUPS.values())) == len(VERBS)


def test_what_steps_are_asked_for_is_what_verbs_take() -> None:
    read = {"set", "clear"}  # in one loop
    for path in (ROOT / "hwsim" / "script").glob("*.py"):
        read.update(re.findall(r'\bargs(?:\[|\.get\()"(\w+)"', path.read_text("utf-8")))
    taken = {key for verb in VERBS.values() for key in verb.args}
    assert read == taken - {"size"} - {"signal"}  # a step gets pages; SIGBUS is the only signal


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_verb_says_all_that_the_reference_needs(verb: Verb) -> None:
    assert verb.doc.endswith(".")
    assert verb.source
    for arg in verb.args.values():
        kind = ARG_KINDS[arg.kind]
        assert arg.doc
        assert "|" not in arg.doc + kind.doc, "a table of Markdown would break"
        assert bool(arg.choices) == (arg.kind == "choice")
        assert arg.default is None or not arg.required
        if kind.high is not None and isinstance(arg.default, int):
            assert kind.low <= arg.default <= kind.high
        if arg.choices and arg.default is not None:
            assert arg.default in arg.choices


@pytest.mark.parametrize(
    "value", [True, -1, 1.5, [], [["x"]], {}, {"pfn": []}, {"region": 1, "index": {}}], ids=str
)
def test_a_value_of_any_shape_is_answered(value: object) -> None:
    parts = Parts(None, None, [], [], [], [], [])
    for kind in ARG_KINDS:
        good = (kind, value) in GOOD
        arg = Arg(kind, "", choices=("a", "b") if kind == "choice" else ())
        assert bool(list(shape(("x",), arg, value, parts))) != good, kind


def test_facts_of_the_kernel_are_as_the_kernel_has_them() -> None:
    assert set(PAGE_FLAGS) == set(page_flags.NAMES) - {"anon"}  # that is a bit of page->mapping
    assert list(SYSCTLS) == list(spelled(Sysctl))
    assert {profile.n_unmap_tries for profile in all_profiles().values()} == {N_UNMAP_TRIES}


def test_who_goes_by_names_of_verbs_and_pages_knows_them_all() -> None:
    through_a_descriptor = {verb for verb, what in VERBS.items() if "fd" in what.args}
    assert set(open_files._USES) == through_a_descriptor - {"open"} | {"read"}
    assert set(names._FORMS) == set(PAGE_FORMS) - {"address"}  # a step gets its frame


def test_a_scenario_is_checked_without_anything_that_runs() -> None:
    code = "import sys, hwsim.script.verbs, hwsim.scenario.load; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    run = {"simpy", "numpy", "hwsim.engine", "hwsim.kernel.kernel", "hwsim.bad_lines", "hwsim.script.step"}
    assert run & set(done.stdout.split()) == set()


# -- a new verb --------------------------------------------------------------------------------------

SAID = """        "getcpu": Verb(
            "The task asks where it runs.", "getcpu(2)", {"task": _TASK, "cpu": _opt("cpu", "the answer", 3)}
        ),
"""
DONE = '''

def getcpu(step: Step) -> None:
    """The task asks where it runs."""
    step.task()
    step.result(step.args["cpu"])


PLAYS["getcpu"] = getcpu
'''
SCENARIO = """
name = "toy"
horizon = "1 min"
machine = { memory = "64 MiB" }
task = [ { name = "a", region = [ { kind = "anon", size = "64 KiB" } ] } ]
script = [ { at = "1 s", do = "getcpu", task = "a.0" }, { at = "2 s", do = "getcpu", task = "a.0", cpu = 1 } ]
"""
BAD = SCENARIO.replace('"a.0" }', '"a.0", cpus = 1 }').replace('"getcpu", task = "a.0", cpu ', '"getcp", no ')
USED = """
import json
from pathlib import Path
from hwsim.machine import run_replication
from hwsim.scenario import ScenarioError
from hwsim.scenario.json_schema import schema_json
from hwsim.study.rehearsal import load
from tools.verbs import reference
Path("scenarios", "hwsim.schema.json").write_text(schema_json(), "utf-8")
Path("docs", "verbs.md").write_text(reference(), "utf-8")
try:
    load(Path("bad.toml"))
except ScenarioError as error:
    told = str(error)
events = run_replication(load(Path("toy.toml")).spec, 0, trace=True).events
print(json.dumps([told, [facts["result"] for _, event, facts in events if event == "script"]]))
"""


def test_a_new_verb_is_two_files_what_is_said_of_it_and_what_it_does(tmp_path: Path) -> None:
    """... and the two that ``make schema`` renews."""
    parts = ("hwsim", "docs", "scenarios", "tools")
    copy_tree(tmp_path, *parts)
    add(tmp_path / "hwsim/script/verbs.py", SAID, before='        "reboot": Verb(')
    with (tmp_path / "hwsim/script/tasks.py").open("a", encoding="utf-8") as file:
        file.write(DONE)
    (tmp_path / "toy.toml").write_text(SCENARIO, "utf-8")
    (tmp_path / "bad.toml").write_text(BAD, "utf-8")
    told, results = json.loads(python(tmp_path, "-c", USED))
    assert results == [3, 1]
    assert "did you mean: getcpu" in told
    assert "did you mean: cpu\n    allowed: getcpu takes task, cpu" in told
    schema = json.loads((tmp_path / "scenarios/hwsim.schema.json").read_text("utf-8"))
    assert "getcpu" in [step["title"] for step in schema["$defs"]["Step"]["oneOf"]]
    assert "### `getcpu`\n\nThe task asks where it runs. (getcpu(2))" in (
        tmp_path / "docs/verbs.md"
    ).read_text("utf-8")
    assert changed(tmp_path, *parts) == {
        "docs/verbs.md",
        "hwsim/script/tasks.py",
        "hwsim/script/verbs.py",
        "scenarios/hwsim.schema.json",
    }
