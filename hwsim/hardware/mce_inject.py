"""The text format of mce-inject: machine-check records as a person writes them.

The words and their meaning are those of mce-inject (Andi Kleen and Huang Ying; mce.y, mce.lex and the
manual page mce-inject.8).  What it does to a record, this does: STATUS sets all of the register, so that
ADDR and MISC must follow it to leave their valid bits; the last of several fields of one name counts;
numbers without 0x are decimal, or octal after a 0.  More is accepted than there: numbers with hex letters
without 0x; beside one of these a register of digits only is refused, since nobody knows what was meant.
What a kernel or mcelog printed is another form: see :mod:`hwsim.hardware.mce_text`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
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
from hwsim.hardware.mce_record import MAX_CPUS, Problems, Record, other_vendor

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
_WRITE_0X = "write 0x… for hexadecimal"
_HEX, _OCTAL = re.compile(r"(0[xX])?[0-9a-fA-F]+"), re.compile(r"0[0-7]*")


class _Token(NamedTuple):
    line: int
    text: str


class _Wrong(Exception):
    """This field is no good; reading goes on at the next."""

    def __init__(self, token: _Token, text: str) -> None:
        super().__init__(text)
        self.token = token


def parse_mce(text: str, file: str, *, banks: int) -> list[Record]:
    """The records of a text in mce-inject's format, in its order.

    ``banks``: how many banks a CPU has.  Raises :class:`~hwsim.hardware.mce_record.MceTextError` with every
    mistake.
    """
    return _Parser(text, file, banks).records()


class _Parser:
    """One pass over the tokens: a record begins at CPU or MCE, a field at its word."""

    def __init__(self, text: str, file: str, banks: int) -> None:
        self._banks = banks
        self._problems = Problems(file)
        self._plain: list[_Token] = []  # the record's registers that are written in digits only
        self._bare_hex = False  # one of its registers has hex letters and no 0x
        self._has_time = False  # it happened once
        self._tokens = list(self._split(text))
        self._end = _Token(self._tokens[-1].line if self._tokens else 1, "")
        self._at = 0

    def records(self) -> list[Record]:
        found = []
        while self._at < len(self._tokens):
            found.append(self._record())
        self._problems.check(self._end.line)
        return found

    def _split(self, text: str) -> Iterator[_Token]:
        line, at = 1, 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                self._problems.add(line, f"unrecognized character {text[at]!a}")
                at += 1
                continue
            at = match.end()
            if match.lastgroup == "line":
                line += 1
            elif match.lastgroup != "skip":
                yield _Token(line, match.group())

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

    def _number(self, what: str, below: int = 1 << 64) -> int:
        token = self._peek()
        value = _value(token)
        if value is None or token.text.upper() in KEYWORDS:
            raise _Wrong(token, f"{what}: {_shown(token)} is not a number; {_WRITE_0X}")
        self._at += 1
        if value >= below:
            raise _Wrong(token, f"{what}: {token.text[:40]} is too large; allowed: 0 to {_limit(below)}")
        return value

    def _register(self, what: str) -> int:
        token = self._peek()
        value = self._number(what)
        if token.text.isdigit() and token.text[0] != "0" and value > 9:
            self._plain.append(token)
            if not value & VAL and what == "STATUS" and len(token.text) == 16 and token.text[0] in "89":
                raise _Wrong(token, f"STATUS: {token.text} is decimal here, and no error then; {_WRITE_0X}")
        self._bare_hex |= token.text[:2] not in ("0x", "0X") and not token.text.isdigit()
        return value

    # Grammar

    def _record(self) -> Record:
        self._plain, self._bare_hex, self._has_time = [], False, False
        try:
            record, fields = self._start()
        except _Wrong as wrong:
            self._problems.add(wrong.token.line, str(wrong))
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
                    self._problems.add(wrong.token.line, str(wrong))
                    self._skip_to_keyword()
            fields += 1
        if not fields:
            self._problems.add(record.line, "a record needs at least one field after CPU or MCE")
        for token in self._plain if self._bare_hex else ():
            text = f"{token.text} is decimal here, and another register of the record is not; {_WRITE_0X}"
            self._problems.add(token.line, text)
        uncorrected = bool(record.status & UC)
        if uncorrected and raise_mode is None and self._has_time and not record.mcgstatus & MCIP:
            text = "with TIME, UC and no MCIP it was polled when it happened: say POLL, or EXCP to raise it"
            self._problems.add(record.line, text)
        return replace(record, exception=uncorrected if raise_mode is None else raise_mode)

    def _start(self) -> tuple[Record, int]:
        token = self._next()
        word = token.text.upper()
        if word == "MCE":
            if _value(self._peek()) is not None:  # mcelog numbers its records
                self._at += 1
            if self._keyword() != "CPU":
                return Record(token.line, 0), 0
            word, _ = "CPU", self._next()
        if word != "CPU":
            raise _Wrong(token, f"{_shown(token)}: a record begins with CPU or MCE{_near(token, STARTS)}")
        cpu = self._number("CPU", MAX_CPUS)
        if _value(self._peek()) is not None and self._keyword() not in KEYWORDS:
            return Record(token.line, cpu, self._number("BANK", self._banks)), 0
        return Record(token.line, cpu), 0

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
                return replace(record, addr=self._register(word), status=record.status | ADDRV)
            case "MISC":
                return replace(record, misc=self._register(word), status=record.status | MISCV)
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
                vendor = self._number(word)
                self._expect(":")
                refused = other_vendor(vendor)
                if refused:
                    raise _Wrong(token, refused)
                return replace(record, cpuid=self._number(word, 1 << 32))
            case "TIME":
                self._has_time = self._number(word) > 0
            case _ if word in UNUSED:
                self._number(word)
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
            elif _value(token) is not None:
                value |= self._register(what)
            else:
                raise _Wrong(token, f"{what}: {_shown(token)} is not one of its words{_near(token, words)}")
        return value

    def _rip(self, record: Record) -> Record:
        """``ip`` or ``cs:ip``."""
        token = self._peek()
        first = self._register("RIP")
        if self._peek().text != ":":
            return replace(record, rip=first)
        self._at += 1
        if first >= 1 << 16:
            raise _Wrong(token, f"RIP: the code segment {token.text} is too large")
        return replace(record, cs=first, rip=self._register("RIP"))


def _value(token: _Token) -> int | None:
    """The number a token stands for: as C reads it, and hexadecimal if it has hex letters."""
    text = token.text
    if not _HEX.fullmatch(text) or len(text) > 100:
        return (1 << 64) if _HEX.fullmatch(text) else None
    if text[:2] in ("0x", "0X"):
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
