"""The notebooks run from top to bottom, and every step has its words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


def _cells(path: Path) -> list[tuple[str, str]]:
    """(kind, text) of every cell: markdown or code."""
    parts = re.split(r"^# %%(.*)$", path.read_text("utf-8"), flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [("markdown" if "[markdown]" in head else "code", text.strip()) for head, text in pairs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_in_an_empty_folder(path: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "PYTHONWARNINGS": "error"}
    command = [sys.executable, str(path)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) > 10


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_step_has_its_words_before_it(path: Path) -> None:
    kinds = [kind for kind, _ in _cells(path)]
    assert kinds[0] == "markdown"
    assert kinds.count("code") >= 5
    assert all(before == "markdown" for before, kind in pairwise(kinds) if kind == "code")
    for kind, text in _cells(path):
        assert kind == "code" or all(line.startswith("#") for line in text.splitlines() if line)


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["early_versus_late", "tour"]
