"""Files given to the wrong command, files in which nothing can happen, damaged files: with the way on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hwsim.cli.main import app
from hwsim.scenario.foreign import kind_of
from tests.support import study_fake

ROOT = Path(__file__).resolve().parents[2]
BOX = """
name = "Test box"
horizon = "90 d"
repeat = 4
[machine]
memory = "16 GiB"
"""
ERRORS = """
[[errors]]
kind = "uncorrected"
rate = "2 / day"
where = "uniform"
"""
RECORD = "CPU 0 BANK 4\nSTATUS UNCORRECTED 0x1\nADDR 0x12345000\n"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """One file of each kind."""
    monkeypatch.chdir(tmp_path)
    study_fake.stand_in(study_fake.fake_replication, monkeypatch.setattr)
    Path("box.toml").write_text(BOX + ERRORS)
    Path("quiet.toml").write_text(BOX)
    Path("check.mce").write_text(RECORD)
    shutil.copy(ROOT / "scenarios/faults/ddr2-jaguar.toml", "dimms.toml")
    hwsim("run", "box.toml", "--out", "s.sqlite")
    return tmp_path


def hwsim(*arguments, status=0):
    found = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="hwsim")
    assert found.exit_code == status, found.output
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found


WRONG_COMMANDS = [
    (["run", "dimms.toml"], "use hwsim faults dimms.toml"),
    (["compare", "dimms.toml"], "use hwsim faults dimms.toml"),
    (["census", "dimms.toml"], "use hwsim faults dimms.toml"),
    (["census", "s.sqlite"], "hwsim check s.sqlite, hwsim plot and hwsim replay read it"),
    (["faults", "box.toml"], "use hwsim run box.toml"),
    (["mce", "box.toml"], "use hwsim run box.toml"),
    (["mce", "dimms.toml"], "use hwsim faults dimms.toml"),
    (["mce", "s.sqlite"], "hwsim check s.sqlite, hwsim plot and hwsim replay read it"),
    (["run", "s.sqlite"], "hwsim check s.sqlite, hwsim plot and hwsim replay read it"),
    (["faults", "s.sqlite"], "hwsim check s.sqlite, hwsim plot and hwsim replay read it"),
    (["run", "check.mce"], "use hwsim mce check.mce"),
    (["check", "check.mce"], "use hwsim mce check.mce"),
    (["plot", "box.toml"], "use hwsim run box.toml"),
    (["plot", "check.mce"], "use hwsim mce check.mce"),
    (["replay", "dimms.toml", "--replication", "0"], "use hwsim faults dimms.toml"),
]


@pytest.mark.parametrize(("command", "said"), WRONG_COMMANDS)
def test_a_file_for_another_command_names_it(world, command, said):
    before = {path.name: path.read_bytes() for path in world.iterdir() if path.is_file()}
    found = hwsim(*command, status=2)
    assert said in found.stderr
    assert found.stdout == ""
    assert {path.name: path.read_bytes() for path in world.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    "log",
    [
        "[Hardware Error]: CPU 3: Machine Check Exception: 5 Bank 4: b200000000070f0f\n",
        "HARDWARE ERROR\nCPU 0: Machine Check: 0 Bank 5: fe00\n",
        "MCE 0\nCPU 1 BANK 2\n",
        RECORD,
    ],
)
def test_machine_checks_are_known_by_their_words(log):
    assert kind_of(log.encode()) == "mce"


def test_what_is_of_no_kind():
    assert kind_of(b"Dear Sir, the CPU is hot\n") == kind_of(b"") == kind_of(b"\xff\x00\x01") == ""
    assert kind_of(b'[project]\nname = "x"\n') == ""


NOTHING = "nothing can happen in it: there is no error with a rate or a count, and no script"


def test_a_scenario_in_which_nothing_can_happen_says_so(world):
    assert f"hwsim: quiet.toml: {NOTHING}\n" in hwsim("run", "quiet.toml").stderr
    assert f"hwsim: quiet.toml: {NOTHING}\n" in hwsim("check", "quiet.toml").stderr
    assert hwsim("compare", "quiet.toml").stderr.count(f"early_kill=0: {NOTHING}\n") == 1
    assert hwsim("run", "quiet.toml", "--quiet").stderr == ""
    for command in ("run", "compare", "check"):
        assert "nothing can happen" not in hwsim(command, "box.toml").stderr


def test_only_the_policy_without_errors_is_named(world):
    varied = hwsim("compare", "box.toml", "--vary", "errors.0.rate='0 / day','2 / day'", "--out", "v.sqlite")
    assert varied.stderr.count(NOTHING) == 1
    assert f"box.toml under errors.0.rate='0 / day': {NOTHING}" in varied.stderr


def test_check_reads_results_files_beside_scenarios(world):
    found = hwsim("check", "s.sqlite", "box.toml")
    assert "s.sqlite: Test box: 4 of 4 replications finished, 0 failed; every row is as it was written" in (
        found.stdout
    )
    assert "box.toml: Test box: no mistakes" in found.stdout


def test_damage_is_said_with_the_command_that_mends_it(world):
    data = bytearray(Path("s.sqlite").read_bytes())
    place = data.rindex(b"db/heap")
    data[place] ^= 1
    Path("s.sqlite").write_bytes(data)
    said = ""
    for command in (["check", "s.sqlite"], ["run", "box.toml", "--out", "s.sqlite"]):
        said = hwsim(*command, status=2).stderr
        assert "s.sqlite: the file is damaged; as written: 3 replications\n" in said
        assert "  policy 0, not as written: replication " in said
        assert "  hwsim run box.toml --out s.sqlite --repair\n" in said
    number = said.split("not as written: replication ")[1].split("\n")[0]
    assert "damaged" in hwsim("replay", "s.sqlite", "--replication", number, status=2).stderr
    mended = hwsim("run", "box.toml", "--out", "s.sqlite", "--repair")
    assert "s.sqlite was damaged: 3 replications in it are kept, the others are run again" in mended.stderr
    assert Path("s.sqlite.damaged").read_bytes() == bytes(data)
    hwsim("check", "s.sqlite")
    hwsim("replay", "s.sqlite", "--replication", number)
