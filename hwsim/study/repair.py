"""A damaged results file: what is sound in it is kept, the rest can be run again.

Nothing is lost on the way: the damaged file is copied to FILE.damaged first, the new one is made beside it
and takes its name when it is whole.  A replication that is run again must have the digest that it had.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwsim.study import integrity, sums
from hwsim.study.columns import TABLES
from hwsim.study.errors import DamagedError, StoreError
from hwsim.study.integrity import Damage
from hwsim.study.manifest import Policy
from hwsim.study.opening import alone, check_same, connected, counted, open_store
from hwsim.study.schema import ADD_REACH, ADD_SETTLED, INSERT, SETTLED, SMALL
from hwsim.study.store import Store

_BESIDE = ("", "-wal", "-journal")  # what SQLite keeps beside a file


def repair(path: Path, asked: Mapping[str, Any], policies: Sequence[Policy]) -> str:
    """Replace a damaged file of the study ``asked``; what was done in one sentence, empty if nothing was
    wrong.  A file of another study, or no results file, is refused as it is on opening."""
    if not path.exists():
        return ""
    try:
        opened = connected(path)
    except DamagedError:
        raise StoreError(
            f"{path}: the file is damaged at its start, so that nothing in it can be read; it was left as it "
            "is. Run the study again into another file"
        ) from None
    with opened as old:
        damage = integrity.whole(old, asked["study_hash"])
        if not damage:
            return ""
        repeat = asked["repeat"]
        if not damage.tables.keys() & {"", "manifest", "policies"}:
            check_same(old, asked, policies)
            repeat = max(repeat, old.manifest()["repeat"])
    kept_as = _copied(path)
    alone(path)
    fresh = path.with_name(f"{path.name}.repairing")
    _remove(fresh)
    try:
        with connected(path) as old, open_store(fresh, {**asked, "repeat": repeat}, policies) as new:
            kept = _fill(new, old, damage)
        fresh.replace(path)
    except BaseException:
        _remove(fresh)
        raise
    _remove(path, _BESIDE[1:])
    return (
        f"{path} was damaged: {counted(kept)} in it {'is' if kept == 1 else 'are'} kept, the others are run "
        f"again; as it was it is now {kept_as}"
    )


def _fill(new: Store, old: Store, damage: Damage) -> int:
    """Take over sound replications, if what all of them reached together is sound too; their number."""
    if damage.tables.keys() & {"reach", "digests", "sums"}:
        return 0
    old.connection.text_factory = integrity.any_text
    replications = integrity.salvage(old.connection) if damage.broken else old.replications()
    kept = 0
    written = dict.fromkeys(TABLES, 0)
    with new.writable():
        for job, tables in replications:
            if job in damage.replications:
                continue
            kept += 1
            for name, rows in zip(TABLES, tables, strict=True):
                new.connection.executemany(INSERT[name], rows)
                written[name] += len(rows)
        new.connection.executemany(ADD_REACH, old.connection.execute(SMALL["reach"]))
        settled = old.connection.execute(SETTLED).fetchall()  # of a manifest that may be damaged elsewhere
        new.connection.executemany(
            ADD_SETTLED, [(key, n) for key, n in settled if f"{key}".isascii() and f"{n}".isdecimal()]
        )
        digests = old.connection.execute("SELECT policy, replication, digest FROM digests").fetchall()
        sums.add(new.connection, written, digests)  # those of the others too: they must come out again
        sums.renew(new.connection, "reach", "manifest")
    return kept


def _copied(path: Path) -> Path:
    """A copy of the file under a name that is free."""
    number = 1
    while (copy := path.with_name(f"{path.name}.damaged{number if number > 1 else ''}")).exists():
        number += 1
    for end in _BESIDE:
        beside = path.with_name(path.name + end)
        if beside.exists():
            shutil.copy2(beside, copy.with_name(copy.name + end))
    return copy


def _remove(path: Path, ends: Sequence[str] = _BESIDE) -> None:
    for end in ends:
        path.with_name(path.name + end).unlink(missing_ok=True)
