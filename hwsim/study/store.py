"""One SQLite file a study: crash-safe while it grows, resumable, readable with any SQLite tool.

Life of a file: created with its tables and manifest in one transaction; filled in write-ahead-log
mode, one transaction a batch, a replication whole or not at all; finished by packing it and leaving
WAL mode, so that one file remains whose bytes depend only on what was run.  A replication that is
already there is skipped, so that two runs into the same file cannot harm each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwsim.study.columns import FAILURES, TABLES, Column
from hwsim.study.errors import StoreError
from hwsim.study.manifest import Policy, canonical, differences
from hwsim.study.replicate import Done, Failure, Job, Outcome

APPLICATION_ID = 0x48575331  # "HWS1", in the SQLite header: this file is ours
FORMAT = 4  # user_version: raised when a table changes its meaning
LOCK_WAIT_S = 3.0

_MAGIC = b"SQLite format 3\x00"
_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "decode", "UNIQUE constraint")
_MANIFEST = {"study_hash": str, "name": str, "scenario": dict, "seed": int, "horizon_ns": int, "repeat": int}


class Store:
    """An open results file.  Make one with :func:`open_store` (to write) or :func:`read_store`."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self.connection = connection
        self.path = path

    # -- reading ---------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        with self._readable():
            rows = self.connection.execute("SELECT key, value FROM manifest ORDER BY key").fetchall()
            found = {key: json.loads(value) for key, value in rows}
            wrong = [key for key, kind in _MANIFEST.items() if not isinstance(found.get(key), kind)]
            if wrong:
                raise ValueError(f"manifest: {', '.join(wrong)} missing or wrong")
        return found

    def policies(self) -> list[Policy]:
        with self._readable():
            rows = self.connection.execute("SELECT label, overrides FROM policies ORDER BY policy").fetchall()
            if not rows:
                raise ValueError("policies: there are none")
            return [Policy(label, tuple(json.loads(overrides))) for label, overrides in rows]

    def done(self) -> set[Job]:
        """The replications that are finished."""
        with self._readable():
            rows = self.connection.execute("SELECT policy, replication FROM replications").fetchall()
        return {Job(*row) for row in rows}

    def rows(self, table: str, below: int | None = None) -> list[tuple[Any, ...]]:
        """All rows of a result table, in order, of the replications below ``below``."""
        names = ", ".join(f'"{column.name}"' for column in TABLES[table])
        where = "" if below is None else f"WHERE replication < {int(below)}"
        order = {"replications": "", "errors": ", error", "faults": ", fault"}.get(table, ", rowid")
        query = f"SELECT {names} FROM {table} {where} ORDER BY policy, replication{order}"
        with self._readable():
            return self.connection.execute(query).fetchall()

    def failures(self) -> list[Failure]:
        with self._readable():
            rows = self.connection.execute("SELECT * FROM failures ORDER BY policy, replication").fetchall()
        return [Failure(*row) for row in rows]

    def reach(self) -> dict[str, int]:
        """How often each exit, row and PTE result was met, over all policies."""
        with self._readable():
            query = "SELECT what, sum(times) FROM reach GROUP BY what ORDER BY what"
            return dict(self.connection.execute(query).fetchall())

    # -- writing ---------------------------------------------------------------------------------

    def add(self, batch: Iterable[Outcome]) -> None:
        """Write outcomes in one transaction: all or, when it fails, nothing of them."""
        with self._writable() as run:
            for outcome in batch:
                if isinstance(outcome, Failure):
                    run(_INSERT["failures"], _failure_row(outcome))
                else:
                    self._add_done(outcome)

    def begin(self) -> None:
        """Go into WAL mode for many small transactions; :meth:`finish` goes back."""
        with self._readable():
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = NORMAL")

    def extend(self, asked: Mapping[str, Any]) -> None:
        """Note that more replications were asked for, and by which command."""
        with self._writable() as run:
            for key in ("repeat", "command"):
                run("UPDATE manifest SET value = ? WHERE key = ?", (canonical(asked[key]), key))

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

    def _add_done(self, done: Done) -> None:
        policy, result = done.policy, done.result
        row = (policy, *result.row)
        if self.connection.execute(_INSERT["replications"], row).rowcount == 0:
            return  # there already: the same rows, made by another run
        execute = self.connection.executemany
        execute(_INSERT["errors"], [(policy, *error) for error in result.errors])
        execute(_INSERT["signals"], [(policy, *sent) for sent in result.signals])
        execute(_INSERT["lost_writes"], [(policy, *lost) for lost in result.lost_writes])
        execute(_INSERT["faults"], [(policy, *fault) for fault in result.faults])
        execute(_ADD_REACH, [(policy, what, times) for what, times in result.reach.items()])
        self.connection.execute(
            "DELETE FROM failures WHERE policy = ? AND replication = ?", (policy, done.replication)
        )

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _explained(error, self.path) from error
        except (ValueError, TypeError) as error:  # changed by somebody else since it was written
            raise damaged(self.path, str(error)) from error

    @contextlib.contextmanager
    def _writable(self) -> Iterator[Any]:
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
            raise _explained(error, self.path) from error


