"""Opening a results file: nobody else's file is touched, and a damaged one is told before it is used."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwsim.scenario.foreign import LOOKED_AT, belongs_to, is_results, kind_of
from hwsim.study import integrity
from hwsim.study.errors import StoreError
from hwsim.study.manifest import Policy, differences
from hwsim.study.schema import APPLICATION_ID, FORMAT
from hwsim.study.store import Store, damaged, explained

LOCK_WAIT_S = 3.0


def open_store(
    path: str | os.PathLike[str] | None, asked: Mapping[str, Any], policies: Sequence[Policy]
) -> Store:
    """The file of the study ``asked`` (a manifest), made if missing; ``None`` keeps it in memory.

    A file of another study, of another program or no database at all is refused untouched, and so is one
    with a replication that is not as it was written.  Whether a file is new is asked under its lock, since
    another run may be making it.
    """
    file = None if path is None else Path(path)
    if file is None:
        store = Store(sqlite3.connect(":memory:", isolation_level=None), None)
    else:
        _look(file, writing=True)
        if file.exists() and integrity.lacking_bytes(file) > 0:
            with connected(file) as broken:
                raise StoreError(told(file, integrity.whole(broken, asked["study_hash"]), asked["command"]))
        store = _connect(file, writing=True)
    try:
        with store.writable() as run:
            (made_by,) = run("PRAGMA application_id").fetchone()
            if made_by == 0:
                store.create(asked, policies)
        if made_by:
            _check(store, asked, policies)
            if asked["repeat"] > store.manifest()["repeat"]:
                store.extend(asked)
    except BaseException:
        store.close()
        raise
    return store


def read_store(path: str | os.PathLike[str]) -> Store:
    """An existing results file, to read; its structure and the numbers of its rows are checked, not yet
    the rows themselves."""
    store = connected(path)
    found = integrity.quick(store)
    if found:
        store.close()
        raise damaged(store.path, "; ".join(integrity.wrong(found)))
    return store


def checked(path: str | os.PathLike[str]) -> str:
    """What is in a results file, in one sentence, once every row of it has been found as it was written."""
    with connected(path) as store, store.readable():
        store.connection.execute("BEGIN")
        command: list[str] = []
        with contextlib.suppress(StoreError):
            command = [str(word) for word in store.manifest().get("command", [])]
        try:
            found = integrity.whole(store, store.study_hash)
        except StoreError:  # there is no word that could be the key of the digests
            found = integrity.Damage(integrity.quick(store))
        if found:
            raise StoreError(told(store.path, found, command))
        manifest, policies = store.manifest(), store.policies()
        asked = manifest["repeat"] * len(policies)
        failed = len(store.failures())
        return (
            f"{store.path}: {manifest['name']}: {len(store.done())} of {counted(asked)} finished, {failed} "
            "failed; every row is as it was written"
        )


def connected(path: str | os.PathLike[str]) -> Store:
    """An existing results file, to read, whatever its state."""
    file = Path(path)
    _look(file, writing=False)
    lacking = integrity.lacking_bytes(file)
    return _connect(file, writing=False) if lacking <= 0 else _filled_up(file, lacking)


def _filled_up(file: Path, lacking: int) -> Store:
    """SQLite reads nothing of a file that lacks a page: in memory, with zeroes for what it lacks, it does."""
    store = Store(sqlite3.connect(":memory:", isolation_level=None), file)
    try:
        if lacking > file.stat().st_size:  # more likely it is the header that is wrong
            raise MemoryError
        store.connection.deserialize(file.read_bytes() + bytes(lacking))
    except (AttributeError, sqlite3.Error, MemoryError) as error:  # left out of some builds of SQLite
        raise StoreError(
            f"{file}: {integrity.missing(lacking)}: nothing in it can be read; run the study again into "
            "another file, or remove this one"
        ) from error
    return store


def alone(path: Path) -> None:
    """Refuses a file that is to be replaced while another run has it open."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=LOCK_WAIT_S)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise explained(error, path) from error


def _check(store: Store, asked: Mapping[str, Any], policies: Sequence[Policy]) -> None:
    """The same study, and all of its rows as they were written.

    One look at all of it: another run may be adding to the file meanwhile.
    """
    with store.readable():
        store.connection.execute("BEGIN")
        try:
            found = integrity.whole(store, asked["study_hash"])
            if not found.tables:
                check_same(store, asked, policies)
        finally:
            store.connection.execute("ROLLBACK")
    if found:
        raise StoreError(told(store.path, found, asked["command"]))


def told(path: Path | None, damage: integrity.Damage, command: Sequence[str]) -> str:
    """What is damaged, and how to go on."""
    lines = "".join(f"\n  {line}" for line in damage.lines())
    words = "run it again with repair=True"
    if command:
        words = "  " + shlex.join([*command, "--out", str(path), "--repair"])
    return (
        f"{path}: the file is damaged; as written: {counted(damage.sound)}{lines}\n"
        f"Nothing in it was changed. To keep what is sound and run the rest again:\n{words}"
    )


def counted(number: int) -> str:
    """``1 replication`` or ``5 replications``."""
    return f"{number} replication{'' if number == 1 else 's'}"


def _look(file: Path, *, writing: bool) -> None:
    """Refuse what is not ours before SQLite touches it."""
    try:
        if writing:
            file.parent.mkdir(parents=True, exist_ok=True)
        status = file.stat()
        if stat.S_ISDIR(status.st_mode):
            raise StoreError(f"{file}: this is a folder; name a file, such as {file}/study.sqlite")
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{file}: this is not an ordinary file; results need one")
        with file.open("r+b" if writing else "rb") as stream:
            head = stream.read(LOOKED_AT)
    except FileNotFoundError:
        if writing:
            return
        raise StoreError(f"{file}: there is no such file{_neighbour(file)}") from None
    except (FileExistsError, NotADirectoryError):
        raise StoreError(f"{file}: {file.parent} is not a folder") from None
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror or error}") from None
    if not head:
        if writing:
            return
        raise StoreError(f"{file}: the file is empty, it holds no results")
    if not is_results(head):
        known = "" if writing else belongs_to(kind_of(head), str(file))
        raise StoreError(
            f"{file}: this is not a results file (not an SQLite database); {known or 'it was left as it is'}"
        )
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
        raise explained(error, file) from error
    except UnicodeDecodeError as error:  # what SQLite says about it is no text either
        raise damaged(file, str(error)) from error
    return store


def check_same(store: Store, asked: Mapping[str, Any], policies: Sequence[Policy]) -> None:
    """Refuses the file of another study, and says what differs."""
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


def _neighbour(file: Path) -> str:
    """A file of nearly this name in the same folder, for the message."""
    import difflib

    try:
        names = [entry.name for entry in file.parent.iterdir() if entry.is_file()]
    except OSError:
        return ""
    near = difflib.get_close_matches(file.name, names, n=1)
    return f"; did you mean {file.parent / near[0]}?" if near else ""
