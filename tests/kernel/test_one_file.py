"""A kernel is one file and its line in the registry: added to a copy of the tree, every command knows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.copied_tree import ROOT, add, changed, copy_tree, python

pytestmark = pytest.mark.xdist_group("one_file")  # one copy of the tree for all of them
TOY = Path(__file__).with_name("toy_kernel.py")
SCENARIO = """
name = "toy"
horizon = "10 s"
[machine]
memory = "16 MiB"
kernel = "toy"
chance = "off"
[machine.times]
page_handler = "1 ms"
[[task]]
name = "app"
count = 2
[[task.region]]
name = "heap"
kind = "anon"
size = "64 KiB"
"""
STEP = """
[[script]]
at = "{at}"
do = "{do}"
{task}page = {{ region = "app.{number}/heap", index = {index} }}
"""
STEPS = (
    ("1 s", "store", 0, 0),
    ("1 s", "store", 1, 0),
    ("1 s", "store", 1, 1),
    ("2 s", "inject", 0, 0),
    ("2000500 us", "inject", 1, 0),  # while the other is being handled
    ("3 s", "mce", 1, 1),
)
RUN = ("run", "script.toml", "--repeat", "1")
SCHEMA, CHECK, ODD = ("schema",), ("check", "script.toml"), ("check", "odd.toml")
KERNELS, SWITCHES = ("kernels", "--json"), ("explain", "--switches")
BESIDE = ("kernels", "toy", "v5", "--json")
PLAYED, TABLE = (*RUN, "--json", "--reach", "--dmesg"), (*RUN, "--reach")
SWITCHED = (*RUN, "--set", "machine.switches.early_kill_scheme=has_handler", "--reach", "--json")
EXPLAINED = ("explain", "--kernel", "toy", "--flags", "lru", "--mapped", "2", "--json")
GRADED, MISNAMED = ("mce", "--kernel", "toy", "log"), ("mce", "--kernel", "toi", "log")
COMMANDS = (
    SCHEMA, CHECK, ODD, KERNELS, BESIDE, SWITCHES, PLAYED, TABLE, SWITCHED, EXPLAINED, GRADED, MISNAMED,
)  # fmt: skip
PLAYER = """
import json, sys
from typer.testing import CliRunner
from hwsim.cli.main import app
answers = (CliRunner().invoke(app, command) for command in json.loads(sys.argv[1]))
print(json.dumps([each.stdout if each.exit_code == 0 else each.stderr for each in answers]))
"""
Answers = dict[tuple[str, ...], str]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of hwsim with the toy's file and its line in the registry."""
    tree: Path = tmp_path_factory.mktemp("tree")
    copy_tree(tree, "hwsim")
    versions = tree / "hwsim" / "kernel" / "versions"
    shutil.copy(TOY, versions / "toy.py")
    add(versions / "__init__.py", '"toy": "toy", ', before='"2.6.32": ')
    return tree


@pytest.fixture(scope="module")
def answers(tree: Path) -> Answers:
    """What each command says, or complains of."""
    script = SCENARIO
    for at, do, number, index in STEPS:
        task = f'task = "app.{number}"\n' if do == "store" else ""
        script += STEP.format(at=at, do=do, task=task, number=number, index=index)
    (tree / "script.toml").write_text(script, "utf-8")
    (tree / "odd.toml").write_text(SCENARIO.replace('kernel = "toy"', 'kernel = "toi"'), "utf-8")
    (tree / "log").write_text("CPU 0 BANK 2\nSTATUS CORRECTED\n", "utf-8")

    said = python(tree, "-c", PLAYER, json.dumps(COMMANDS), NO_COLOR="1", COLUMNS="200")
    return dict(zip(COMMANDS, json.loads(said), strict=True))


def test_it_takes_one_file_and_a_line_of_the_registry(tree: Path) -> None:
    registry = "hwsim/kernel/versions/__init__.py"
    assert changed(tree, "hwsim") == {registry, "hwsim/kernel/versions/toy.py"}
    was, now = ((place / registry).read_text("utf-8").splitlines() for place in (ROOT, tree))
    assert sum(a != b for a, b in zip(was, now, strict=True)) == 1


def test_the_schema_and_the_checks_know_it(answers: Answers) -> None:
    machine = json.loads(answers[SCHEMA])["$defs"]["Machine"]["properties"]
    assert machine["kernel"]["enum"] == ["v5", "toy", "2.6.32"]
    shipped = (ROOT / "scenarios" / "hwsim.schema.json").read_text("utf-8").splitlines()
    assert {line.strip() for line in set(answers[SCHEMA].splitlines()) - set(shipped)} == {'"toy",'}
    assert "no mistakes" in answers[CHECK]
    assert "did you mean" in answers[ODD]


def test_kernels_puts_it_beside_the_others(answers: Answers) -> None:
    assert [each["name"] for each in json.loads(answers[KERNELS])] == ["v5", "toy", "2.6.32"]
    lines = {each["what"]: each["kernels"] for each in json.loads(answers[BESIDE])}
    assert lines["locking"] == {"toy": "mutex", "v5": ""}
    assert lines["early_kill_scheme"] == {"toy": "its own", "v5": "sysctl"}
    assert lines["2"]["toy"] == "anything: 'toy page' me_give_up()"
    assert "toy: its own" in answers[SWITCHES]


def test_run_plays_its_own_memory_failure(answers: Answers) -> None:
    answer = json.loads(answers[PLAYED])
    met, possible = answer["reach"]["met"], answer["reach"]["possible"]
    assert met["exit:waited"] == 1, "the mutex"
    assert (met["exit:table"], met["row:2"], met["signal:AO"]) == (3, 3, 1)
    assert sum(line["text"].endswith("gave up") for line in answer["dmesg"]) == 3
    assert possible["exit:waited"] == "another page was being handled [memory_failure]"
    assert "mappings:clean" not in possible
    assert [key for key in possible if key.startswith("row:")] == ["row:1", "row:2"]
    assert "exit: 2 of 3 met" in answers[TABLE]


def test_a_switch_puts_another_function_there(answers: Answers) -> None:
    assert "signal:AO" not in json.loads(answers[SWITCHED])["reach"]["met"]


def test_explain_asks_it(answers: Answers) -> None:
    answer = json.loads(answers[EXPLAINED])
    assert (answer["message"], answer["handler"]) == ("toy page", "me_give_up")
    assert answer["outcome"] == "Recovered"


def test_mce_grades_with_its_table(answers: Answers) -> None:
    assert "kernel toy" in answers[GRADED]
    assert "allowed: 2.6.32, modern, v5, toy" in answers[MISNAMED]
