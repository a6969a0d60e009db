"""``make test-newest`` and ``make test-lowest``: what they ask for, and what they say without it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tools import elsewhere


def test_every_requirement_has_a_lower_bound_that_can_be_asked_for() -> None:
    project = tomllib.loads(elsewhere.SETTINGS.read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert len(wanted) == len(elsewhere.lowest())
    for bounds, lowest in zip(wanted, elsewhere.lowest(), strict=True):
        name, version = lowest.split("==")
        assert re.fullmatch(rf"{name}>={re.escape(version)},<[\d.]+", bounds)


def test_without_a_new_python_nothing_is_run(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(elsewhere, "ROOT", tmp_path)
    monkeypatch.setattr(elsewhere, "_pythons", lambda: iter([((3, 11, 7), "python3.11")]))
    assert elsewhere.main("newest", []) == 0
    assert capsys.readouterr().out == "skipped, newest: no Python from 3.13 on here\n"
    assert elsewhere._python("lowest") == "python3.11"


def test_without_an_index_nothing_is_run(tmp_path: Path, monkeypatch, capsys) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_more: object) -> subprocess.CompletedProcess[str]:
        asked.append(list(map(str, command)))
        return subprocess.CompletedProcess(command, int("pip" in command))

    monkeypatch.setattr(elsewhere, "ROOT", tmp_path)
    monkeypatch.setattr(elsewhere, "_pythons", lambda: iter([((3, 11, 7), "python3.11")]))
    monkeypatch.setattr(subprocess, "run", run)
    assert elsewhere.main("lowest", []) == 0
    assert capsys.readouterr().out == "skipped, lowest: no package index answers\n"
    assert [command[2] for command in asked] == ["venv", "pip"]


@pytest.mark.parametrize("installs", [True, False])
def test_the_environment_is_made_once_and_what_does_not_install_is_no_success(
    installs: bool, tmp_path: Path, monkeypatch
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_more: object) -> subprocess.CompletedProcess[str]:
        asked.append(list(map(str, command)))
        (tmp_path / ".venv-lowest").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, int("install" in command and not installs))

    monkeypatch.setattr(elsewhere, "ROOT", tmp_path)
    monkeypatch.setattr(elsewhere, "_pythons", lambda: iter([((3, 11, 7), "python3.11")]))
    monkeypatch.setattr(subprocess, "run", run)
    assert elsewhere.main("lowest", ["tests"]) == (0 if installs else 2)
    assert elsewhere.main("lowest", ["tests"]) == (0 if installs else 2)
    made = [command for command in asked if "install" in command]
    assert len(made) == (1 if installs else 2)
    assert "simpy==4.1" in made[0]
    assert (asked[-1][1:] == ["-m", "pytest", "tests"]) == installs
