"""Files given to the wrong command: what they are, and which command reads them."""

from __future__ import annotations

import re
import tomllib

LOOKED_AT = 1 << 20  # bytes of a file that are enough to know what it is
_SQLITE = b"SQLite format 3\x00"
_RECORD = re.compile(  # the start of a record as mce-inject, mcelog and the kernel write it
    r"^.{0,80}?(?:CPU \d+(?:[: ]|$)|MCE \d+$|HARDWARE ERROR|Machine Check(?: Exception)?:)", re.MULTILINE
)


def is_results(head: bytes) -> bool:
    """An SQLite database, as results are kept in."""
    return head.startswith(_SQLITE)


def kind_of(data: bytes) -> str:
    """``results``, ``scenario``, ``dimms`` (a scenario of DIMMs without machines), ``mce`` (machine checks)
    or nothing; ``data`` is the file or its first :data:`LOOKED_AT` bytes."""
    if is_results(data):
        return "results"
    text = data.decode("utf-8-sig", "replace")
    try:
        found = tomllib.loads(text.replace("\r\n", "\n"))
    except (ValueError, RecursionError):
        return "mce" if _RECORD.search(text) else ""
    if not found.keys() & {"machine", "horizon", "extends", "errors", "task", "dram"}:
        return ""
    return "dimms" if "dram" in found and not found.keys() & {"errors", "script"} else "scenario"


def belongs_to(kind: str, name: str) -> str:
    """What the file ``name`` is and which command reads it; nothing for an unknown kind."""
    return {
        "results": f"this is a results file; hwsim check {name}, hwsim plot and hwsim replay read it",
        "scenario": f"this is a scenario; use hwsim run {name}",
        "dimms": f"this is a scenario of DIMMs without machines; use hwsim faults {name}",
        "mce": f"these are machine checks; use hwsim mce {name}",
    }.get(kind, "")
