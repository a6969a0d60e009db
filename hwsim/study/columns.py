"""The columns of the result tables, read off the records of the model.

One truth: the fields of :mod:`hwsim.record`, in their order, are the columns of the database and of
the data frames.  Their annotations give the SQLite type, and the pandas dtype.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_args, get_type_hints

from hwsim.record import ErrorRow, FaultRow, LostWriteRow, ReplicationRow, SignalRow


class Column(NamedTuple):
    """A column of a result table."""

    name: str
    sql: str  # INTEGER | TEXT
    optional: bool  # None is allowed: "did not happen"

    @property
    def dtype(self) -> str:
        """The pandas dtype: ``int64``, ``Int64`` where None is allowed, ``string``."""
        if self.sql == "TEXT":
            return "string"
        return "Int64" if self.optional else "int64"


def columns_of(record: type[Any]) -> tuple[Column, ...]:
    """The columns of a typed row."""
    hints = get_type_hints(record)
    found = []
    for name in record._fields:
        kinds = get_args(hints[name]) or (hints[name],)
        sql = "TEXT" if str in kinds else "INTEGER"
        found.append(Column(name, sql, type(None) in kinds))
    return tuple(found)


POLICY = Column("policy", "INTEGER", False)
TABLES: dict[str, tuple[Column, ...]] = {
    "replications": (POLICY, *columns_of(ReplicationRow)),
    "errors": (POLICY, *columns_of(ErrorRow)),
    "signals": (POLICY, *columns_of(SignalRow)),
    "lost_writes": (POLICY, *columns_of(LostWriteRow)),
    "faults": (POLICY, *columns_of(FaultRow)),
}
FAILURES = (
    POLICY,
    Column("replication", "INTEGER", False),
    Column("kind", "TEXT", False),
    Column("message", "TEXT", False),
    Column("place", "TEXT", False),
)
