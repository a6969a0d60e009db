"""Whether a results file is what was written: quickly by its structure and sums, wholly by its digests."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwsim.study import digest, sums
from hwsim.study.columns import TABLES
from hwsim.study.jobs import Job
from hwsim.study.schema import COUNT, SMALL, same_tables, select
from hwsim.study.store import Store

Tables = list[list[tuple[Any, ...]]]  # the rows of one replication, table by table

_PROBLEMS_SHOWN = 3
_RANGES_SHOWN = 12
_WAL = b"\x02\x02"  # read and write version in the header of a file in write-ahead-log mode


@dataclass
class Damage:
    """What is not as it was written."""

    tables: dict[str, str]  # what is wrong with a table; under "" with the file as a whole
    replications: set[Job] = field(default_factory=set)
    sound: int = 0  # replications that are as they were written
    broken: bool = False  # the tables cannot be read from end to end

    def __bool__(self) -> bool:
        return bool(self.tables or self.replications)

    def lines(self) -> list[str]:
        """One line for each table, and for the damaged replications of each policy."""
        found = wrong(self.tables)
        known = {job for job in self.replications if {type(job.policy), type(job.replication)} == {int}}
        for policy in sorted({job.policy for job in known}):
            numbers = sorted(job.replication for job in known if job.policy == policy)
            found.append(f"policy {policy}, not as written: replication {ranges(numbers)}")
        if known != self.replications:
            found.append("there are rows of no replication")
        return found


def wrong(tables: Mapping[str, str]) -> list[str]:
    """``table manifest: not as it was written``."""
    return [f"table {name}: {what}" if name else what for name, what in tables.items()]


def ranges(numbers: Sequence[int]) -> str:
    """``3, 7 to 9``; of many the first, and how many more there are."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = [str(low) if low == high else f"{low} to {high}" for low, high in spans[:_RANGES_SHOWN]]
    rest = sum(high - low + 1 for low, high in spans[_RANGES_SHOWN:])
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def quick(store: Store) -> dict[str, str]:
    """What is wrong with the structure, the numbers of rows and the small tables; costs what reading the
    file once does."""
    connection = store.connection
    try:
        if not same_tables(connection):
            return {"": "its tables are not those that hwsim makes"}
        found = [str(row[0]) for row in connection.execute(f"PRAGMA quick_check({_PROBLEMS_SHOWN})")]
        problems = [line for text in found for line in text.splitlines() if not line.startswith("***")]
    except (sqlite3.DatabaseError, ValueError) as error:  # ValueError: the words of SQLite are no text
        problems = [str(error)]
    problems = [_size(store), *(problem for problem in problems if problem != "ok")]
    text = "; ".join(problem for problem in problems if problem)
    return ({"": text} if text else {}) | _sums(connection)


def _size(store: Store) -> str:
    if store.path is None:
        return ""
    lacking = lacking_bytes(store.path)
    return missing(lacking) if lacking > 0 else "bytes follow its end" if lacking else ""


def missing(lacking: int) -> str:
    """``1 byte is missing at its end``."""
    return f"{lacking} byte{' is' if lacking == 1 else 's are'} missing at its end"


def lacking_bytes(path: Path) -> int:
    """How much shorter a file is than its header says; negative if it is longer.  Nobody can say it of a file
    with a log or a journal beside it, nor of one last written by a program that does not know this number."""
    journal = path.with_name(f"{path.name}-journal")
    lacking = _by_header(path)
    if lacking > 0 and not journal.exists():
        lacking = _by_header(path)  # what another run was writing at the first look is written by now
    elif lacking > 0:
        return 0
    return 0 if lacking > 0 and journal.exists() else lacking


def _by_header(path: Path) -> int:
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(100)
    if head[18:20] == _WAL or head[24:28] != head[92:96]:
        return 0
    page = 65536 if head[16:18] == b"\x00\x01" else int.from_bytes(head[16:18])
    return page * int.from_bytes(head[28:32]) - size


