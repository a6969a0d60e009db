"""A text with machine checks, whatever wrote it: mce-inject's form, or a log of kernels and mcelog.

Which it is, is decided by what only a log has: the first line of a record as a kernel prints it
("CPU n: Machine Check"), the lines STATUS … MCGSTATUS, MCGCAP … APICID … SOCKETID and CPUID Vendor of mcelog,
a panic, or a form that is recognised and not read.  Anything else is mce-inject's, and there every word
counts; in a log what is not of a machine check is passed over and counted.

The records of a log belong together as mce_panic() prints them (arch/x86/kernel/cpu/mce/core.c): what is
pending, corrected errors first and the deciding one last, then why, then the panic.  All that have MCIP are
one rendezvous, all that have not were polled before.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hwsim.hardware.mce_inject import parse_mce
from hwsim.hardware.mce_lines import (
    PREFIX,
    SENTENCES,
    Line,
    decode,
    foreign,
    is_log_like,
    lines_of,
)
from hwsim.hardware.mce_log import Printed, is_kernels, is_mcelog
from hwsim.hardware.mce_record import MAX_BYTES, MceTextError, Problem, Problems, Record

_REASON = re.compile(PREFIX + r"Machine check: (.+)")
_PANIC = re.compile(PREFIX + r"(?:Kernel panic - not syncing|Fake kernel panic): (.+)")
_END = re.compile(r"\bend Kernel panic\b")
_MISSING = re.compile(
    PREFIX + r"(?:Some CPUs didn't answer in synchronization|CPUs not responding to MCE .*)"
)
_BOOT = re.compile(PREFIX + r"Linux version \d.*|-- Boot [0-9a-f]+ --|-- Reboot --")
_OF_HANDLER = re.compile(  # the messages of mce_panic(), and of its callers
    r"(?i)(?:fatal |local fatal |fatal local )?(?:uncorrected )?machine check|timeout\b"
    r"|panicing machine check|failed kernel mode recovery"
    r"|too many consecutive machine checks|consecutive machine checks to"
)
_REPEATED = re.compile(r"Machine Check|Machine check: |\b(?:TSC|PROCESSOR|RIP) |Kernel panic")
TIMEOUT = "Timeout"  # how the messages of a missed rendezvous begin
TOGETHER_S = 5  # records of one rendezvous bear the same second, but for the time-outs

Form = Literal["mce-inject", "log"]


class Verdict(NamedTuple):
    """What the text itself says: the panic's ``message``, and the ``reason`` after "Machine check:".

    ``is_end``: nothing comes after it, and it may be cut off.
    """

    line: int
    message: str | None
    reason: str | None
    is_end: bool

    @property
    def says(self) -> tuple[str | None, str | None]:
        return self.message, self.reason

    @property
    def timed_out(self) -> bool:
        return bool(self.message and self.message.startswith(TIMEOUT))

    @property
    def is_of_one_cpu(self) -> bool:
        """The message of a CPU that decided for itself, since the rendezvous had failed."""
        return bool(self.message and self.message.lower().endswith("on current cpu"))


@dataclass
class Rendezvous:
    """Records of one machine check, with the text's verdict; ``missing``: not all CPUs came, as it says."""

    records: list[Record] = field(default_factory=list)
    verdict: Verdict | None = None
    missing: bool = False

    @property
    def time_s(self) -> int:
        """When it was, by its latest record; 0: none says."""
        return max((record.time_s for record in self.records), default=0)


@dataclass
class Boot:
    """One life of a kernel: polled records, each by itself, and rendezvous, in the text's order."""

    line: int
    events: list[Record | Rendezvous] = field(default_factory=list)
    doubts: dict[int, list[str]] = field(default_factory=dict)  # by line of the record
    is_later: bool = False  # "mce: " before the mark: since 3.4

    @property
    def records(self) -> list[Record]:
        found: list[Record] = []
        for event in self.events:
            found += [event] if isinstance(event, Record) else event.records
        return found