def open_store(
    path: str | os.PathLike[str] | None, asked: Mapping[str, Any], policies: Sequence[Policy]
) -> Store:
    """The file of the study ``asked`` (a manifest), made if missing; ``None`` keeps it in memory.

    A file of another study, of another program or no database at all is refused untouched.
    """
    if path is None:
        store = Store(sqlite3.connect(":memory:", isolation_level=None), None)
        _create(store, asked, policies)
        return store
    file = Path(path)
    new = _look(file, writing=True)
    store = _connect(file, writing=True)
    try:
        if new:
            _create(store, asked, policies)
        else:
            _check_same(store, asked, policies)
            if asked["repeat"] > store.manifest()["repeat"]:
                store.extend(asked)
    except BaseException:
        store.close()
        raise
    return store


def read_store(path: str | os.PathLike[str]) -> Store:
    """An existing results file, to read."""
    file = Path(path)
    _look(file, writing=False)
    return _connect(file, writing=False)


def _look(file: Path, *, writing: bool) -> bool:
    """Refuse what is not ours before SQLite touches it; True if the file is still to be made."""
    try:
        if writing:
            file.parent.mkdir(parents=True, exist_ok=True)
        status = file.stat()
        if stat.S_ISDIR(status.st_mode):
            raise StoreError(f"{file}: this is a folder; name a file, such as {file}/study.sqlite")
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{file}: this is not an ordinary file; results need one")
        with file.open("r+b" if writing else "rb") as stream:
            head = stream.read(100)
    except FileNotFoundError:
        if writing:
            return True
        raise StoreError(f"{file}: there is no such file{_neighbour(file)}") from None
    except (FileExistsError, NotADirectoryError):
        raise StoreError(f"{file}: {file.parent} is not a folder") from None
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror or error}") from None
    if not head:
        if writing:
            return True
        raise StoreError(f"{file}: the file is empty, it holds no results")
    if not head.startswith(_MAGIC):
        raise StoreError(f"{file}: this is not a results file (not an SQLite database); it was left as it is")
    if int.from_bytes(head[68:72], "big") != APPLICATION_ID:
        raise StoreError(
            f"{file}: this SQLite database was made by another program; it was left as it is. "
            "Choose another file for the results"
        )
    version = int.from_bytes(head[60:64], "big")
    if version != FORMAT:
        raise StoreError(
            f"{file}: made by another version of hwsim (format {version}, this one reads format {FORMAT}); "
            "run the study again into another file"
        )
    return False


def _connect(file: Path, *, writing: bool) -> Store:
    mode = "rwc" if writing else "ro"
    uri = f"{file.absolute().as_uri()}?mode={mode}"
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=LOCK_WAIT_S)
        store = Store(connection, file)
        if writing:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        else:
            connection.execute("SELECT count(*) FROM manifest").fetchone()
    except sqlite3.Error as error:
        raise _explained(error, file) from error
    return store


