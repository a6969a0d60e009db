"""Every mistake in every command, many more of them; see ``tests/support/mistakes.py``."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings

from tests.cli.test_mistakes import results  # noqa: F401  a fixture
from tests.support import mistakes

MANY = settings(max_examples=600)


def test_changed_scenarios(tmp_path: Path) -> None:
    MANY(mistakes.fuzz_scenarios(tmp_path))()


def test_changed_faults(tmp_path: Path) -> None:
    MANY(mistakes.fuzz_faults(tmp_path))()


def test_changed_records(tmp_path: Path) -> None:
    MANY(mistakes.fuzz_records(tmp_path))()


def test_explain() -> None:
    MANY(mistakes.fuzz_explain())()


def test_damaged_results(tmp_path: Path, results: Path) -> None:  # noqa: F811
    settings(max_examples=120)(mistakes.fuzz_results(tmp_path, results))()
