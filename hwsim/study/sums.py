"""The sums of a results file: what each transaction notes about the tables it has written.

All functions work within a transaction of the caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from hwsim.study import digest
from hwsim.study.columns import TABLES
from hwsim.study.schema import SMALL


def begin(connection: sqlite3.Connection) -> None:
    """The rows of a new file."""
    for name in TABLES:
        connection.execute("INSERT INTO sums VALUES (?, 0, NULL)", (name,))
    connection.execute("INSERT INTO sums VALUES ('digests', 0, ?)", (digest.NOTHING,))
    for name in SMALL:
        connection.execute("INSERT INTO sums VALUES (?, 0, ?)", (name, digest.NOTHING))
    renew(connection, *SMALL)


def renew(connection: sqlite3.Connection, *names: str) -> None:
    """The digests of small tables that have changed."""
    for name in names:
        rows = connection.execute(SMALL[name]).fetchall()
        new = (len(rows), digest.of_rows(rows), name)
        connection.execute("UPDATE sums SET rows = ?, digest = ? WHERE name = ?", new)


def add(
    connection: sqlite3.Connection, written: Mapping[str, int], digests: Sequence[tuple[int, int, bytes]]
) -> None:
    """Rows written to result tables, and the digests of the replications they belong to."""
    connection.executemany("INSERT INTO digests VALUES (?, ?, ?)", digests)
    connection.executemany(
        "UPDATE sums SET rows = rows + ? WHERE name = ?", [(rows, name) for name, rows in written.items()]
    )
    (found,) = connection.execute("SELECT digest FROM sums WHERE name = 'digests'").fetchone()
    change = (len(digests), digest.together(found, digests))
    connection.execute("UPDATE sums SET rows = rows + ?, digest = ? WHERE name = 'digests'", change)


def known(connection: sqlite3.Connection, policy: int, replication: int) -> bytes | None:
    """The digest that a replication must have, if it was there before."""
    query = "SELECT digest FROM digests WHERE policy = ? AND replication = ?"
    row = connection.execute(query, (policy, replication)).fetchone()
    return None if row is None else row[0]
