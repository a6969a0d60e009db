"""Reading, extending, overriding; what a scenario keeps and what its hash depends on."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.scenario import Scenario, ScenarioError, load, schema_json
from hwsim.scenario.overrides import tokens, value_of
from hwsim.scenario.positions import key_lines
from hwsim.scenario.problems import NOTHING

SHIPPED = Path(__file__).parents[2] / "scenarios"
BASE = """
name = "base"
horizon = "1 h"
seed = 7
[machine]
memory = "64 MiB"
cpus = 2
scrub = { period = "12 h", signals = "UCNA" }
sysctl = { "vm.memory_failure_early_kill" = 1 }
[[errors]]
rate = "1 / d"
[[task]]
name = "web"
[[task.region]]
kind = "anon"
size = "1 MiB"
[[task]]
name = "db"
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    file = tmp_path / "base.toml"
    file.write_text(BASE)
    return file


def test_tables_merge_and_arrays_are_replaced(base: Path) -> None:
    folder = base.parent / "below"
    folder.mkdir()
    (folder / "middle.toml").write_text(
        "extends = '../base.toml'\nname = 'middle'\n[machine]\nscrub = { signals = 'fatal' }\ntolerant = 2\n"
    )
    (folder / "top.toml").write_text(
        "extends = 'middle.toml'\nmachine.sysctl.vm.memory_failure_early_kill = 0\n[[task]]\nname = 'only'\n"
    )
    spec = load(folder / "top.toml").spec
    assert spec.name == "middle"
    assert spec.seed == 7
    assert (spec.machine.cpus, spec.machine.tolerant, spec.machine.early_kill) == (2, 2, 0)
    assert spec.machine.scrub.signals == "fatal"
    assert spec.machine.scrub.period_ns == 12 * 3600 * 10**9
    assert [task.name for task in spec.tasks] == ["only"]


def test_data_is_the_file_after_extends_and_overrides(base: Path) -> None:
    (base.parent / "child.toml").write_text("extends = 'base.toml'\nname = 'child'\n")
    data = load(base.parent / "child.toml", ["machine.cpus=3"]).data
    assert data["name"] == "child"
    assert data["machine"]["cpus"] == 3
    assert "extends" not in data


@pytest.mark.parametrize(
    "key",
    [
        "vm.memory_failure_early_kill",
        "machine.sysctl.vm.memory_failure_early_kill",
        'machine.sysctl."vm.memory_failure_early_kill"',
    ],
)
def test_a_sysctl_has_three_spellings(base: Path, key: str) -> None:
    assert load(base, [f"{key}=0"]).spec.machine.early_kill == 0


@pytest.mark.parametrize("text", ["4 / day", "'4 / day'", '"4 / day"'])
@pytest.mark.parametrize("key", ["errors.0.rate", "errors[0].rate", "errors.uncorrected.rate"])
def test_a_bare_word_is_a_text(base: Path, key: str, text: str) -> None:
    base.write_text(BASE.replace('rate = "1 / d"', 'rate = "1 / d"\nkind = "uncorrected"'))
    assert load(base, [f"{key}={text}"]).spec.errors[0].rate_per_s == pytest.approx(4 / 86_400)


def test_overrides_reach_into_arrays_by_number_and_name(base: Path) -> None:
    spec = load(
        base, ["task.db.count=5", "task.0.region.anon.size=2 MiB", "machine.scrub={period='never'}"]
    ).spec
    assert spec.tasks[1].count == 5
    assert spec.tasks[0].regions[0].pages == 512
    assert spec.machine.scrub.period_ns is None
    assert spec.machine.scrub.signals == "SRAO"


@pytest.mark.parametrize(
    ("overrides", "rate", "count"),
    [
        ([], 1 / 86_400, None),
        (["errors.0.count=3"], 0.0, 3),
        (["errors[0].count=3"], 0.0, 3),
        (["errors.uncorrected.count=3"], 0.0, 3),
        (["errors.0={kind = 'uncorrected', count = 3}", "errors.0.rate=2 / d"], 2 / 86_400, None),
    ],
)
def test_a_rate_and_a_count_take_each_other_away(
    base: Path, overrides, rate: float, count: int | None
) -> None:
    base.write_text(BASE.replace('rate = "1 / d"', 'rate = "1 / d"\nkind = "uncorrected"'))
    found = load(base, overrides).spec.errors[0]
    assert found.rate_per_s == pytest.approx(rate)
    assert found.count == count


def test_each_cell_of_a_comparison_takes_away_for_itself(base: Path) -> None:
    counted = load(base, ["errors.0.count=3"])
    cells = [["errors.0.count=2"], ["errors.0.rate=2 / d"], ["machine.cpus=3"]]
    found = [counted.with_overrides(cell).spec.errors[0] for cell in cells]
    assert [each.count for each in found] == [2, None, 3]
    assert found[1].rate_per_s == pytest.approx(2 / 86_400)
    with pytest.raises(ScenarioError, match=r"errors\[0\]: has a rate and a count"):
        counted.with_overrides(["errors.0.rate=2 / d", "errors.0.count=2"])


