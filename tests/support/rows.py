"""Rows of results for tests: what a test does not say is nothing, so that a new column concerns no test."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from hwsim.record import End, ErrorRow, FaultRow, Found, LostWriteRow, ReplicationRow, SignalRow
from hwsim.study.columns import Column, columns_of

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
