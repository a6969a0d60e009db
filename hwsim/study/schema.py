"""The tables of a results file as SQL: made once, compared on every opening."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from hwsim.study.columns import FAILURES, TABLES, Column

APPLICATION_ID = 0x48575331  # "HWS1", in the SQLite header: this file is ours
FORMAT = 5  # user_version: raised when a table changes its meaning

_KEYS = {
    "replications": "PRIMARY KEY (policy, replication)",
    "errors": "PRIMARY KEY (policy, replication, error)",
    "signals": "",
    "lost_writes": "",
    "faults": "PRIMARY KEY (policy, replication, fault)",
    "failures": "PRIMARY KEY (policy, replication)",
}
ORDER = {  # of the rows of a result table
    "replications": "policy, replication",
    "errors": "policy, replication, error",
    "signals": "policy, replication, rowid",
    "lost_writes": "policy, replication, rowid",
    "faults": "policy, replication, fault",
}


def _table(name: str, columns: Sequence[Column]) -> str:
    parts = [f'"{c.name}" {c.sql}{"" if c.optional else " NOT NULL"}' for c in columns]
    if _KEYS[name]:
        return f"CREATE TABLE {name} ({', '.join([*parts, _KEYS[name]])}) WITHOUT ROWID"
    return f"CREATE TABLE {name} ({', '.join(parts)})"


CREATE: dict[str, str] = {
    "manifest": "CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "policies": (
        "CREATE TABLE policies (policy INTEGER PRIMARY KEY, label TEXT NOT NULL, overrides TEXT NOT NULL)"
    ),
    **{name: _table(name, columns) for name, columns in TABLES.items()},
    "failures": _table("failures", FAILURES),
    "reach": (
        "CREATE TABLE reach (policy INTEGER NOT NULL, what TEXT NOT NULL, times INTEGER NOT NULL, "
        "PRIMARY KEY (policy, what)) WITHOUT ROWID"
    ),
    "digests": (
        "CREATE TABLE digests (policy INTEGER NOT NULL, replication INTEGER NOT NULL, digest BLOB NOT NULL, "
        "PRIMARY KEY (policy, replication)) WITHOUT ROWID"
    ),
    "sums": ("CREATE TABLE sums (name TEXT PRIMARY KEY, rows INTEGER NOT NULL, digest BLOB) WITHOUT ROWID"),
}


def _insert(name: str, width: int) -> str:
    verb = "INSERT OR REPLACE" if name == "failures" else "INSERT"
    return f"{verb} INTO {name} VALUES ({', '.join('?' * width)})"


INSERT: dict[str, str] = {
    **{name: _insert(name, len(columns)) for name, columns in TABLES.items()},
    "failures": _insert("failures", len(FAILURES)),
}
ADD_REACH = (
    "INSERT INTO reach VALUES (?, ?, ?) "
    "ON CONFLICT (policy, what) DO UPDATE SET times = times + excluded.times"
)
ADD_SETTLED = (
    "INSERT INTO manifest VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = value + excluded.value"
)
SETTLED = "SELECT key, value FROM manifest WHERE key LIKE 'settled.%'"
IS_THERE = "SELECT 1 FROM replications WHERE policy = ? AND replication = ?"
SMALL = {  # tables whose digest is made anew from all their rows
    "manifest": "SELECT key, value FROM manifest ORDER BY key",
    "policies": "SELECT policy, label, overrides FROM policies ORDER BY policy",
    "failures": "SELECT * FROM failures ORDER BY policy, replication",
    "reach": "SELECT policy, what, times FROM reach ORDER BY policy, what",
}
COUNT = {name: f"SELECT count(*) FROM {name}" for name in TABLES}


def select(table: str, where: str = "", *, raw: bool = False, backwards: bool = False) -> str:
    """The rows of a result table in their order; ``raw``, in the order in which they lie in the file."""
    names = ", ".join(f'"{column.name}"' for column in TABLES[table])
    order = ORDER[table]
    if raw and order.endswith("rowid"):
        order = "rowid"
    if backwards:
        order = ", ".join(f"{key} DESC" for key in order.split(", "))
    return f"SELECT {names} FROM {table} {where} ORDER BY {order}"


def same_tables(connection: sqlite3.Connection) -> bool:
    """Whether the file has these tables, each made by these words; an index beside them is no harm."""
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
    return all(found.get(name) == sql for name, sql in CREATE.items())


def check_types(columns: Sequence[Column], rows: Sequence[Sequence[Any]], where: str = "") -> None:
    """SQLite takes any value in any column, the tables here do not; raises ValueError."""
    if not rows:
        return
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        allowed = {int if column.sql == "INTEGER" else str} | ({type(None)} if column.optional else set())
        if not allowed.issuperset(map(type, values)):
            wrong = next(value for value in values if type(value) not in allowed)
            raise ValueError(f"{where}{column.name} = {wrong!r:.60} is not {_WORDS[column.sql]}")


_WORDS = {"INTEGER": "a whole number", "TEXT": "a text"}