def test_the_last_override_wins(base: Path) -> None:
    assert load(base, ["seed=1", "seed=2"]).spec.seed == 2


def test_more_overrides_leave_the_scenario_as_it_was(base: Path) -> None:
    first = load(base, ["machine.cpus=3"])
    second = first.with_overrides(["vm.memory_failure_early_kill=0", "task.web.region.anon.size=8 KiB"])
    assert first.spec.machine.early_kill == 1
    assert first.data == load(base, ["machine.cpus=3"]).data
    assert (second.spec.machine.early_kill, second.spec.machine.cpus) == (0, 3)
    assert second.overrides == (
        "machine.cpus=3",
        "vm.memory_failure_early_kill=0",
        "task.web.region.anon.size=8 KiB",
    )
    assert second.spec == load(base, second.overrides).spec


def test_the_hash_is_that_of_what_decides_the_results(base: Path) -> None:
    one = load(base)
    assert one.hash == load(base).hash
    assert one.hash == load(base, ["machine.scrub.period=720 min"]).hash, "written otherwise, means the same"
    assert one.hash == load(base, ["repeat=9"]).hash, "a study can be continued with more"
    for change in ("seed=8", "machine.cpus=3", "vm.memory_failure_early_kill=0", "errors.0.rate=2 / d"):
        assert one.hash != load(base, [change]).hash, change


def test_a_scenario_can_cross_a_process_border(base: Path) -> None:
    scenario = load(base)
    again = pickle.loads(pickle.dumps(scenario))
    assert isinstance(again, Scenario)
    assert again == scenario
    assert again.with_overrides(["seed=9"]).spec.seed == 9


def test_windows_line_ends_and_a_byte_order_mark(base: Path) -> None:
    plain = load(base).spec
    base.write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert load(base).spec == plain


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.toml")), ids=lambda file: file.stem)
def test_every_shipped_scenario_is_right(file: Path) -> None:
    scenario = load(file)
    assert scenario.spec.repeat >= 1
    assert file.read_text(encoding="utf-8").startswith("#:schema ./hwsim.schema.json\n")


def test_the_committed_json_schema_is_current() -> None:
    assert (SHIPPED / "hwsim.schema.json").read_text(encoding="utf-8") == schema_json()


def test_checking_a_scenario_imports_no_heavy_library() -> None:
    code = "import hwsim.scenario, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pydantic" in done.stdout.split()
    heavy = {"numpy", "pandas", "matplotlib", "simpy", "scipy", "typer", "rich"}
    assert not heavy & set(done.stdout.split())


# -- the pieces ------------------------------------------------------------------------------------


def test_lines_of_keys() -> None:
    text = """\
# comment = 1
a = 1
b.c = "x # not a comment"   # [not a table]
'd e' = [ 1,
  { f = "]" , g = [ 2,
     3 ] } ]
[m]
x = \"\"\"
y = 3
\"\"\"
[[t]]
n = 1
[[t.r]]
k = 1
[[t.r]]
k = 2
[t.s]
z = 1
[[t]]
[[t.r]]
"q.r".w = 3
"""
    lines = key_lines(text)
    assert lines[("a",)] == 2
    assert lines[("b", "c")] == 3
    assert lines[("d e", 0)] == 4
    assert lines[("d e", 1, "f")] == 5
    assert lines[("d e", 1, "g", 1)] == 6
    assert lines[("m", "x")] == 8
    assert ("m", "y") not in lines
    assert ("y",) not in lines
    assert lines[("t", 0)] == 11
    assert lines[("t", 0, "r", 1, "k")] == 16
    assert lines[("t", 0, "s", "z")] == 18
    assert lines[("t", 1, "r", 0, "q.r", "w")] == 21


@given(st.text("ab.=[]{}\"'\\#, \n1", max_size=60))
def test_the_line_finder_survives_any_text(text: str) -> None:
    lines = key_lines(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


@given(st.text(max_size=30))
def test_the_override_reader_survives_any_text(text: str) -> None:
    parts = tokens(text)
    assert parts is None or all(isinstance(part, str) for part in parts)
    value_of(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("true", True),
        ("4 / day", "4 / day"),
        ("0,1", "0,1"),
        ("[1, 2]", [1, 2]),
        ("{ a = 1 }", {"a": 1}),
        ("1\nb = 2", "1\nb = 2"),
        ("[1", NOTHING),
        ("'x", NOTHING),
    ],
)
def test_values_of_overrides(text: str, value: object) -> None:
    assert value_of(text) == value
