"""The columns of the result tables, read off the records of the model.

One truth: the fields of :mod:`hwsim.record`, in their order, are the columns of the database and of
the data frames.  Their annotations give the SQLite type, the pandas dtype, and the reference for users.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_args, get_type_hints

from hwsim.record import ErrorRow, FaultRow, LostWriteRow, ReplicationRow, SignalRow, Words


class Column(NamedTuple):
    """A column of a result table."""

    name: str
    sql: str  # INTEGER | TEXT
    optional: bool  # None is allowed: "did not happen"
    meaning: str = ""
    allowed: type[Words] | range | None = None  # None: any of its type

    @property
    def dtype(self) -> str:
        """The pandas dtype: ``int64``, ``Int64`` where None is allowed, ``string``."""
        if self.sql == "TEXT":
            return "string"
        return "Int64" if self.optional else "int64"

    @property
    def unit(self) -> str:
        """``ns``, ``bytes``, or nothing: a text, or a number of what the meaning says."""
        return unit_of(self.name)


def unit_of(name: str) -> str:
    """``ns`` or ``bytes``, as the end of the name says, or nothing."""
    end = name.rpartition("_")[2]
    return end if end in ("ns", "bytes") else ""


def columns_of(record: type[Any]) -> tuple[Column, ...]:
    """The columns of a typed row."""
    found = []
    for name, hint in get_type_hints(record, include_extras=True).items():
        kind, *facts = get_args(hint)  # Annotated[type, meaning, allowed]
        kinds = get_args(kind) or (kind,)
        found.append(Column(name, "TEXT" if str in kinds else "INTEGER", type(None) in kinds, *facts))
    return tuple(found)


POLICY = Column("policy", "INTEGER", False, "number of the policy, in the order in which they were named")
ROWS = {
    "replications": ReplicationRow,
    "errors": ErrorRow,
    "signals": SignalRow,
    "lost_writes": LostWriteRow,
    "faults": FaultRow,
}
TABLES = {name: (POLICY, *columns_of(row)) for name, row in ROWS.items()}
FAILURES = (
    POLICY,
    Column("replication", "INTEGER", False, "number of the machine"),
    Column("kind", "TEXT", False, "class of the exception"),
    Column("message", "TEXT", False, "its text"),
    Column("place", "TEXT", False, "where it was raised: file and line"),
)
