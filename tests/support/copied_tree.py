"""A copy of the tree in which something is added: what it then says, and which files it took."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.svg")


def copy_tree(to: Path, *parts: str) -> None:
    """Copy these folders of the project."""
    for part in parts:
        shutil.copytree(ROOT / part, to / part, ignore=LEFT_OUT)


def add(file: Path, line: str, *, before: str) -> None:
    """Write ``line`` before the only place of the file that begins with ``before``."""
    text = file.read_text("utf-8")
    assert text.count(before) == 1, f"{file}: {before}"
    file.write_text(text.replace(before, line + before), "utf-8")


def python(tree: Path, *arguments: str, **environment: str) -> str:
    """What Python prints with that tree, in its folder."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def changed(tree: Path, *parts: str) -> set[str]:
    """The files of these folders that are new in the tree, or not as they are here."""
    paths = [path.relative_to(tree) for part in parts for path in (tree / part).rglob("*.*")]
    return {
        path.as_posix()
        for path in paths
        if "__pycache__" not in path.parts
        and not ((ROOT / path).is_file() and filecmp.cmp(ROOT / path, tree / path, shallow=False))
    }
