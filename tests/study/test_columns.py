"""What record.py says of a column is what the database, the reference and the rows know of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsim.record import Words
from hwsim.study.columns import TABLES, Column
from tools.columns import reference

ROOT = Path(__file__).resolve().parents[2]

COLUMNS = [(table, column) for table, columns in TABLES.items() for column in columns]


def test_the_reference_says_what_the_records_say() -> None:
    assert reference() == (ROOT / "docs" / "columns.md").read_text("utf-8"), "make schema"


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_column_has_a_meaning_and_what_it_allows_fits_its_type(table: str, column: Column) -> None:
    assert column.meaning
    assert "|" not in column.meaning, "a table of Markdown would break"
    if column.unit:
        assert column.sql == "INTEGER"
    if isinstance(column.allowed, range):
        assert column.sql == "INTEGER"
    elif column.allowed is not None:
        words = column.allowed.meanings()
        assert column.sql == "TEXT"
        assert len(words) > 1
        assert all(words.values())


def test_no_words_are_left_over() -> None:
    assert set(Words.__subclasses__()) == {
        column.allowed for _, column in COLUMNS if isinstance(column.allowed, type)
    }
