"""What a results file says about itself: digests by which damage and changes by hand are found.

A digest is BLAKE2b of 16 bytes (RFC 7693) over JSON without spaces, as :mod:`json` writes it: numbers,
texts in ASCII escapes, null.  There are two kinds, both written in the transaction of what they speak of:

* ``digests`` has one row a replication: its rows in every result table, table by table in the order of
  :data:`TABLES`, each row with its columns in order.  The key is the hash of the study, so that the rows
  of another study never pass.
* ``sums`` has one row a table: how many rows it has and, for those that hold no replications, a digest of
  all of them.  That of ``digests`` is the exclusive or of the digests of its rows, which can grow batch by
  batch and is the same whatever the batches; of the result tables only the rows are counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

SIZE = 16  # bytes
NOTHING = bytes(SIZE)  # the exclusive or of no digests

_encode = json.JSONEncoder(separators=(",", ":")).encode


def of_replication(study_hash: str, tables: Sequence[Sequence[Sequence[Any]]]) -> bytes:
    """The digest of one replication: ``tables`` holds its rows, policy first, in every result table."""
    key = study_hash.encode()[:64]
    return hashlib.blake2b(_encode(tables).encode(), digest_size=SIZE, key=key).digest()


def of_rows(rows: Iterable[Sequence[Any]]) -> bytes:
    """The digest of a small table: all its rows in the order of their keys."""
    return hashlib.blake2b(_encode(list(rows)).encode(), digest_size=SIZE).digest()


def together(total: bytes, entries: Iterable[tuple[int, int, bytes]]) -> bytes:
    """The exclusive or of ``total`` and the digests of entries of the table ``digests``: policy, replication
    and the digest of that replication."""
    found = int.from_bytes(total)
    for policy, replication, one in entries:
        entry = f"{policy} {replication} ".encode() + one
        found ^= int.from_bytes(hashlib.blake2b(entry, digest_size=SIZE).digest())
    return found.to_bytes(SIZE)
