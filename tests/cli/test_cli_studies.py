"""run, compare, plot, replay: statuses, what goes where, interrupts, bad files."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hwsim.cli.main import app
from hwsim.show import plots
from tests.support import study_fake

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = """
name = "Test box"
horizon = "90 d"
seed = 5
repeat = 12

[machine]
memory = "16 GiB"

[[errors]]
kind = "uncorrected"
rate = "2 / day"
where = "uniform"
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty folder with one scenario, box.toml, and the quick model."""
    (tmp_path / "box.toml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    study_fake.stand_in(study_fake.fake_replication, monkeypatch.setattr)
    return tmp_path


def hwsim(*arguments, status=0):
    found = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="hwsim")
    assert found.exit_code == status, found.output
    if found.exception is not None:
        assert isinstance(found.exception, SystemExit), found.exception
    return found


def started(model, *arguments, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.cli_world", model, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_run_says_where_the_results_are(world):
    found = hwsim("run", "box.toml")
    files = list((world / "results").iterdir())
    assert [f.suffix for f in files] == [".sqlite"]
    assert files[0].name.startswith("test-box-")
    assert f"results in results/{files[0].name}" in found.stderr
    assert "kills" in found.stdout


def test_run_quietly_says_nothing_on_stderr(world):
    assert hwsim("run", "box.toml", "--quiet").stderr == ""


def test_the_same_command_prints_the_same_json(world):
    first = hwsim("run", "box.toml", "--json", "--out", "a.sqlite").stdout
    again = hwsim("run", "box.toml", "--json", "--out", "a.sqlite").stdout
    fresh = hwsim("run", "box.toml", "--json", "--out", "b.sqlite", "--workers", "2").stdout
    assert first == again == fresh
    found = json.loads(first)
    assert (found["finished"], found["failed"], found["seed"]) == (12, 0, 5)


def test_run_with_reach_and_dmesg(world):
    found = hwsim("run", "box.toml", "--reach", "--dmesg")
    assert "[    1.500000] MCE 0x1234: something" in found.stdout
    found = json.loads(hwsim("run", "box.toml", "--reach", "--dmesg", "--json").stdout)
    assert found["dmesg"] == [{"time_ns": 1_500_000_000, "level": 3, "text": "MCE 0x1234: something"}]
    assert found["reach"]["met"]["row:13"] > 0


def test_seed_set_and_repeat_shape_the_study(world):
    hwsim("run", "box.toml", "--seed", 9, "--repeat", 3, "--set", "machine.cpus=8", "--out", "s.sqlite")
    with sqlite3.connect("s.sqlite") as connection:
        stored = {k: json.loads(v) for k, v in connection.execute("SELECT key, value FROM manifest")}
    connection.close()
    assert (stored["seed"], stored["repeat"], stored["overrides"]) == (9, 3, ["machine.cpus=8"])
    assert stored["scenario"]["machine"]["cpus"] == 8
    command = "hwsim run box.toml --seed 9 --repeat 3 --set machine.cpus=8"
    assert " ".join(stored["command"]) == command


def test_compare_ends_in_the_sentence(world):
    found = hwsim("compare", "box.toml", "--out", "c.sqlite")
    last = found.stdout.rstrip().splitlines()[-1]
    assert "95 %" in found.stdout
    assert "early_kill" in found.stdout
    data = json.loads(hwsim("compare", "box.toml", "--out", "c.sqlite", "--json").stdout)
    assert data["policies"] == ["vm.memory_failure_early_kill=0", "vm.memory_failure_early_kill=1"]
    assert last.split()[-1] in data["sentence"]


def test_compare_any_key(world):
    found = hwsim("compare", "box.toml", "--vary", "machine.tolerant=0,1,2", "--json", "--repeat", 3)
    assert json.loads(found.stdout)["policies"] == [f"machine.tolerant={n}" for n in range(3)]


def test_commas_inside_a_value_do_not_divide(world):
    texts = "machine.scrub={period='24 h', signals='SRAO'},{period='6 h', signals='SRAO'}"
    found = hwsim("compare", "box.toml", "--vary", texts, "--json", "--repeat", 2)
    assert len(json.loads(found.stdout)["policies"]) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tolerant", "allowed is KEY=a,b"),
        ("machine.tolerant=1", "at least two values"),
        ("machine.tolerant=1,", "missing beside a comma"),
        ("seed=1,2", "nothing would be paired"),
    ],
)
def test_a_vary_that_cannot_be(world, text, said):
    assert said in hwsim("compare", "box.toml", "--vary", text, status=2).stderr


def test_a_vary_of_an_unknown_key_names_a_neighbour(world):
    found = hwsim("compare", "box.toml", "--vary", "machine.tolernat=0,1", status=2)
    assert "tolerant" in found.stderr
    assert not (world / "results").exists()


def test_every_mistake_of_a_scenario_is_told(world):
    (world / "bad.toml").write_text(SCENARIO.replace("horizon", "horizn").replace("memory", "memry"))
    for command in ("run", "compare", "check"):
        found = hwsim(command, "bad.toml", status=2)
        assert "did you mean: horizon" in found.stderr
        assert "did you mean: memory" in found.stderr
        assert found.stdout == ""


def test_check_goes_on_after_a_bad_file(world):
    (world / "bad.toml").write_text("name = 1")
    found = hwsim("check", "bad.toml", "missing.toml", "box.toml", status=2)
    assert "box.toml: Test box: no mistakes" in found.stdout
    assert "missing.toml" in found.stderr


@pytest.mark.parametrize("command", [["run"], ["compare"]])
def test_out_must_be_a_results_file(world, command):
    before = (world / "box.toml").read_text()
    found = hwsim(*command, "box.toml", "--out", "box.toml", status=2)
    assert "not an SQLite database" in found.stderr
    assert (world / "box.toml").read_text() == before
    assert "this is a folder" in hwsim(*command, "box.toml", "--out", ".", status=2).stderr


def test_another_scenario_into_the_same_file(world):
    hwsim("run", "box.toml", "--out", "s.sqlite")
    found = hwsim("run", "box.toml", "--out", "s.sqlite", "--seed", 6, status=2)
    assert "seed: 5 in the file, 6 asked for" in found.stderr


def test_failed_replications_name_their_replay(world, monkeypatch):
    study_fake.stand_in(study_fake.failing_replication, monkeypatch.setattr)
    found = hwsim("compare", "box.toml", "--out", "s.sqlite", status=1)
    assert "2 replications failed" in found.stderr
    assert "hwsim replay s.sqlite --replication 3 --policy 1" in found.stderr
    assert "kills" in found.stdout
    again = hwsim("replay", "s.sqlite", "--replication", 3, "--policy", 1, status=1)
    assert "RuntimeError: the third is bad" in again.stderr


def test_verbose_tells_what_was_settled_how_and_how_often(world, monkeypatch):
    asked = []

    def model(screen):
        asked.append(screen)
        return study_fake.Each(
            lambda spec, index: study_fake.fake_replication(spec, index)._replace(
                settled=("", "free page", "no error", "no error")[index % 4]
            )
        )

    monkeypatch.setattr("hwsim.study.conduct.Model", model)
    eight = ("box.toml", "--repeat", 8, "--workers", 1)  # here, however slow: the model cannot travel
    plain = hwsim("compare", *eight)
    found = hwsim("compare", *eight, "--no-screen", "--verbose", "--out", "s.sqlite")
    assert asked == [True, False]
    assert found.stdout == plain.stdout
    assert "played" not in plain.stderr
    told = "=1: 2 of 8 machines played, the others:\n  4 (50.0 %) no error\n  2 (25.0 %) free page\n"
    assert found.stderr.count(told) == 1
    assert "  4 (50.0 %) no error" in hwsim("run", *eight, "-v").stderr


def test_replay_prints_events_and_log(world):
    hwsim("run", "box.toml", "--out", "s.sqlite")
    found = hwsim("replay", "s.sqlite", "--replication", 2)
    assert "0.000000007  onset                pfn=0x1" in found.stdout
    assert "MCE 0x1234: something" in found.stdout
    data = json.loads(hwsim("replay", "s.sqlite", "--replication", 2, "--json").stdout)
    assert data["replication"]["replication"] == 2
    assert data["events"] == [{"time_ns": 7, "event": "onset", "facts": {"pfn": 1}}]


def test_replay_of_a_policy_that_is_not_there(world):
    hwsim("run", "box.toml", "--out", "s.sqlite")
    assert (
        "policy: 1 is not in"
        in hwsim("replay", "s.sqlite", "--replication", 2, "--policy", 1, status=2).stderr
    )


def test_a_map_of_a_time_after_the_horizon_is_not_drawn(world):
    hwsim("run", "box.toml", "--out", "s.sqlite")
    said = hwsim(
        "replay", "s.sqlite", "--replication", 0, "--map", "map.svg", "--at", "4000 d", status=2
    ).stderr
    assert "--at 4000 d: allowed: up to" in said
    assert not Path("map.svg").exists()


def test_plot_names_its_files(world, monkeypatch):
    monkeypatch.setattr(plots, "FIGURES", plots.FIGURES[-2:])  # all are drawn elsewhere
    hwsim("compare", "box.toml", "--out", "c.sqlite")
    found = hwsim("plot", "c.sqlite", "-o", "figures")
    assert {Path(line).suffix for line in found.stdout.splitlines()} == {".svg", ".png"}
    assert all(Path(line).stat().st_size > 0 for line in found.stdout.splitlines())


@pytest.mark.parametrize("command", [["plot"], ["replay", "--replication", "0"]])
def test_reading_what_is_no_results_file(world, command):
    assert "not an SQLite database" in hwsim(*command, "box.toml", status=2).stderr
    assert "no such file" in hwsim(*command, "gone.sqlite", status=2).stderr
    assert "this is a folder" in hwsim(*command, ".", status=2).stderr


def test_plots_cannot_go_into_a_file(world):
    hwsim("run", "box.toml", "--out", "s.sqlite")
    assert "box.toml" in hwsim("plot", "s.sqlite", "-o", "box.toml", status=2).stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_keeps_what_is_finished(tmp_path, number, status, workers):
    (tmp_path / "box.toml").write_text(SCENARIO)
    command = ["run", "box.toml", "--repeat", 4000, "--out", "s.sqlite", "--workers", workers]
    process = started("slow_replication", *command, cwd=tmp_path)
    kept = wait_for_rows(tmp_path / "s.sqlite", process)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status, err
    assert out == ""
    assert "of 4000 replications are kept in s.sqlite; run the same command again to go on" in err
    assert "Traceback" not in err
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        (count,) = connection.execute("SELECT count(*) FROM replications").fetchone()
    connection.close()
    assert kept <= count < 4000


def test_after_sigkill_nothing_runs_on_and_the_study_goes_on(tmp_path):
    (tmp_path / "box.toml").write_text(SCENARIO)
    process = started(
        "slow_replication", "run", "box.toml", "--repeat", 4000, "--out", "s.sqlite", cwd=tmp_path
    )
    kept = wait_for_rows(tmp_path / "s.sqlite", process)
    process.kill()
    process.communicate(timeout=30)
    again = started(
        "fake_replication", "run", "box.toml", "--repeat", 100, "--out", "s.sqlite", "--json", cwd=tmp_path
    )
    fresh = started("fake_replication", "run", "box.toml", "--repeat", 100, "--json", cwd=tmp_path)
    assert kept > 0
    assert again.communicate(timeout=60)[0] == fresh.communicate(timeout=60)[0] != ""


def wait_for_rows(path, process):
    """Wait until the first batch is in the file; the number of replications in it."""
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            (count,) = connection.execute("SELECT count(*) FROM replications").fetchone()
            connection.close()
        except sqlite3.Error:
            count = 0
        if count:
            return count
        time.sleep(0.05)
    raise AssertionError(process.communicate()[1])


def test_the_mistakes_of_all_policies_are_said_at_once(world):
    varied = ["--vary", "machine.cpus=1,x", "--vary", "machine.tolerant=1,9"]
    said = hwsim("compare", "box.toml", *varied, "--out", "s.sqlite", status=2).stderr
    assert said.count('--vary: machine.cpus = "x": not a whole number') == 1
    assert said.count("--vary: machine.tolerant = 9: out of range") == 1
    assert not (world / "s.sqlite").exists()


def test_a_replication_that_was_not_asked_for_is_no_replay(world):
    hwsim("run", "box.toml", "--repeat", 3, "--out", "s.sqlite")
    said = hwsim("replay", "s.sqlite", "--replication", 3, status=2).stderr
    assert said == "hwsim: replication: 3 is not in these results; allowed is 0 to 2\n"
    hwsim("replay", "s.sqlite", "--replication", 2)


def test_figures_need_a_folder(world):
    hwsim("run", "box.toml", "--repeat", 3, "--out", "s.sqlite")
    before = (world / "box.toml").read_bytes()
    assert "--out box.toml: this is a file" in hwsim("plot", "s.sqlite", "-o", "box.toml", status=2).stderr
    assert (world / "box.toml").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE manifest SET value = 'nojson' WHERE key = 'scenario'",
        "DELETE FROM manifest WHERE key = 'seed'",
        "DELETE FROM policies",
        "UPDATE policies SET overrides = '5'",
        "UPDATE errors SET onset_ns = 'x'",
        "DROP TABLE errors",
    ],
)
def test_a_file_changed_by_hand_is_called_damaged(world, change):
    hwsim("compare", "box.toml", "--repeat", 3, "--out", "s.sqlite")
    with sqlite3.connect("s.sqlite") as connection:
        connection.execute(change)
    connection.close()
    for command in (["plot", "s.sqlite"], ["compare", "box.toml", "--repeat", 3, "--out", "s.sqlite"]):
        assert "s.sqlite: the file is damaged" in hwsim(*command, status=2).stderr
