"""``python -m tools.elsewhere newest|lowest ARGUMENTS``: run pytest in another environment.

``newest`` is the newest Python of this computer, from 3.13 on, with the newest libraries; ``lowest`` is the
oldest one that is allowed, with the lowest version of every library that pyproject.toml allows.  The
environment is kept in ``.venv-newest`` or ``.venv-lowest`` until pyproject.toml changes.  What cannot be had
here, a Python or a package index, is said and skipped.  Exit status: pytest's, or 0 where it was skipped.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ROOT / "pyproject.toml"
OLDEST, NEW = (3, 11), (3, 13)
PYENV = Path.home() / ".pyenv" / "versions"


def lowest() -> list[str]:
    """Every requirement at its lower bound."""
    project = tomllib.loads(SETTINGS.read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return [re.sub(r">=([^,]+),.*", r"==\1", each) for each in wanted]


def _pythons() -> Iterator[tuple[tuple[int, ...], str]]:
    """(version, command) of the Pythons that run: on PATH, and pyenv's that are not."""
    commands = [f"python3.{minor}" for minor in range(OLDEST[1], 30)]
    for command in (*commands, *map(str, sorted(PYENV.glob("*/bin/python3")))):
        code = "import sys, venv; print(*sys.version_info[:3])"
        try:
            said = subprocess.run([command, "-c", code], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):  # not there, or a shim of pyenv for another one
            continue
        yield tuple(map(int, said.split())), command


def _python(which: str) -> str | None:
    found = sorted(each for each in _pythons() if each[0] >= (NEW if which == "newest" else OLDEST))
    return found[-1 if which == "newest" else 0][1] if found else None


def _pip(python: Path, *arguments: str) -> int:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _index_answers(python: Path) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        return not _pip(python, "download", "--no-cache-dir", "--no-deps", f"--dest={folder}", "simpy")


def main(which: str, arguments: list[str]) -> int:
    """Make the environment unless it is there, and run pytest in it."""
    venv = ROOT / f".venv-{which}"
    python, made = venv / "bin" / "python", venv / "made"
    if not made.exists() or made.stat().st_mtime < SETTINGS.stat().st_mtime:
        base = _python(which)
        if base is None:
            print(f"skipped, {which}: no Python from {'.'.join(map(str, NEW))} on here")
            return 0
        subprocess.run([base, "-m", "venv", "--clear", venv], check=True)
        if not _index_answers(python):
            print(f"skipped, {which}: no package index answers")
            return 0
        if _pip(python, "install", "--editable", ".[dev]", *(lowest() if which == "lowest" else ())):
            return 2
        made.touch()
    subprocess.run([python, "--version"], check=True)
    return subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
