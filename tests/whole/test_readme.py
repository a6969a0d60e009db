"""README.md is run and read: commands, Python blocks, every dependency, links."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_CLI = "import sys; from hwsim.cli.main import main; sys.exit(main())"


def _section(title: str) -> str:
    """The text under one heading, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"README has no section {title!r}"
    return found[1]


def _commands(language: str, text: str) -> list[tuple[str, list[str]]]:
    """(command, expected output lines) of one block; only `console` blocks show output."""
    text = text.replace("\\\n", " ")
    if language == "sh":
        return [(line, []) for line in text.splitlines() if line.startswith("hwsim ")]
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
    return [(command, output) for command, output in found if command.startswith("hwsim ")]


def _missing_output(expected: list[str], printed: str) -> list[str]:
    """The first run of expected lines that is not printed; only `...` stands for lines left out.

    Spaces, empty lines and the rules of a table do not count.
    """
    lines, want = _words(printed.splitlines()), _words(expected)
    at, cut = 0, False
    while want:
        run = want[: want.index("...")] if "..." in want else want
        last = len(lines) - len(run)
        starts = range(at, last + 1) if cut else range(at, min(at, last) + 1)
        found = [start for start in starts if lines[start : start + len(run)] == run]
        if len(run) == len(want):
            found = [start for start in found if start == last]  # nothing stands for what comes after
        if not found:
            return run
        at, cut = found[0] + len(run), True
        want = want[len(run) + 1 :]
    return []


def _words(lines: list[str]) -> list[str]:
    squeezed = (" ".join(line.split()) for line in lines)
    return [line for line in squeezed if line.strip("─ ")]


def test_the_output_check_can_fail() -> None:
    assert _missing_output(["a  b", "...", "d"], "a b\n\n───\nc\nd\n") == []
    assert _missing_output(["a", "b", "..."], "a\nb\nc\n") == []
    assert _missing_output(["...", "b", "c"], "a\nb\nc\n") == []
    assert _missing_output(["b", "a"], "a\nb\n") == ["b", "a"]
    assert _missing_output(["b"], "a\nb\n") == ["b"], "a line at the start is left out in silence"
    assert _missing_output(["a", "c"], "a\nb\nc\n") == ["a", "c"], "in the middle"
    assert _missing_output(["a", "...", "b"], "a\nb\nc\n") == ["b"], "at the end"
    assert _missing_output(["a"], "a\nb\n") == ["a"], "at the end"


@pytest.fixture
def user(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A user's folder with the shipped scenarios, and the environment of the README's terminal."""
    shutil.copytree(ROOT / "scenarios", tmp_path / "scenarios")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "MPLBACKEND": "Agg",
    }
    return tmp_path, environment


def test_every_block_runs_in_order(user: tuple[Path, dict[str, str]]) -> None:
    """Later blocks use the results of earlier ones, so all of them are one test."""
    folder, environment = user
    ran = {"sh": 0, "console": 0, "python": 0}
    for language, text in FENCE.findall(README):
        if language == "python":
            steps: list[tuple[str, list[str], list[str]]] = [(text, [sys.executable, "-c", text], [])]
        elif language in {"sh", "console"}:
            commands = _commands(language, text)
            steps = [
                (c, [sys.executable, "-c", RUN_CLI, *shlex.split(c, comments=True)[1:]], out)
                for c, out in commands
            ]
        else:
            continue
        for shown, command, expected in steps:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
            )
            assert done.returncode == 0, f"{shown}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            assert _missing_output(expected, done.stdout) == [], f"{shown}\nprinted:\n{done.stdout}"
            ran[language] += 1
    assert ran["sh"] + ran["console"] >= 5, "the worked example is gone"
    assert ran["python"] >= 1


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = {re.split(r"[<>=\[]", requirement)[0] for requirement in wanted}
    listed = {
        name: line.split("|")[2].strip()
        for line in _section("Dependencies").splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([^`]+)`", line.split("|")[1])
    }
    assert set(listed) == names
    assert all(listed.values())


def test_pictures_are_small() -> None:
    pictures = [ROOT / name for name in re.findall(r"!\[[^\]]+\]\(([^)\s]+)\)", README)]
    assert pictures
    assert all(0 < picture.stat().st_size < 200_000 for picture in pictures)


def test_links_lead_somewhere() -> None:
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", README) if "://" not in t]
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", FENCE.sub("", README), re.MULTILINE)
    }
    dead = [t for t in targets if not (t[1:] in anchors if t.startswith("#") else (ROOT / t).exists())]
    assert dead == []
    called = dict(re.findall(r"\[([\w./]+\.(?:py|md))\]\(([^)#\s]+)\)", README))
    assert {name for name, to in called.items() if Path(name).name != Path(to).name} == set()