@dataclass(frozen=True)
class MceText:
    """What a text has: records of mce-inject's form, or boots of a log, at least one of them.

    ``passed_over``: lines of a log that are of no machine check; ``not_read``: how many lines of them are of
    a form that is recognised; ``repeated``: records that were printed twice.
    """

    form: Form
    records: tuple[Record, ...] = ()
    boots: tuple[Boot, ...] = ()
    passed_over: int = 0
    not_read: tuple[tuple[str, int], ...] = ()
    repeated: int = 0

    @property
    def all_records(self) -> list[Record]:
        """Of either form; those of a rendezvous follow each other."""
        return [*self.records, *(record for boot in self.boots for record in boot.records)]


def read_mce(data: bytes | str, file: str, *, banks: int) -> MceText:
    """The machine checks of a text in any form; ``banks``: how many banks a CPU has.

    Raises :class:`~hwsim.hardware.mce_record.MceTextError` with every mistake.
    """
    if len(data) > MAX_BYTES:
        problem = Problem(file, 0, f"larger than {MAX_BYTES:,} bytes: not a set of machine checks")
        raise MceTextError([problem])
    text = data if isinstance(data, str) else decode(data)
    lines = [line for line in lines_of(text) if line.text]
    if not any(line.is_worth_a_look and _is_of_log(line.text) for line in lines):
        if sum(is_log_like(line.text) for line in lines) > len(lines) // 2:
            raise MceTextError(
                [Problem(file, 0, f"no machine check in this text; lines passed over: {len(lines)}")]
            )
        return MceText("mce-inject", tuple(parse_mce(text, file, banks=banks)))
    return _Log(file, banks).read(lines)


def _is_of_log(line: str) -> bool:
    if line.startswith("#"):  # a comment of mce-inject's form
        return False
    if is_kernels(line) or "[Hardware Error]" in line or is_mcelog(line) or foreign(line):
        return True
    return any(each.fullmatch(line) for each in (_PANIC, _REASON, SENTENCES))


