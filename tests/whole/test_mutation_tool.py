"""The judge of mutants: who is asked, in which order, and what counts as noticing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.mutation import judge
from tools.mutation.covering import Covering, is_left_out


def test_tests_of_the_line_are_asked_first_and_quick_ones_before_slow_ones() -> None:
    seconds = {"slow": 3.0, "quick": 0.1, "other": 1.0, "more": 0.5}
    covering = Covering(seconds, {"a.py": {7: {"slow", "quick"}, 8: {"more"}, 9: set()}})
    assert covering.order("a.py", 7) == (["quick", "slow"], ["more", "other"])
    assert covering.order("a.py", 9) == (["quick", "more", "slow"], ["other"])  # runs at import alone
    assert covering.order("b.py", 1) == ([], ["quick", "more", "other", "slow"])


def test_golden_numbers_do_not_count() -> None:
    assert is_left_out("tests/whole/test_golden.py::test_the_summary_is_the_same[drill]")
    assert is_left_out("tests/whole/test_notebooks.py::test_it_runs_in_an_empty_folder[tour]")
    assert not is_left_out("tests/whole/test_readme.py::test_links_lead_somewhere")


@pytest.mark.parametrize(
    ("body", "noticed_by"),
    [
        ("pass", judge.NOBODY),
        ("assert False", "tests/test_one.py::test_one"),
        ("while True: pass", "tests/test_one.py::test_one (time)"),
        ("import os; os.kill(os.getpid(), 9)", "(died, status 9)"),
    ],
)
def test_a_failure_a_loop_and_a_death_are_noticed(
    body: str, noticed_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "_LEAST_CPU_S", 0.3)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text(
        f"def test_zero(): pass\ndef test_one():\n    {body}\n", "utf-8"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")
    order = ["tests/test_one.py::test_zero", "tests/test_one.py::test_one"]
    found, _cpu_s = judge.first_failure(tmp_path, order, {}, tmp_path / "log")
    assert found == noticed_by
