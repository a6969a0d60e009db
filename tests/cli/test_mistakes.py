"""Every mistake in every command ends with a status and a message; see ``tests/support/mistakes.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import mistakes
from tests.support.mistakes import asked, document, written

FEW = settings(max_examples=20)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "r.sqlite"
    scenario = mistakes.ROOT / "desktop.toml"
    asked(["run", str(scenario), "--repeat=2", "--workers=1", "--quiet", f"--out={path}"])
    return path


def test_changed_scenarios(tmp_path: Path) -> None:
    FEW(mistakes.fuzz_scenarios(tmp_path))()


def test_changed_faults(tmp_path: Path) -> None:
    FEW(mistakes.fuzz_faults(tmp_path))()


def test_changed_records(tmp_path: Path) -> None:
    FEW(mistakes.fuzz_records(tmp_path))()


def test_explain() -> None:
    FEW(mistakes.fuzz_explain())()


def test_damaged_results(tmp_path: Path, results: Path) -> None:
    settings(max_examples=5)(mistakes.fuzz_results(tmp_path, results))()


def test_files_that_extend_one_another(tmp_path: Path) -> None:
    first, second = {"extends": "b.toml", "name": "a"}, {"extends": "x.toml", "name": "b"}
    written(tmp_path, document(second), "b.toml")
    assert asked(["check", str(written(tmp_path, document(first)))]) == 2
    chain = 60
    for number in range(chain):
        base = {"extends": f"c{number + 1}.toml"} if number + 1 < chain else {}
        written(tmp_path, document({"name": "c", **base}), f"c{number}.toml")
    assert asked(["check", str(tmp_path / "c0.toml")]) == 2


@pytest.mark.parametrize("value", ["1" + "0" * 400, "nan", "-inf", "1e308"])
@pytest.mark.parametrize("key", ["task.0.region.0.full_line", "errors.0.permanent", "machine.user_share"])
def test_a_number_that_is_no_share(key: str, value: str) -> None:
    assert asked(["check", str(mistakes.ROOT / "desktop.toml"), f"--set={key}={value}"]) == 2
