"""Every experiment runs, answers from its own numbers, and draws; the arithmetic below them is right."""

from __future__ import annotations

import io
import re

import pandas as pd
import pytest
from rich.console import Console

from experiments.__main__ import MODULES, experiment, main
from experiments.common import Effort, fraction, median, per, share, show, sums
from hwsim.show import style

ROWS = pd.DataFrame({"replication": [0, 0, 2], "amount": pd.array([5, 7, None], dtype="Int64")})


@pytest.mark.parametrize("number", MODULES)
def test_it_answers(number: str, tmp_path) -> None:
    answer = experiment(number)(Effort(scale=0.01, workers=1))
    assert answer.number == number
    assert answer.question.endswith("?")
    assert answer.lines
    for label, estimates in answer.lines:
        assert label
        assert len(estimates) == len(answer.head)
        for each in estimates:
            assert each.method
            assert (
                each.value is None or each.low is None or each.low <= each.value <= (each.high or each.value)
            )
    assert "nan" not in answer.text
    assert re.search(r"\d", answer.text), "an answer without a number"
    assert len(answer.assumptions) >= 2
    out = io.StringIO()
    show(answer, Console(file=out, width=120))
    assert answer.question in out.getvalue()
    assert "It assumes:" in out.getvalue()
    style.save(answer.figure, tmp_path / number)
    assert (tmp_path / f"{number}.svg").stat().st_size > 5_000


def test_sums_per_machine() -> None:
    assert sums(ROWS, 4) == [2.0, 0.0, 1.0, 0.0]
    assert sums(ROWS, 4, "amount") == [12.0, 0.0, 0.0, 0.0]
    assert per(ROWS, 4, "amount").value == 4.0
    assert share(ROWS[ROWS["replication"] == 2], ROWS, 4).value == 1 / 3


def test_a_share_does_not_go_beyond_the_whole() -> None:
    found = fraction([1.0, 5.0, 1.0], [1.0, 5.0, 2.0])
    assert found.value == 7 / 8
    assert found.high == 1.0


def test_a_median_of_two_machines_and_of_one() -> None:
    rows = pd.DataFrame({"replication": [0, 0, 1], "window": [1.0, 2.0, 9.0]})
    found = median(rows, "window")
    assert (found.value, found.n) == (2.0, 2)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 2.0 <= found.high
    assert median(rows[rows["replication"] == 0], "window").value is None


def test_an_unknown_number_ends_with_status_2(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["E99"])
    assert ended.value.code == 2
    assert "E12" in capsys.readouterr().err
