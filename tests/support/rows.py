"""Rows of results for tests: what a test does not say is nothing, so that a new column concerns no test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from hwsim.record import (
    End,
    ErrorRow,
    FaultRow,
    Found,
    LostWriteRow,
    Replication,
    ReplicationRow,
    SignalRow,
)
from hwsim.study.columns import TABLES, Column, columns_of

Row = TypeVar("Row", bound=NamedTuple)


def error(**facts: Any) -> ErrorRow:
    return _ERROR._replace(**facts)


def signal(**facts: Any) -> SignalRow:
    return _SIGNAL._replace(**facts)


def lost_write(**facts: Any) -> LostWriteRow:
    return _LOST_WRITE._replace(**facts)


def fault(**facts: Any) -> FaultRow:
    return _FAULT._replace(**facts)


def machine(**facts: Any) -> ReplicationRow:
    return _MACHINE._replace(**facts)


def values(found: Iterable[Replication]) -> dict[tuple[str, str], set[Any]]:
    """What the columns hold that allow a list of words or a range."""
    held: dict[tuple[str, str], set[Any]] = {}
    for each in found:
        for table, columns in TABLES.items():
            rows = [each.row] if table == "replications" else getattr(each, table)
            for place, column in enumerate(columns[1:]):
                if column.allowed is not None:
                    held.setdefault((table, column.name), set()).update(row[place] for row in rows)
    return held


def allowed() -> dict[tuple[str, str], set[Any]]:
    """What they may hold."""
    every = [(table, column) for table, columns in TABLES.items() for column in columns if column.allowed]
    return {(table, column.name): _all(column) for table, column in every}


def _all(column: Column) -> set[Any]:
    return set(column.allowed.meanings() if isinstance(column.allowed, type) else column.allowed or ())


def _nothing(row: type[Row]) -> Row:
    return row(*map(_least, columns_of(row)))


def _least(column: Column) -> int | str | None:
    """None, 0 or no text; the first word where no text is none of the words."""
    if column.optional:
        return None
    if column.sql == "INTEGER":
        return 0
    words = column.allowed.meanings() if isinstance(column.allowed, type) else [""]
    return "" if "" in words else next(iter(words))


_ERROR = _nothing(ErrorRow)._replace(found=Found.NONE, end=End.LATENT)
_SIGNAL = _nothing(SignalRow)
_LOST_WRITE = _nothing(LostWriteRow)
_FAULT = _nothing(FaultRow)
_MACHINE = _nothing(ReplicationRow)
