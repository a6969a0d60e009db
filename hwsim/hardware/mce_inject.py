"""The text format of mce-inject: machine-check records as a person writes them, or as a panic prints them.

The words and their meaning are those of mce-inject (Andi Kleen and Huang Ying; mce.y, mce.lex and the
manual page mce-inject.8).  What it does to a record, this does: STATUS sets all of the register, so that
ADDR and MISC must follow it to leave their valid bits; the last of several fields of one name counts;
numbers without 0x are decimal, or octal after a 0.  More is accepted than there: numbers with hex letters
without 0x, and a kernel's own panic output, whose numbers are hexadecimal, with what stands before and
between its records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import NamedTuple

from hwsim.hardware.mce_banks import (
    ADDRV,
    AR,
    EIPV,
    EN,
    LMCES,
    MCIP,
    MISCV,
    OVER,
    PCC,
    RIPV,
    SEAM_NR,
    TES_P,
    TES_YELLOW,
    UC,
    VAL,
    S,
)

MAX_BYTES = 1 << 20
MAX_CPUS = 8192  # CONFIG_MAXSMP
MAX_PROBLEMS = 20

STATUS_WORDS = {
    "VAL": VAL, "OVER": OVER, "UC": UC, "EN": EN, "PCC": PCC, "S": S, "AR": AR,
    "TES_YELLOW": TES_YELLOW,
    "CORRECTED": VAL | EN, "UNCORRECTED": VAL | UC | EN, "FATAL": VAL | UC | EN | PCC,
    "UCNA": 0, "SRAO": S, "SRAR": S | AR,
}  # fmt: skip
MCGSTATUS_WORDS = {
    "RIPV": RIPV,
    "EIPV": EIPV,
    "MCIP": MCIP,
    "LMCES": LMCES,
    "TES_P": TES_P,
    "SEAM_NR": SEAM_NR,
}
UNUSED = ("TSC", "TIME", "SOCKETID", "SOCKET", "APICID", "APIC", "MCGCAP", "PPIN", "MICROCODE")  # read only
FIELDS = (
    "STATUS", "MCGSTATUS", "BANK", "RIP", "ADDR", "MISC", "PROCESSOR", "IN_IRQ", "IN_PROC", "POLL", "EXCP",
    "HOLD", "NOBROADCAST", "IRQBROADCAST", "NMIBROADCAST", *UNUSED,
)  # fmt: skip
STARTS = ("CPU", "MCE")
KEYWORDS = frozenset((*STARTS, *FIELDS))

_TOKEN = re.compile(
    r"(?P<skip>[ \t\r\f\v]+|#[^\n]*)|(?P<line>\n)|(?P<word>[0-9A-Za-z_]+)|(?P<mark>[:{}<>+/!.])"
)
_PREFIX = re.compile(r"^(<\d>)?(\[ *\d+\.\d+\] *)?(mce: )?(\[Hardware Error\]: )?", re.MULTILINE)
_SENTENCES = re.compile(
    r"^ *(HARDWARE ERROR|This is not a software problem!|Run (through mcelog|the above through).*"
    r"|Machine check: .*|Machine check events logged|Kernel panic - not syncing: .*"
    r"|Some CPUs didn't answer in synchronization|Disabling lock debugging.*"
    r"|No human readable MCE decoding support.*)$",
    re.MULTILINE,
)
_HEX, _OCTAL = re.compile(r"(0[xX])?[0-9a-fA-F]+"), re.compile(r"0[0-7]*")


@dataclass(frozen=True)
class Record:
    """One record: the registers of a bank on a CPU, and how it is to be raised.

    ``status``, ``addr``, ``misc``, ``mcgstatus``: the 64-bit registers.  ``rip``: instruction pointer, 0
    where none is given; ``cs``: code segment.  ``exception``: by an exception, or by a poll.  ``context``:
    "random" (whatever the CPU was at), "process" or "irq".  ``hold``: keep it until the next record of the
    file that is not held.
    """

    line: int
    cpu: int
    bank: int = 0
    status: int = 0
    mcgstatus: int = 0
    addr: int = 0
    misc: int = 0
    cs: int = 0
    rip: int = 0
    context: str = "random"
    exception: bool = False
    hold: bool = False
    nobroadcast: bool = False
    irqbroadcast: bool = False
    nmibroadcast: bool = False


class Problem(NamedTuple):
    """A mistake: where (line 0: the file as a whole), and what is wrong."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class MceTextError(Exception):
    """The text has mistakes: ``problems`` has them all, at most :data:`MAX_PROBLEMS` of one file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class _Token(NamedTuple):
    line: int
    text: str


class _Wrong(Exception):
    """This field is no good; reading goes on at the next."""

    def __init__(self, token: _Token, text: str) -> None:
        super().__init__(text)
        self.token = token


def parse_mce(data: bytes | str, file: str, *, banks: int) -> list[Record]:
    """The records of a text in mce-inject's format, in its order.

    ``banks``: how many banks a CPU has.  Raises :class:`MceTextError` with every mistake.
    """
    size = len(data)
    if size > MAX_BYTES:
        raise MceTextError(
            [Problem(file, 0, f"larger than {MAX_BYTES:,} bytes: not a set of machine checks")]
        )
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    text = _SENTENCES.sub("", _PREFIX.sub("", text))
    return _Parser(text, file, banks).records()


class _Parser:
    """One pass over the tokens: a record begins at CPU or MCE, a field at its word."""

    def __init__(self, text: str, file: str, banks: int) -> None:
        self._file = file
        self._banks = banks
        self._problems: list[Problem] = []
        self._more = 0
        self._base = 0  # of the record's registers: 16 in what a kernel printed
        self._tokens = list(self._split(text))
        self._end = _Token(self._tokens[-1].line if self._tokens else 1, "")
        self._at = 0

    def records(self) -> list[Record]:
        found = []
        while self._at < len(self._tokens):
            record = self._record()
            if record is not None:
                found.append(record)
        if self._problems:
            if self._more:
                self._problems.append(Problem(self._file, self._end.line, f"and {self._more} more mistakes"))
            raise MceTextError(self._problems)
        return found

    def _split(self, text: str) -> Iterator[_Token]:
        line, at = 1, 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                self._problem(line, f"unrecognized character {text[at]!a}")
                at += 1
                continue
            at = match.end()
            if match.lastgroup == "line":
                line += 1
            elif match.lastgroup != "skip":
                yield _Token(line, match.group())

    def _problem(self, line: int, text: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(Problem(self._file, line, text))
        else:
            self._more += 1

    # Tokens

    def _peek(self) -> _Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else self._end

    def _keyword(self) -> str:
        return self._peek().text.upper()

    def _next(self) -> _Token:
        token = self._peek()
        self._at += 1
        return token

    def _expect(self, *texts: str) -> None:
        for text in texts:
            token = self._peek()
            if token.text.upper() != text:
                raise _Wrong(token, f"{_shown(token)}: {text} is expected here")
            self._at += 1

    def _skip_to_keyword(self) -> None:
        while self._at < len(self._tokens) and self._keyword() not in KEYWORDS:
            self._at += 1

    def _number(self, what: str, below: int = 1 << 64, *, base: int = 0) -> int:
        token = self._peek()
        value = _value(token, base)
        if value is None or token.text.upper() in KEYWORDS:
            raise _Wrong(token, f"{what}: {_shown(token)} is not a number; write 0x… for hexadecimal")
        self._at += 1
        if value >= below:
            raise _Wrong(token, f"{what}: {token.text[:40]} is too large; allowed: 0 to {_limit(below)}")
        return value

    # Grammar

    def _record(self) -> Record | None:
        record, fields = None, 0
        try:
            record, fields = self._start()
        except _Wrong as wrong:
            self._problem(wrong.token.line, str(wrong))
            self._skip_to_keyword()
            record = Record(wrong.token.line, 0)
            fields = 1  # one mistake is enough
        raise_mode: bool | None = None
        while self._at < len(self._tokens) and self._keyword() not in STARTS:
            word = self._keyword()
            if word in ("POLL", "EXCP"):
                self._at += 1
                raise_mode = word == "EXCP"
            else:
                try:
                    record = self._field(record, word)
                except _Wrong as wrong:
                    self._problem(wrong.token.line, str(wrong))
                    self._skip_to_keyword()
            fields += 1
        if not fields:
            self._problem(record.line, "a record needs at least one field after CPU or MCE")
        uncorrected = bool(record.status & UC)
        return replace(record, exception=uncorrected if raise_mode is None else raise_mode)

    def _start(self) -> tuple[Record, int]:
        token = self._next()
        self._base = 0
        word = token.text.upper()
        if word == "MCE":
            if _value(self._peek(), 0) is not None:  # mcelog numbers its records
                self._at += 1
            return Record(token.line, 0), 0
        if word != "CPU":
            raise _Wrong(token, f"{_shown(token)}: a record begins with CPU or MCE{_near(token, STARTS)}")
        cpu = self._number("CPU", MAX_CPUS)
        if self._peek().text == ":":
            return self._panic_line(Record(token.line, cpu)), 1
        if _value(self._peek(), 0) is not None and self._keyword() not in KEYWORDS:
            return Record(token.line, cpu, self._number("BANK", self._banks)), 0
        return Record(token.line, cpu), 0

    def _panic_line(self, record: Record) -> Record:
        """``CPU 0: Machine Check Exception: 5 Bank 4: b200000000070f0f``, later also without Exception."""
        self._base = 16
        self._expect(":", "MACHINE", "CHECK")
        if self._peek().text != ":":
            self._expect("EXCEPTION")
        self._expect(":")
        mcgstatus = self._number("MCGSTATUS", base=16)
        self._expect("BANK")
        bank = self._number("BANK", self._banks)
        self._expect(":")
        return replace(record, mcgstatus=mcgstatus, bank=bank, status=self._number("STATUS", base=16))

    def _field(self, record: Record, word: str) -> Record:
        token = self._next()
        match word:
            case "STATUS":
                return replace(record, status=self._bits(word, STATUS_WORDS))
            case "MCGSTATUS":
                return replace(record, mcgstatus=self._bits(word, MCGSTATUS_WORDS))
            case "BANK":
                return replace(record, bank=self._number(word, self._banks))
            case "ADDR":
                return replace(record, addr=self._number(word, base=self._base), status=record.status | ADDRV)
            case "MISC":
                return replace(record, misc=self._number(word, base=self._base), status=record.status | MISCV)
            case "RIP":
                return self._rip(record)
            case "IN_PROC" | "IN_IRQ":
                return replace(record, context={"IN_PROC": "process", "IN_IRQ": "irq"}[word])
            case "HOLD":
                return replace(record, hold=True)
            case "NOBROADCAST":
                return replace(record, nobroadcast=True)
            case "IRQBROADCAST":
                return replace(record, irqbroadcast=True)
            case "NMIBROADCAST":
                return replace(record, nmibroadcast=True)
            case "PROCESSOR":
                self._number(word)
                self._expect(":")
                self._number(word)
            case _ if word in UNUSED:
                self._number(word, base=self._base)
            case _:
                raise _Wrong(token, f"{_shown(token)}: no such field{_near(token, KEYWORDS)}")
        return record

    def _bits(self, what: str, words: dict[str, int]) -> int:
        value = 0
        while self._at < len(self._tokens) and self._keyword() not in KEYWORDS:
            token = self._peek()
            if token.text.upper() in words:
                self._at += 1
                value |= words[token.text.upper()]
            elif _value(token, 0) is not None:
                value |= self._number(what)
            else:
                raise _Wrong(token, f"{what}: {_shown(token)} is not one of its words{_near(token, words)}")
        return value

    def _rip(self, record: Record) -> Record:
        """``ip``, ``cs:ip``, or the kernel's own ``!INEXACT! cs:<ip> {symbol}`` in hexadecimal."""
        if self._peek().text == "!":
            self._expect("!", "INEXACT", "!")
        start = self._at
        first = self._number("RIP", base=0)
        if self._peek().text != ":":
            return replace(record, rip=first)
        self._at += 1
        if self._peek().text != "<":
            if first >= 1 << 16:
                raise _Wrong(
                    self._tokens[start], f"RIP: the code segment {self._tokens[start].text} is too large"
                )
            return replace(record, cs=first, rip=self._number("RIP"))
        self._at = start
        first = self._number("RIP", 1 << 16, base=16)
        self._expect(":", "<")
        rip = self._number("RIP", base=16)
        self._expect(">")
        if self._peek().text == "{":
            while self._at < len(self._tokens) and self._next().text != "}":
                if self._keyword() in KEYWORDS:
                    raise _Wrong(self._peek(), "RIP: the symbol's } is missing")
        return replace(record, cs=first, rip=rip)


def _value(token: _Token, base: int) -> int | None:
    """The number a token stands for; ``base`` 0: as C reads it, and hexadecimal if it has hex letters."""
    text = token.text
    if not _HEX.fullmatch(text) or len(text) > 100:
        return (1 << 64) if _HEX.fullmatch(text) else None
    if base == 16 or text[:2] in ("0x", "0X"):
        return int(text, 16)
    if _OCTAL.fullmatch(text):
        return int(text, 8)
    if text.isdigit():
        return None if text[0] == "0" else int(text)
    return int(text, 16)


def _shown(token: _Token) -> str:
    return ascii(token.text[:40]) if token.text else "the end of the file"


def _limit(below: int) -> str:
    return f"{below - 1:#x}" if below > 1 << 16 else str(below - 1)


def _near(token: _Token, words: Iterable[str]) -> str:
    near = get_close_matches(token.text[:40].upper(), words, 1)
    return f"; did you mean {near[0]}?" if near else ""