def _sums(connection: sqlite3.Connection) -> dict[str, str]:
    """The tables that are not as noted."""
    found: dict[str, str] = {}
    noted = _read(connection, "sums", "SELECT name, rows, digest FROM sums", found)
    told = {name: (rows, one) for name, rows, one in noted}
    if not found and told.keys() != {*TABLES, *SMALL, "digests"}:
        found["sums"] = "not one row for each table"
    for name, query in SMALL.items():
        rows = _read(connection, name, query, found)
        with contextlib.suppress(TypeError):  # bytes: no digest is made of them
            if told.get(name) == (len(rows), digest.of_rows(rows)):
                continue
        found.setdefault(name, "not as it was written")
    for name in TABLES:
        ((count,),) = _read(connection, name, COUNT[name], found) or [(None,)]
        if told.get(name) != (count, None):
            found.setdefault(name, f"{count} rows, {told.get(name, ['?'])[0]} were written")
    digests = _read(connection, "digests", "SELECT policy, replication, digest FROM digests", found)
    whole = [entry for entry in digests if isinstance(entry[2], bytes)]
    if told.get("digests") != (len(digests), digest.together(digest.NOTHING, whole)):
        found.setdefault("digests", "not as it was written")
    return found


def _read(connection: sqlite3.Connection, name: str, query: str, found: dict[str, str]) -> list[Any]:
    try:
        return connection.execute(query).fetchall()
    except (sqlite3.DatabaseError, ValueError) as error:
        found[name] = str(error)
        return []


def whole(store: Store, study_hash: str) -> Damage:
    """Everything that can be found, row by row.  ``study_hash`` is the key of the digests: the file's
    own word for it may be what is damaged."""
    connection = store.connection
    damage = Damage(quick(store))
    seen: set[Job] = set()
    try:
        for job, tables in store.replications():
            if job in seen or not sound(connection, study_hash, job, tables):
                damage.replications.add(job)
            seen.add(job)
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        damage.tables.setdefault("", str(error))
        damage.broken = True
        connection.text_factory = any_text
        seen = set()
        for job, tables in salvage(connection):
            if not sound(connection, study_hash, job, tables):
                damage.replications.add(job)
            seen.add(job)
        damage.replications |= _noted(connection) - seen
    finally:
        connection.text_factory = str
    damage.sound = len(seen - damage.replications)
    return damage


def any_text(text: bytes) -> str:
    """A byte that no text has must not end the reading: the digest tells it."""
    return text.decode("utf-8", "surrogateescape")


def _noted(connection: sqlite3.Connection) -> set[Job]:
    """The replications that have a digest."""
    found: set[Job] = set()
    with contextlib.suppress(sqlite3.DatabaseError):
        found.update(Job(*row) for row in connection.execute("SELECT policy, replication FROM digests"))
    return found


def salvage(connection: sqlite3.Connection) -> Iterator[tuple[Job, Tables]]:
    """Each replication with what can still be read of it, where a page of the file cannot: from the start
    up to that page, and from the end back to it."""
    found: dict[Job, Tables] = {}
    for number, name in enumerate(TABLES):
        for row in _around(connection, name):
            job = Job(*row[:2])
            found.setdefault(job, [[] for _ in TABLES])[number].append(row)
    yield from sorted(found.items(), key=str)


def _around(connection: sqlite3.Connection, name: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    try:
        for row in connection.execute(select(name, raw=True)):
            rows.append(row)  # noqa: PERF402  what came before the break is kept
    except sqlite3.DatabaseError:
        behind: list[tuple[Any, ...]] = []
        with contextlib.suppress(sqlite3.DatabaseError):
            for row in connection.execute(select(name, raw=True, backwards=True)):
                behind.append(row)  # noqa: PERF402
        rows += reversed(behind)
    return rows


def sound(
    connection: sqlite3.Connection, study_hash: str, job: Job, tables: Sequence[Sequence[Sequence[Any]]]
) -> bool:
    """Whether one replication has its rows, and they are as they were written."""
    try:
        noted = sums.known(connection, *job)
        return len(tables[0]) == 1 and noted == digest.of_replication(study_hash, tables)
    except (sqlite3.DatabaseError, TypeError):  # the digest cannot be read; bytes, of which none is made
        return False