class _Log:
    """One pass over the lines of a log."""

    def __init__(self, file: str, banks: int) -> None:
        self._file = file
        self._problems = Problems(file)
        self._printed = Printed(banks, self._problems, self._keep)
        self._boots = [Boot(1)]
        self._open: Rendezvous | None = None
        self._known: set[Record] = set()
        self._not_read: Counter[str] = Counter()
        self._first: dict[str, int] = {}
        self._passed_over = self._repeated = 0
        self._reason: Verdict | None = None
        self._missing = self._dead = False
        self._stamp_s = 0.0
        self._last = 0

    def read(self, lines: list[Line]) -> MceText:
        before, self._last = Line(0, "", None), lines[-1].number
        for line in lines:
            if not _is_repeated(line, before):
                self._read(line)
            before = line
        self._printed.close(text_ends_at=lines[-1].number)
        self._close()
        self._problems.check(lines[-1].number)
        boots = [boot for boot in self._boots if boot.events]
        if not boots:
            raise MceTextError([self._nothing()])
        return MceText(
            "log", (), tuple(boots), self._passed_over, tuple(self._not_read.items()), self._repeated
        )

    def _nothing(self) -> Problem:
        if self._not_read:
            name = next(iter(self._not_read))
            return Problem(self._file, self._first[name], f"this form is not read: {name}")
        text = "no machine check in this text: of those that were logged mcelog or rasdaemon has the records"
        return Problem(self._file, 0, text)

    def _read(self, line: Line) -> None:
        text = line.text
        self._border(line)
        self._boots[-1].is_later |= "mce: [Hardware Error]: " in text
        name = foreign(text) if line.is_worth_a_look else None
        if text.startswith("#") or not line.is_worth_a_look:
            self._passed_over += 1
        elif name:
            self._not_read[name] += 1
            self._first.setdefault(name, line.number)
            self._passed_over += 1
        elif self._printed.read(line) or SENTENCES.fullmatch(text):
            pass
        elif _MISSING.fullmatch(text):
            self._missing = True
        elif reason := _REASON.fullmatch(text):
            self._printed.close()
            self._reason = self._reason or Verdict(line.number, None, reason[1], line.number == self._last)
        elif (panic := _PANIC.fullmatch(text)) and not _END.search(text):
            self._panic(line, panic[1])
        elif not _END.search(text):
            self._passed_over += 1

    # Boots

    def _border(self, line: Line) -> None:
        """A kernel that says its version, a border of the journal, or time since boot that begins anew."""
        begins = bool(_BOOT.fullmatch(line.text))
        if line.stamp_s is not None:
            begins |= line.stamp_s < 1.0 and self._stamp_s > TOGETHER_S
            self._stamp_s = line.stamp_s
        if begins:
            self._printed.close()
            self._close()
            self._next_boot(line.number)

    def _next_boot(self, number: int) -> None:
        self._dead = False
        if self._boots[-1].events:
            self._boots.append(Boot(number))
        else:
            self._boots[-1].line = number

    def _panic(self, line: Line, message: str) -> None:
        """The end of this kernel; of a second CPU, or of a second log of the same, it is the same end."""
        self._printed.close()
        reason = self._reason.reason if self._reason else None
        verdict = Verdict(line.number, message, reason, line.number == self._last)
        self._reason = None
        if self._dead and self._open is None:
            if verdict.reason is None or verdict.says in self._verdicts():
                return
            self._next_boot(line.number)
        if _OF_HANDLER.match(message):
            self._rendezvous().verdict = verdict
        else:
            self._passed_over += 1
        self._close()
        self._dead = "Fake kernel panic" not in line.text

    # Records

    def _keep(self, record: Record, doubts: list[str]) -> None:
        key = _key(record)
        if record.tsc and key in self._known:
            self._repeated += 1
            return
        self._known.add(key)
        if self._reason:  # its panic is not in the text
            self._close()
            self._dead = True
        if self._dead:
            self._next_boot(record.line)
        if record.exception:
            if self._open and not _together(self._open, record):
                self._close()
            self._rendezvous().records.append(record)
        else:
            if self._open and record.time_s > self._open.time_s + TOGETHER_S:
                self._close()
            self._boots[-1].events.append(record)
        if doubts:
            self._boots[-1].doubts[record.line] = doubts

    def _rendezvous(self) -> Rendezvous:
        if self._open is None:
            self._open = Rendezvous()
        return self._open

    def _close(self) -> None:
        """The rendezvous is over; one that has only a verdict counts too, unless it is a second printing."""
        if self._reason:
            reason, self._reason = self._reason, None
            if self._open or reason.says not in self._verdicts():
                self._rendezvous().verdict = reason
        rendezvous, self._open = self._open, None
        missing, self._missing = self._missing, False
        if rendezvous is not None:
            said = rendezvous.verdict
            rendezvous.missing = missing or bool(said and (said.timed_out or said.is_of_one_cpu))
            self._boots[-1].events.append(rendezvous)

    def _verdicts(self) -> set[tuple[str | None, str | None]]:
        """What was said of the last kernel's end."""
        found = (each.verdict for each in self._boots[-1].events if isinstance(each, Rendezvous))
        return {verdict.says for verdict in found if verdict}


def _is_repeated(line: Line, before: Line) -> bool:
    """Said twice, by the console and by the journal: the same message behind two prefixes."""
    shorter, longer = sorted((line.text, before.text), key=len)
    if longer.endswith(shorter) and _REPEATED.search(shorter):
        return True
    _, mark, message = line.text.rpartition("[Hardware Error]: ")
    is_same = message == before.text.rpartition("[Hardware Error]: ")[2]
    return bool(mark) and is_same and (line.stamp_s is None) != (before.stamp_s is None)


def _key(record: Record) -> Record:
    """The same for one record that is printed twice."""
    return Record(
        0, record.cpu, record.bank, record.status, record.mcgstatus, record.addr, record.misc,
        tsc=record.tsc, time_s=record.time_s,
    )  # fmt: skip


def _together(rendezvous: Rendezvous, record: Record) -> bool:
    """Whether the record can be of this rendezvous: each bank of a CPU once, and at the same time."""
    return all(
        (each.cpu, each.bank) != (record.cpu, record.bank)
        and (not each.time_s or not record.time_s or abs(each.time_s - record.time_s) <= TOGETHER_S)
        for each in rendezvous.records
    )