def _create(store: Store, asked: Mapping[str, Any], policies: Sequence[Policy]) -> None:
    with store._writable() as run:
        run(f"PRAGMA application_id = {APPLICATION_ID}")
        run(f"PRAGMA user_version = {FORMAT}")
        run("CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        run(
            "CREATE TABLE policies (policy INTEGER PRIMARY KEY, label TEXT NOT NULL, overrides TEXT NOT NULL)"
        )
        run(_table("replications", TABLES["replications"], "PRIMARY KEY (policy, replication)"))
        run(_table("errors", TABLES["errors"], "PRIMARY KEY (policy, replication, error)"))
        run(_table("signals", TABLES["signals"], ""))
        run(_table("lost_writes", TABLES["lost_writes"], ""))
        run(_table("faults", TABLES["faults"], "PRIMARY KEY (policy, replication, fault)"))
        run(_table("failures", FAILURES, "PRIMARY KEY (policy, replication)"))
        run(
            "CREATE TABLE reach (policy INTEGER NOT NULL, what TEXT NOT NULL, times INTEGER NOT NULL, "
            "PRIMARY KEY (policy, what)) WITHOUT ROWID"
        )
        for key, value in sorted(asked.items()):
            run("INSERT INTO manifest VALUES (?, ?)", (key, canonical(value)))
        for number, policy in enumerate(policies):
            run("INSERT INTO policies VALUES (?, ?, ?)", (number, policy.label, canonical(policy.overrides)))


def _check_same(store: Store, asked: Mapping[str, Any], policies: Sequence[Policy]) -> None:
    stored = store.manifest()
    if stored.get("study_hash") == asked["study_hash"]:
        return
    lines = differences(stored, store.policies(), asked, policies) or ["a default of the model has changed"]
    shown = lines[:12] + ([f"and {len(lines) - 12} more"] if len(lines) > 12 else [])
    raise StoreError(
        f"{store.path}: holds the results of another study ({stored.get('name', 'unnamed')}); "
        "it was left as it is. What differs:\n"
        + "\n".join(f"  {line}" for line in shown)
        + "\nTo go on, name another file with --out, or undo the difference to add to this one."
    )


def _table(name: str, columns: Sequence[Column], key: str) -> str:
    parts = [f'"{c.name}" {c.sql}{"" if c.optional else " NOT NULL"}' for c in columns]
    if key:
        return f"CREATE TABLE {name} ({', '.join([*parts, key])}) WITHOUT ROWID"
    return f"CREATE TABLE {name} ({', '.join(parts)})"


def _insert(name: str, width: int) -> str:
    verb = "INSERT OR REPLACE" if name == "failures" else "INSERT"
    if name == "replications":
        verb = "INSERT OR IGNORE"
    return f"{verb} INTO {name} VALUES ({', '.join('?' * width)})"


def _failure_row(failure: Failure) -> tuple[Any, ...]:
    return (failure.policy, failure.replication, failure.kind, failure.message, failure.place)


def _neighbour(file: Path) -> str:
    """A file of nearly this name in the same folder, for the message."""
    import difflib

    try:
        names = [entry.name for entry in file.parent.iterdir() if entry.is_file()]
    except OSError:
        return ""
    near = difflib.get_close_matches(file.name, names, n=1)
    return f"; did you mean {file.parent / near[0]}?" if near else ""


def damaged(path: Path | None, what: str) -> StoreError:
    """What is in the file is not what was written there."""
    return StoreError(f"{path}: the file is damaged ({what}); run the study again into another file")


def _explained(error: sqlite3.Error, path: Path | None) -> StoreError:
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


_INSERT = {
    "replications": _insert("replications", len(TABLES["replications"])),
    "errors": _insert("errors", len(TABLES["errors"])),
    "signals": _insert("signals", len(TABLES["signals"])),
    "lost_writes": _insert("lost_writes", len(TABLES["lost_writes"])),
    "faults": _insert("faults", len(TABLES["faults"])),
    "failures": _insert("failures", len(FAILURES)),
}
_ADD_REACH = (
    "INSERT INTO reach VALUES (?, ?, ?) "
    "ON CONFLICT (policy, what) DO UPDATE SET times = times + excluded.times"
)
