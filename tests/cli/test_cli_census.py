"""``hwsim census``: what it prints, as JSON, as a picture, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hwsim
from hwsim.cli.main import app

SCENARIO = """
name = "box"
horizon = "1 h"
repeat = 1

[machine]
memory = "64 MiB"
kernel = "v5"

[[errors]]
count = 1

[[file]]
name = "log"
size = "8 MiB"
touch = { share = "100 %", store = "1 / min" }

[[task]]
name = "app"
count = 2
[[task.region]]
kind = "anon"
size = "4 MiB"
"""


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "box.toml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, columns: int = 80) -> tuple[int, str, str]:
    done = CliRunner(env={"COLUMNS": str(columns)}).invoke(app, ["census", "box.toml", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_says_what_there_is_and_what_would_become_of_it(box: Path, columns: int) -> None:
    code, printed, _ = run(columns=columns)
    assert code == 0
    assert max(map(len, printed.splitlines())) <= max(90, columns)
    words = " ".join(printed.split())
    assert "box: 64 MiB, 16,384 pages, 30 min after the boot" in words
    for said in (
        "app/anon",
        "2,048",
        "SIGBUS now|later",
        "file:log",
        "12,288",
        "pages by the row that their flags match",
    ):
        assert said in words
    assert "2.6.32: Ignored 75.0 %, Recovered 25.0 %; SIGBUS 12.5 %" in words


def test_json_has_every_class_with_its_range_and_verdicts(box: Path) -> None:
    code, printed, _ = run("--json", "--at", "10 min", "--kernel", "v5")
    found = json.loads(printed)
    assert code == 0
    assert found["time_ns"] == 600 * 10**9
    assert sum(each["drawn"] for each in found["classes"]) == found["memory_pages"] == 16_384
    assert sum(each["bytes"] for each in found["classes"]) == pytest.approx(64 * 2**20)
    heap = next(each for each in found["classes"] if each["kind"] == "anon")
    (verdict,) = heap["verdicts"]["v5"]
    assert (verdict["row"], verdict["outcome"]) == (12, "Recovered")
    assert (verdict["sigbus_if_early"], verdict["sigbus_if_late"]) == ("now", "later")
    assert sum(row["drawn"] for row in found["rows"]["v5"]) == 16_384
    assert run("--json", "--at", "10 min", "--kernel", "v5")[1] == printed


def test_the_function_gives_a_data_frame(box: Path) -> None:
    table = hwsim.census("box.toml", kernels=("v5", "2.6.32")).table
    assert set(table["kernel"]) == {"v5", "2.6.32"}
    for _, part in table.groupby("kernel"):
        assert (part["pages"] * part["chance"]).sum() == pytest.approx(16_384)
    dirty = table[(table["memory"] == "file:log") & table["state"].str.contains("dirty")]
    assert (dirty["low"] < dirty["pages"]).all()
    assert (dirty["pages"] < dirty["high"]).all()


def test_another_replication_is_another_machine(box: Path) -> None:
    drawn = [json.loads(run("--json", "--replication", number)[1])["classes"] for number in ("0", "1", "1")]
    assert drawn[0] != drawn[1] == drawn[2]


def test_the_map_is_drawn_beside_it(box: Path) -> None:
    code, printed, _ = run("--map", "map.png")
    assert code == 0
    assert printed.endswith("map.svg\nmap.png\n")
    assert "page cache" in (box / "map.svg").read_text("utf-8")


def test_every_mistake_is_told_at_once(box: Path) -> None:
    code, printed, told = run("--kernel", "v6", "--at", "2 h")
    assert (code, printed) == (2, "")
    assert "kernel = 'v6': not known; allowed are v5, 2.6.32" in told
    assert "at: 2 h: allowed: up to 1 h, the horizon of the run" in told
    assert run("--at", "soon")[0] == 2
    code, printed, told = run("--map", "nowhere/map")
    assert (code, printed) == (2, "")
    assert "there is no folder nowhere" in told
    code, printed, told = run("--map", "")
    assert (code, printed) == (2, "")
    assert "--map '': allowed: the name of a file" in told


def test_where_unmapping_fails_tasks_are_killed_and_not_told(box: Path) -> None:
    """Dirty and still mapped: kill_procs_ao() does not ask for a handler then."""
    segment = '[[task.region]]\nkind = "shm"\nsize = "4 MiB"\nunmap_fail = 1\n'
    (box / "box.toml").write_text(SCENARIO + segment)
    code, printed, _ = run("--kernel", "2.6.32", columns=120)
    assert code == 0
    assert "killed|nobody" in printed
    assert "killed: it could not be unmapped" in printed
    (found,) = (each for each in hwsim.census("box.toml").classes if each.kind == "shm")
    assert {each.sigbus_if_early for said in found.verdicts.values() for each in said} == {"killed"}
