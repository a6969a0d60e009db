"""The edges of the command line: help, mistakes of spelling, what is imported when."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hwsim
from hwsim.cli.compare import _divided
from hwsim.cli.logs import log_line
from hwsim.cli.main import app
from hwsim.cli.shell import Interrupted, Interrupts

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "simpy", "pandas", "scipy", "pydantic", "matplotlib", "rich", "sqlite3")
COMMANDS = ("check", "census", "run", "compare", "plot", "explain", "kernels", "replay", "schema")


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom hwsim.cli.main import app\n"
        "try: app(['--help'], prog_name='hwsim')\nexcept SystemExit: pass\n"
        f"print('loaded:', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    assert python(code).splitlines()[-1] == "loaded: []"


def test_importing_hwsim_imports_nothing_heavy():
    code = f"import sys, hwsim\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    assert python(code) == "[]\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    found = CliRunner().invoke(app, [command, "--help"])
    assert found.exit_code == 0
    assert "..." not in CliRunner().invoke(app, ["--help"]).stdout.split("Commands:")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu", "x.toml"], "run"),
        (["comapre", "x.toml"], "compare"),
        (["run", "x.toml", "--sed", "3"], "--seed"),
        (["run", "x.toml", "--repeat", "0"], "--repeat"),
        (["run", "x.toml", "--seed", "many"], "--seed"),
        (["run", "x.toml", "--workers", "0"], "--workers"),
        (["run"], "FILE"),
        (["replay", "x"], "--replication"),
    ],
)
def test_a_wrong_command_line_is_status_2_and_names_the_word(arguments, said):
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 2
    assert said in found.stderr
    assert "Traceback" not in found.output


def test_the_version():
    found = CliRunner().invoke(app, ["--version"])
    assert found.stdout == f"hwsim {hwsim.__version__}\n"


def test_the_public_names_are_these_and_all_exist():
    assert hwsim.__all__ == [
        "Results",
        "Scenario",
        "ScenarioError",
        "__version__",
        "census",
        "compare",
        "explain",
        "load",
        "open_results",
        "plot",
        "replay",
        "run",
    ]
    for name in hwsim.__all__:
        assert getattr(hwsim, name) is not None
    assert dir(hwsim) == sorted(hwsim.__all__)
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        _ = hwsim.rnu


def test_no_module_hides_a_public_name():
    assert [name for name in hwsim.__all__ if importlib.util.find_spec(f"hwsim.{name}")] == []


def test_the_schema_is_json():
    import json

    assert "properties" in json.loads(CliRunner().invoke(app, ["schema"]).stdout)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0,1", ["0", "1"]),
        ("'a,b', c", ["'a,b'", "c"]),
        ("{p = '1 h', s = 'x'},[1,2]", ["{p = '1 h', s = 'x'}", "[1,2]"]),
        ("1,", ["1", ""]),
    ],
)
def test_values_are_divided_at_the_right_commas(text, parts):
    assert _divided(text) == parts


def test_a_kernel_time_stamp():
    assert log_line(12_345_678_901, "x") == "[   12.345678] x"


def test_a_signal_during_a_write_waits_for_its_end():
    import signal

    steps = []

    def write():
        with Interrupts() as interrupts:
            with interrupts.shield():
                os.kill(os.getpid(), signal.SIGTERM)
                steps.append("written")
            steps.append("not reached")

    with pytest.raises(Interrupted) as caught:
        write()
    assert steps == ["written"]
    assert caught.value.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("arguments", [["schema"], ["explain", "--flags", "lru", "--json"], ["--help"]])
def test_a_full_device_behind_stdout_is_said_in_one_line(arguments):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        code = "import sys; from hwsim.cli.main import main; main()"
        found = subprocess.run(
            [sys.executable, "-c", code, *arguments], stdout=full, stderr=subprocess.PIPE, text=True,
            check=False, cwd=ROOT,
        )  # fmt: skip
    assert found.returncode == 2
    assert found.stderr.splitlines() == ["hwsim: standard output: No space left on device"]


def test_a_closed_stdout_is_no_mistake():
    code = "import sys; sys.stdout = None; from hwsim.cli.main import app; app(['schema'])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (found.returncode, found.stderr) == (0, "")
