"""The lines of a log: what stands before a message, and whose message it is.

Messages come with the prefixes of consoles, dmesg (also -T, -x, -d and with the printing CPU), syslog, the
journal, containers and mails; all end in a mark that a message of the machine-check code cannot begin with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_STAMP = re.compile(r"\[ *(\d+)\.(\d{6})\]")  # seconds since boot, by the kernel
_LOG_LIKE = re.compile(
    r"(?:\[ *\d+\.\d+\]|<\d+>|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d |\d{4}-\d\d-\d\dT\d\d:)"
)

# A message follows one of these marks, a container's tag as in "stderr F ", or a time of day.
PREFIX = r"(?:.*[\]>:|;]\s*|.*\s[FP]\s+|.*\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\s+|\s*)"


LONGEST = 2000  # characters of a line that are looked at; the kernel's have 1024 at most (LOG_LINE_MAX)


class Line(NamedTuple):
    """One line without escapes and control characters; ``stamp_s``: the kernel's time since boot, or None.

    ``is_worth_a_look`` False: no form has such a line.
    """

    number: int
    text: str
    stamp_s: float | None
    is_worth_a_look: bool = True


class Foreign(NamedTuple):
    """A form that is recognised and not read."""

    name: str
    pattern: re.Pattern[str]


# Each is somebody's decoding of machine checks, or firmware's way around them.
FOREIGN = (
    Foreign(
        "EDAC",
        re.compile(r"\bEDAC\b.*(?:MC\d+|PCI\d*):|CPU \d+: Machine Check Event: |HANDLING MCE MEMORY ERROR"),
    ),
    Foreign(
        "APEI/GHES (firmware's error records)",
        re.compile(
            r"\{\d+\}\[Hardware Error\]|Hardware error from APEI|\bGHES: |\bBERT: .*(?:rror|ecord)"
            r"|Fatal hardware error!"
        ),
    ),
    Foreign(
        "rasdaemon",
        re.compile(
            r"\b(?:rasdaemon|ras-mc-ctl)(?:\[\d+\])?: |\b(?:mce_record|mc_event|extlog_mem_event|aer_event): "
        ),
    ),
    Foreign("ras-mc-ctl", re.compile(r"\bmcgstatus=\w+.*\bstatus=0x|\bstatus=0x.*\bmcgstatus=")),
    Foreign(
        "AMD's decoded blocks (edac_mce_amd)",
        re.compile(
            r"CPU:\d+\s+(?:\([0-9a-f]+:[0-9a-f]+:[0-9a-f]+\) )?MC\d+_STATUS|\bMC\d+_(?:STATUS|ADDR)\b"
            r"|\[Hardware Error\]: (?:(?:Corrected|Deferred|Uncorrected|System Fatal) error\b|Error Addr: 0x"
            r"|(?:Northbridge|(?:Data|Instruction) Cache|(?:Bus|Combined|Execution) Unit|Load Store) Error"
            r"|Error Status: |IPID: 0x|PPIN: 0x|cache level: |MC\d+ Error|[A-Za-z ]+ Ext\. Error Code: )"
        ),
    ),
    Foreign("Xen", re.compile(r"\(XEN\) .*(?:Machine Check|MCE|Bank \d+:)")),
    Foreign("FreeBSD", re.compile(r"\bMCA: (?:Bank \d+, Status|Global Cap) 0x")),
    Foreign(
        "the machine-check code of kernels before 2.6.31",
        re.compile(
            r"CPU \d+: Machine Check Exception: +[0-9a-f]{16}\s*$|\bBank \d+: [0-9a-f]{16}(?:\[|\s+at |\s*$)"
            r"|hardware reports a non.fatal, correctable incident"
        ),
    ),
    Foreign("a thermal event of mcelog", re.compile(r"\bCPU \d+ (?:BANK \d+ )?THERMAL EVENT\b")),
    Foreign("a time-out record of mcelog", re.compile(r"\bCPU \d+ Timeout waiting for exception")),
)
_HEAD_AND_BANK = re.compile(r"Machine Check(?: Exception)?: +[0-9a-f]+ Bank \d+:")

# What the kernel says around its records, and mcelog in front of its own.
SENTENCES = re.compile(
    PREFIX + r"(?:HARDWARE ERROR(?:\. This is \*NOT\* a software problem!)?|This is not a software problem!"
    r"|Run (?:through mcelog|the (?:above|message) through) .*|Machine check events logged"
    r"|Disabling lock debugging due to kernel taint|No human readable MCE decoding support.*"
    r"|Hardware event\. This is not a software error\.|Please contact your hardware vendor)\s*"
)


# In small letters, part of every line that is read, of whatever form: most lines of a journal have none.
_WORDS = (
    "machine", "tsc", "addr", "misc", "synd", "ipid", "ppin", "rip", "processor", "mce", "mcg", "mca", "mci",
    "status", "cpuid", "microcode", "apicid", "socketid", "time", "cpu ", "cpu:", "cpus", "bank", "edac",
    "ghes", "bert", "apei", "error", "ras", "_event", "(xen)", "panic", "version", "boot", "correctable",
    "software", "lock debugging", "hardware", "thermal", "{",
)  # fmt: skip


def decode(data: bytes) -> str:
    """Text of a file: UTF-8, or UTF-16 with its mark; what is neither becomes U+FFFD."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def lines_of(text: str) -> Iterator[Line]:
    """The lines, numbered from 1; any of CR LF, LF CR and LF ends one, and CR where there is no LF."""
    if "\n" not in text:
        text = text.replace("\r", "\n")
    for number, raw in enumerate(text.split("\n"), 1):
        plain = _ESCAPES.sub("", raw)[:LONGEST]
        line = plain.replace("\0", "").strip()
        if not line.isprintable():
            line = "".join(each if each.isprintable() else " " for each in line).strip()
        stamp = _STAMP.search(line)
        small = line.lower()
        yield Line(
            number,
            line,
            float(f"{stamp[1]}.{stamp[2]}") if stamp else None,
            any(word in small for word in _WORDS),
        )


def foreign(line: str) -> str | None:
    """The name of the form that this line belongs to, if it is one of :data:`FOREIGN`."""
    for form in FOREIGN:
        if form.pattern.search(line):
            is_ours = form.name.startswith("the machine-check code") and _HEAD_AND_BANK.search(line)
            return None if is_ours else form.name
    return None


def is_log_like(line: str) -> bool:
    """The line begins as those of a log do."""
    return bool(_LOG_LIKE.match(line))
