"""Where text goes out: closed streams, readers that leave, terminals that lack a character, hostile names."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hwsim.cli.main import app
from hwsim.cli.outlet import Outlet, substitute
from hwsim.printable import escaped
from hwsim.study import sums
from tests.support.show_results import results as show_results
from tests.support.study_fake import fake_replication, stand_in

ROOT = Path(__file__).resolve().parents[2]
BOX = """
name = "{name}"
horizon = "90 d"
repeat = 6
[machine]
memory = "16 GiB"
[[errors]]
kind = "uncorrected"
rate = "2 / day"
where = "uniform"
"""
HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202eenod\x9b2J\x7f [/bold]"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
MAIN = """
import sys
from tests.support import study_fake
study_fake.stand_in(vars(study_fake)[sys.argv[1] + "_replication"])
del sys.argv[1]
from hwsim.cli.main import main
main()
"""


def shell(line, cwd, model="fake", **environment):
    """A command as a shell runs it; ``hwsim`` in it is ours with a quick model."""
    (cwd / "world.py").write_text(MAIN)
    line = line.replace("hwsim", f'"{sys.executable}" world.py {model}')
    return subprocess.run(
        ["sh", "-c", line], cwd=cwd, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


@pytest.fixture
def world(tmp_path):
    (tmp_path / "box.toml").write_text(BOX.format(name="box"))
    return tmp_path


def test_closed_streams_take_nothing_from_the_results(world):
    found = shell("hwsim run box.toml --out s.sqlite <&- >&- 2>&-", world)
    assert (found.returncode, found.stdout) == (0, b"")
    assert b"Traceback" not in found.stderr
    assert b"6 of 6 replications finished" in shell("hwsim check s.sqlite", world).stdout


def test_a_mistake_has_its_status_without_stderr(world):
    assert shell("hwsim run gone.toml 2>&-", world).returncode == 2


def test_machine_checks_from_a_closed_stdin(world):
    found = shell("hwsim mce - <&-", world)
    assert b"Traceback" not in found.stderr
    assert found.returncode in (0, 2)


def test_a_reader_that_leaves_changes_no_status(world):
    """The status speaks of the replications, whoever reads."""
    for model, status in (("fake", 0), ("failing", 1)):
        line = f"{{ hwsim run box.toml --reach --out {model}.sqlite; echo $? > status; }} | true"
        found = shell(line, world, model)
        assert (world / "status").read_text() == f"{status}\n"
        assert b"Traceback" not in found.stderr
        assert b"Exception ignored" not in found.stderr


@pytest.mark.parametrize(
    ("encoding", "command"), [("cp1252", "compare box.toml"), ("ascii", "compare box.toml --json")]
)
def test_a_terminal_that_lacks_a_character_gets_a_substitute(world, encoding, command):
    found = shell(f"hwsim {command}", world, PYTHONIOENCODING=encoding)
    assert found.returncode == 0, found.stderr
    text = found.stdout.decode(encoding)
    if "--json" in command:
        assert json.loads(text)["policies"]


def test_the_substitutes():
    text = "\u2212 \u2264 \u00e9 \u4e2d"
    assert substitute(UnicodeEncodeError("ascii", text, 0, 1, "")) == ("-", 1)
    assert substitute(UnicodeEncodeError("ascii", text, 2, 7, "")) == ("<= e \\u4e2d", 7)


def test_what_is_harmful_is_spelled_out_and_the_rest_stays():
    assert escaped("m\u00e4chtig \u4e2d \u2212 1") == "m\u00e4chtig \u4e2d \u2212 1"
    assert escaped("\x1b[2J\x07\n\x7f\x9b\u202e\ud800") == "\\u001b[2J\\u0007\\n\\u007f\\u009b\\u202e\\ud800"
    assert escaped("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


def test_an_outlet_lets_nobody_go_round():
    assert not hasattr(Outlet(sys.__stdout__), "buffer")


def test_hostile_names_are_shown_escaped_everywhere(world, monkeypatch):
    """A key and values of a scenario, labels of policies, the name in a results file of somebody else: in
    messages, tables and JSON."""
    monkeypatch.chdir(world)
    stand_in(fake_replication, monkeypatch.setattr)
    spelled = "".join(f"\\u{ord(c):04x}" for c in HOSTILE)
    bad = f'"{spelled}" = 1\nname = "x"\n[[task]]\nname = "{spelled}"\n'
    (world / "bad.toml").write_text(bad)
    (world / "box.toml").write_text(BOX.format(name="box").replace("6", "2"))
    harmless(hwsim("check", "bad.toml"), 2)
    harmless(hwsim("compare", "box.toml", "--vary", "machine.scrub.period='8 h','\x9b\u202e'"), 2)
    harmless(hwsim("compare", "box.toml", "--out", "c.sqlite"), 0)
    with sqlite3.connect(world / "c.sqlite") as connection:
        connection.execute("UPDATE manifest SET value = ? WHERE key = 'name'", (json.dumps(HOSTILE),))
        connection.execute("UPDATE policies SET label = ? || policy", (HOSTILE,))
        sums.renew(connection, "manifest", "policies")
    connection.close()
    harmless(hwsim("check", "c.sqlite"), 0)
    assert "1  \\u001b[31mred" in harmless(hwsim("replay", "c.sqlite", "--replication", 1, "--policy", 9), 2)
    shown = harmless(hwsim("compare", "box.toml", "--out", "c.sqlite"), 0)
    assert "\\u001b[31mred\\u001b]0;title\\u0007 \\u202eenod" in shown
    found = hwsim("compare", "box.toml", "--out", "c.sqlite", "--json")
    harmless(found, 0)
    assert json.loads(found.stdout)["policies"] == [f"{HOSTILE}0", f"{HOSTILE}1"]


def hwsim(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="hwsim")


def harmless(found, status):
    """All that a command has said, if nothing in it commands a terminal."""
    text = found.stdout + found.stderr
    assert found.exit_code == status, text
    assert CONTROL.search(text) is None
    return text


def test_hostile_texts_of_a_results_file_are_drawn_escaped(tmp_path):
    """Whatever text stands in the file: names of regions and tasks, kinds, labels."""
    import warnings

    from hwsim.show import plots, style

    found = show_results(replications=6, labels=[HOSTILE, f"{HOSTILE}1"], errors_each=4)
    for table in ("errors", "signals"):
        frame = getattr(found, table)
        for column in frame.columns:
            if frame[column].dtype == "string" and column in ("kind", "region", "task", "message"):
                frame[column] = "\x1b[31m" + frame[column] + "\x07"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that does not exist
        for name in ("outcome_by_page_type", "time_line"):  # kinds on an axis, regions beside lanes, labels
            style.save(getattr(plots, name)(found), tmp_path / name)
            drawn = (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
            assert CONTROL.search(drawn) is None, name
            assert "u001b[31m" in drawn
