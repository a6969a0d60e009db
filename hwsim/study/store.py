"""One SQLite file a study: crash-safe while it grows, resumable, readable with any SQLite tool.

Life of a file: created with its tables and manifest in one transaction; filled in write-ahead-log
mode, one transaction a batch, a replication whole or not at all; finished by packing it and leaving
WAL mode, so that one file remains whose bytes depend only on what was run.  A replication that is
already there is skipped, so that two runs into the same file cannot harm each other.  With every
transaction go the digests of what it wrote (:mod:`hwsim.study.digest`).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from hwsim.study import digest, sums
from hwsim.study.columns import FAILURES, TABLES, Column
from hwsim.study.errors import DamagedError, StoreError
from hwsim.study.jobs import Done, Failure, Job, JobOutcome
from hwsim.study.manifest import Policy, canonical
from hwsim.study.schema import (
    ADD_REACH,
    ADD_SETTLED,
    APPLICATION_ID,
    CREATE,
    FORMAT,
    INSERT,
    IS_THERE,
    SMALL,
    check_types,
    select,
)  # fmt: skip

PATIENCE_MS = 60_000  # for another run that writes or packs the same file, once this one is under way
_DAMAGE = (
    "malformed", "not a database", "no such table", "no such column", "decode", "UNIQUE constraint",
    "unsupported file format", "datatype mismatch",
)  # fmt: skip
_MANIFEST = {
    "study_hash": str,
    "name": str,
    "scenario": dict,
    "seed": int,
    "horizon_ns": int,
    "repeat": int,
    "model_version": dict,
}


def _let_go(connection: sqlite3.Connection) -> None:
    """Python 3.13 warns of a connection that is only dropped; only its own thread may close it."""
    with contextlib.suppress(sqlite3.ProgrammingError):
        connection.close()


class Store:
    """An open results file; made by :mod:`hwsim.study.opening`, closed with the last who holds it."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self.connection = connection
        self.path = path
        weakref.finalize(self, _let_go, connection).atexit = False

    # -- reading ---------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        with self.readable():
            rows = self.connection.execute(SMALL["manifest"]).fetchall()
            found = {key: json.loads(value) for key, value in rows}
            wrong = [key for key, kind in _MANIFEST.items() if type(found.get(key)) is not kind]
            if wrong:
                raise ValueError(f"manifest: {', '.join(wrong)} missing or wrong")
        return found

    @cached_property
    def study_hash(self) -> str:
        return str(self.manifest()["study_hash"])

    def policies(self) -> list[Policy]:
        with self.readable():
            rows = self.connection.execute(SMALL["policies"]).fetchall()
            if not rows:
                raise ValueError("policies: there are none")
            return [_policy(number, *row) for number, row in enumerate(rows)]

    def done(self) -> set[Job]:
        """The replications that are finished."""
        with self.readable():
            rows = self.connection.execute("SELECT policy, replication FROM replications").fetchall()
            check_types(TABLES["replications"][:2], rows)
        return {Job(*row) for row in rows}

    def rows(self, table: str, below: int | None = None) -> list[tuple[Any, ...]]:
        """All rows of a result table, in order, of the replications below ``below``."""
        with self.readable():
            where = "" if below is None else f"WHERE replication < {int(below)}"
            rows = self.connection.execute(select(table, where)).fetchall()
            check_types(TABLES[table], rows, f"table {table}: ")
        return rows

    def failures(self) -> list[Failure]:
        with self.readable():
            rows = self.connection.execute(SMALL["failures"]).fetchall()
            check_types(FAILURES, rows, "table failures: ")
        return [Failure(*row) for row in rows]

    def reach(self) -> dict[str, int]:
        """How often each exit, row and PTE result was met, over all policies."""
        with self.readable():
            query = "SELECT what, sum(times) FROM reach GROUP BY what ORDER BY what"
            rows = self.connection.execute(query).fetchall()
            check_types((Column("what", "TEXT", False), Column("times", "INTEGER", False)), rows, "reach: ")
        return dict(rows)

    def digest(self, job: Job) -> bytes | None:
        """The digest that a replication must have; None if it was never there."""
        with self.readable():
            return sums.known(self.connection, *job)

    def replications(self, where: str = "") -> Iterator[tuple[Job, list[list[tuple[Any, ...]]]]]:
        """Each replication with its rows, table by table, as :func:`of_replication` takes them."""
        parts = [groupby(self.connection.execute(select(name, where)), itemgetter(0, 1)) for name in TABLES]
        heads = [next(part, None) for part in parts]
        while any(heads):
            job = min(head[0] for head in heads if head is not None)
            rows: list[list[tuple[Any, ...]]] = []
            for number, head in enumerate(heads):
                if head is None or head[0] != job:
                    rows.append([])
                    continue
                rows.append(list(head[1]))
                heads[number] = next(parts[number], None)
            yield Job(*job), rows

    # -- writing ---------------------------------------------------------------------------------

    def add(self, batch: Iterable[JobOutcome]) -> None:
        """Write outcomes in one transaction: all or, when it fails, nothing of them."""
        outcomes = list(batch)
        done = [one for one in outcomes if isinstance(one, Done)]
        failed = [one for one in outcomes if isinstance(one, Failure)]
        many = self.connection.executemany
        with self.writable():
            many(INSERT["failures"], map(_failure_row, failed))
            missing, new = self._missing(done)
            for number, name in enumerate(TABLES):
                many(INSERT[name], chain.from_iterable(one.tables[number] for one in missing))
            many("DELETE FROM failures WHERE policy = ? AND replication = ?", [one[:2] for one in missing])
            self._count(one for one in missing if one[:2] in new)
            rows = {name: sum(len(one.tables[n]) for one in missing) for n, name in enumerate(TABLES)}
            sums.add(self.connection, rows, [(*job, found) for job, found in new.items()])
            sums.renew(self.connection, "failures", "reach", "manifest")

    def _missing(self, done: Iterable[Done]) -> tuple[list[Done], dict[tuple[int, int], bytes]]:
        """Those that are not in the file, and the digests of those of them that never were."""
        missing, new = [], {}
        for one in done:
            job = one[:2]
            noted = sums.known(self.connection, *job)
            if noted is not None and self.connection.execute(IS_THERE, job).fetchone():
                continue  # the same rows, made by another run
            found = digest.of_replication(self.study_hash, one.tables)
            if noted is None:
                new[job] = found
            elif noted != found:
                raise StoreError(_not_again(self.path, one))
            missing.append(one)
        return missing, new

    def _count(self, new: Iterable[Done]) -> None:
        """What they met, and how their results were found."""
        reach: Counter[tuple[int, str]] = Counter()
        settled: Counter[str] = Counter()
        for one in new:
            for what, times in one.reach.items():
                reach[one.policy, what] += times
            settled[f"settled.{one.policy}.{one.settled or 'played'}"] += 1
        self.connection.executemany(ADD_REACH, [(*key, times) for key, times in reach.items()])
        self.connection.executemany(ADD_SETTLED, settled.items())

    def begin(self) -> None:
        """Go into WAL mode for many small transactions; :meth:`finish` goes back."""
        with self.readable():
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = NORMAL")
            self.connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")

    def extend(self, asked: Mapping[str, Any]) -> None:
        """Note that more replications were asked for, and by which command."""
        with self.writable() as run:
            for key in ("repeat", "command"):
                run("UPDATE manifest SET value = ? WHERE key = ?", (canonical(asked[key]), key))
            sums.renew(self.connection, "manifest")

    def finish(self) -> None:
        """Pack the file and leave WAL mode.  Only a convenience: everything is already safe."""
        if self.path is None:
            return
        with contextlib.suppress(sqlite3.Error):  # another reader, or no room for the packed copy
            self.connection.execute("VACUUM")
        self.leave_wal()

    def leave_wal(self) -> None:
        """Fold the write-ahead log into the file, unless somebody else has it open."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def create(self, asked: Mapping[str, Any], policies: Sequence[Policy]) -> None:
        """The tables of a new file, within a transaction of the caller."""
        run = self.connection.execute
        run(f"PRAGMA application_id = {APPLICATION_ID}")
        run(f"PRAGMA user_version = {FORMAT}")
        for sql in CREATE.values():
            run(sql)
        for key, value in sorted(asked.items()):
            run("INSERT INTO manifest VALUES (?, ?)", (key, canonical(value)))
        for number, policy in enumerate(policies):
            run("INSERT INTO policies VALUES (?, ?, ?)", (number, policy.label, canonical(policy.overrides)))
        sums.begin(self.connection)

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explained(error, self.path) from error
        except (ValueError, TypeError) as error:  # changed by somebody else since it was written
            raise damaged(self.path, str(error)) from error

    @contextlib.contextmanager
    def writable(self) -> Iterator[Any]:
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection.execute
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise explained(error, self.path) from error


def _policy(number: int, stored: Any, label: Any, overrides: Any) -> Policy:
    found = json.loads(overrides)
    texts = isinstance(found, list) and all(isinstance(text, str) for text in found)
    if stored != number or not isinstance(label, str) or not texts:
        raise ValueError(f"policies: number {number} is not a label with a list of overrides")
    return Policy(label, tuple(found))


def _failure_row(failure: Failure) -> tuple[Any, ...]:
    return (failure.policy, failure.replication, failure.kind, failure.message, failure.place)


def _not_again(path: Path | None, done: Done) -> str:
    return (
        f"{path}: replication {done.replication} of policy {done.policy}, run again, is not what it was "
        "before the file was damaged; another version of Python, numpy or simpy may have made it. "
        "Run the study again into another file"
    )


def damaged(path: Path | None, what: str) -> DamagedError:
    """What is in the file is not what was written there."""
    return DamagedError(
        f"{path}: the file is damaged ({what}); hwsim check {path} says what is sound in it. "
        "Run the study again into another file, or into this one with --repair"
    )


def explained(error: sqlite3.Error, path: Path | None) -> StoreError:
    """The SQLite error in the user's words."""
    text = str(error)
    name = path if path is not None else "the results in memory"
    if "locked" in text or "busy" in text:
        return StoreError(f"{name}: the file is locked by another program; close it there and run again")
    if "full" in text:
        return StoreError(
            f"{name}: the disk is full. What was finished before is kept; "
            "make room and run the same command again to go on"
        )
    if "readonly" in text or "read-only" in text or "unable to open" in text:
        return StoreError(f"{name}: cannot be opened ({text}); is the file or its folder write-protected?")
    if any(word in text for word in _DAMAGE):
        return damaged(path, text)
    return StoreError(f"{name}: {text}. What was finished before is kept")
