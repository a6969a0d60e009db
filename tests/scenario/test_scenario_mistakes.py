"""Files with mistakes in them, and word for word what is said about each: everything at once."""

from __future__ import annotations

import copy
import os
import pickle
import random
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hwsim.scenario import Problem, ScenarioError
from hwsim.scenario.compile import to_spec
from hwsim.scenario.sources import Document, Source
from hwsim.scenario.validate import validate
from hwsim.study.rehearsal import load, rehearse
from tests.whole.shipped import SCENARIOS

BAD = SCENARIOS / "bad"
GOOD = "name = 'x'\nhorizon = '1 h'\nmachine.memory = '64 MiB'\n"


def words(path: Path, overrides: list[str] | None = None) -> str:
    """What is said, with the folder taken out."""
    with pytest.raises(ScenarioError) as caught:
        load(path, overrides or [])
    return str(caught.value).replace(f"{path.parent}{os.sep}", "") + "\n"


@pytest.mark.parametrize("path", sorted(BAD.glob("*.toml")), ids=lambda path: path.stem)
def test_every_mistake_is_named_with_its_line(path: Path) -> None:
    assert words(path) == path.with_suffix(".txt").read_text(encoding="utf-8")


def test_there_is_an_expectation_for_every_bad_file() -> None:
    assert {path.stem for path in BAD.glob("*.toml")} == {path.stem for path in BAD.glob("*.txt")}
    assert len(list(BAD.glob("*.toml"))) >= 15


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("machine.cpu=3", "--set: machine.cpu = 3: unknown key\n    did you mean: cpus"),
        ("cpus=3", "--set: cpus = 3: unknown key\n    did you mean: machine.cpus"),
        ("scrub.period=1 h", "--set: scrub: unknown key\n    did you mean: machine.scrub"),
        ("early_kill=1", "unknown key\n    did you mean: machine.sysctl.vm.memory_failure_early_kill"),
        ("vm.memory_failure_early_kil=0", "did you mean: vm.memory_failure_early_kill"),
        ("vm.memory_failure_early_kill=2", 'machine.sysctl."vm.memory_failure_early_kill" = 2: out of range'),
        ("errors.1.rate=never", '"1" is no entry of errors\n    allowed: 0 to 0'),
        ("task.wbe.count=3", '"wbe" is no entry of task\n    did you mean: web'),
        (
            "errors.0.rate=4 / dayy",
            'errors[0].rate = "4 / dayy": unknown unit "dayy"\n    did you mean: 4 / d',
        ),
        ("name.x=3", "name is not a table here"),
        ("task.0.sigbus.on_ao=exit", "sigbus is not a table here"),
        ("seed", '"seed" is not an override'),
        ("seed=", "seed: there is no value"),
        ("a..b=3", '"a..b=3" is not an override'),
        ("=3", '"=3" is not an override'),
        ('name="half', "not a TOML value"),
        ("extends=other.toml", "cannot be overridden"),
    ],
)
def test_overrides_that_cannot_be(tmp_path: Path, override: str, said: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(GOOD + "[[errors]]\nrate = '1 / d'\n[[task]]\nname = 'web'\nsigbus = 'exit'\n")
    assert said in words(file, [override])


def test_bad_overrides_are_named_together(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(GOOD)
    with pytest.raises(ScenarioError) as caught:
        load(file, ["nothing", "errors.0.rate=never"])
    assert len(caught.value.problems) == 2


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder, not a scenario file" in words(tmp_path)


def test_a_missing_file_lists_the_scenarios_beside_it(tmp_path: Path) -> None:
    (tmp_path / "desktop.toml").write_text(GOOD)
    said = "no such file\n    did you mean: desktop.toml\n    allowed: in this folder: desktop.toml\n"
    assert words(tmp_path / "desktp.toml") == f"desktp.toml: {said}"
    (tmp_path / "child.toml").write_text("\nextends = 'desktp.toml'\n")
    assert words(tmp_path / "child.toml") == (
        'child.toml:2: extends = "desktp.toml": desktp.toml: no such file\n    did you mean: desktop.toml\n'
        "    allowed: in this folder: child.toml, desktop.toml\n"
    )


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    assert "cannot be read" in words(tmp_path / ("x" * 5000))
    assert "cannot be read" in words(tmp_path / "a\0b.toml")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(GOOD)
    file.chmod(0)
    assert "cannot be read: Permission denied" in words(file)


def test_a_file_that_is_no_regular_file() -> None:
    assert "is not a regular file" in words(Path(os.devnull))


def test_a_deeply_nested_file(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("a = " + "[" * 50_000)
    assert "is not valid TOML" in words(file)


def test_a_huge_file_is_not_even_read(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    with file.open("wb") as out:
        out.truncate(17 << 20)
    assert "too large" in words(file)


def test_a_circle_of_three(tmp_path: Path) -> None:
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.toml").write_text(f"extends = '{base}.toml'\n")
    assert words(tmp_path / "a.toml").startswith(
        'c.toml:1: extends = "a.toml": extends runs in a circle: a.toml -> b.toml -> c.toml -> a.toml'
    )


def test_each_problem_names_the_file_it_is_in(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(GOOD + "machine.tolerant = 7\n")
    (tmp_path / "child.toml").write_text("extends = 'base.toml'\n\nmachine.cpus = 0\n")
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path / "child.toml", ["seed=-1"])
    found = [(Path(p.file).name, p.line, p.key, p.value) for p in caught.value.problems]
    assert found == [
        ("child.toml", 3, "machine.cpus", 0),
        ("base.toml", 4, "machine.tolerant", 7),
        ("--set", None, "seed", -1),
    ]


def test_the_error_can_cross_a_process_border() -> None:
    error = ScenarioError([Problem("a.toml", 3, "seed", -1, "out of range", "0 to 9", None)])
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == error.problems
    assert str(again) == "a.toml:3: seed = -1: out of range\n    allowed: 0 to 9"


JUNK: list[Any] = [0, -1, 1.5, "", "x", True, [], {}, [1], {"a": 1}, "1 s", "4 KiB", "never", "1 / s", 10**30]
JUNK += [float("nan"), [[1]], [{}], "a.0", "a.0/heap", {"pfn": 1}]


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below ``node``."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    return [(node, key) for key in keys] + [place for key in keys for place in _places(node[key])]


@pytest.mark.parametrize("name", ["everything", "step-reach", "regions"])
def test_no_damage_brings_a_traceback(name: str) -> None:
    """Keys taken out, renamed and filled with the wrong things: problems are named, or it compiles."""
    whole = tomllib.loads((BAD / f"{name}.toml").read_text(encoding="utf-8"))
    rng = random.Random(20090603)
    for _ in range(250):
        data = copy.deepcopy(whole)
        for _ in range(rng.randint(1, 6)):
            node, key = rng.choice(_places(data))
            how = rng.random()
            if how < 0.4:
                del node[key]
            elif how < 0.5 and isinstance(node, dict):
                node[rng.choice(["new", "name", "kind", "size", "at"])] = copy.deepcopy(rng.choice(JUNK))
            else:
                node[key] = copy.deepcopy(rng.choice(JUNK))
        model, problems = validate(Document(data, [Source("damaged.toml")]), rehearse)
        if model is None:
            assert problems
            assert all(str(problem) for problem in problems)
        else:
            to_spec(model)


def test_a_missing_text_is_told_by_what_it_means(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(GOOD + "[[task]]\nname = 'a'\nfsync = { every = '1 s' }\n")
    assert "fsync.file: required key is missing\n    allowed: name of the [[file]]" in words(
        tmp_path / "x.toml"
    )


def test_an_override_that_is_none_does_not_hide_the_other_mistakes(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(GOOD)
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path / "good.toml", ["machine.cpus=0", "nonsense", "seed=-1"])
    assert {p.message for p in caught.value.problems} == {"out of range", '"nonsense" is not an override'}
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("do", ["inject", "scrub"])
def test_a_bad_line_needs_memory_below_it(tmp_path: Path, do: str) -> None:
    how = 'how = "line"\n' if do == "inject" else ""
    step = f"[[script]]\nat = '1 s'\ndo = '{do}'\n{how}page = "
    (tmp_path / "a.toml").write_text(f"{GOOD}\n{step}{{ pfn = 999999999 }}\n")
    (tmp_path / "b.toml").write_text(f"{GOOD}\n{step}{{ address = '0xfffffffff000' }}\n")
    beyond = "is beyond the memory, which ends at 0x4000000\n    allowed: pfn 0 to 16383\n"
    assert words(tmp_path / "a.toml").endswith(f"script[0].page.pfn = 999999999: pfn 0x3b9ac9ff {beyond}")
    said = f'script[0].page.address = "0xfffffffff000": pfn 0xfffffffff {beyond}'
    assert words(tmp_path / "b.toml").endswith(said)


def test_what_only_a_later_kernel_has(tmp_path: Path) -> None:
    asks = "[[task]]\nname = 'a'\nmce_kill = 'early'\n"
    sysctl = "machine.sysctl = { 'vm.memory_failure_recovery' = 0 }\n"
    path = tmp_path / "x.toml"
    path.write_text(GOOD + sysctl + asks, encoding="utf-8")
    text = words(path)
    assert "this kernel has no PR_MCE_KILL" in text
    assert "this kernel has no such sysctl" in text
    assert load(path, ["machine.kernel=2.6.32"]).spec.tasks[0].mce_kill == "early"
