"""Machine checks as a kernel prints them, and as mcelog does: all numbers are hexadecimal without 0x.

The kernel's form is that of print_mce(), arch/x86/kernel/cpu/mcheck/mce.c of 2.6.31 to 4.20 and
arch/x86/kernel/cpu/mce/core.c since: "CPU n: Machine Check", RIP, TSC, PROCESSOR, in this order.  Until
4.x it says "Machine Check Exception" of whatever it prints, later only with MCIP set.  mcelog's is that of
dump_mce() in mcelog.c (Andi Kleen): fields in any order, one line "STATUS … MCGSTATUS …".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from hwsim.hardware.mce_banks import ADDRV, EN, MCIP, MISCV, PCC, SER_P, UC, VAL, S
from hwsim.hardware.mce_lines import PREFIX, Line
from hwsim.hardware.mce_record import MAX_CPUS, VENDORS, Problems, Record, other_vendor

_HEX = "[0-9a-fA-F]"
MENTION = re.compile(r"\bCPU *\d* *:? *Machine Check\b(?! events)")
_HEAD = re.compile(PREFIX + rf"CPU (\d+): Machine Check( Exception)?: +({_HEX}+) +Bank (\d+): ({_HEX}+)\s*")
_RIP = re.compile(PREFIX + rf"RIP( !INEXACT!)? ({_HEX}+):<({_HEX}+)> *(?:\{{[^{{}}]*\}})?\s*")
_RIP_LIKE = re.compile(PREFIX + rf"RIP(?: !INEXACT!| {_HEX}+:<)")
_SYMBOL = re.compile(PREFIX + r"\{[^{}]+\}\s*")
_AUX_KEY = "TSC|ADDR|MISC|PPIN|SYND1|SYND2|SYND|IPID"
_AUX = re.compile(PREFIX + rf"((?:(?:{_AUX_KEY}) +{_HEX}+ *)+)")
_AUX_LIKE = re.compile(PREFIX + rf"(?:{_AUX_KEY})(?: |$)")
_PROCESSOR = re.compile(
    PREFIX + rf"PROCESSOR (\d+):({_HEX}+) +TIME (\d+) +SOCKET \d+ +APIC {_HEX}+(?: +microcode {_HEX}+)?\s*"
)
_PROCESSOR_LIKE = re.compile(PREFIX + r"PROCESSOR (\d+):")
_MCE = re.compile(PREFIX + r"MCE (\d+)\s*")
_CPU = re.compile(PREFIX + r"CPU (\d+) BANK (\d+)(?: .*)?")
_CPU_OF_AMD = re.compile(PREFIX + r"CPU \d+ \d+ [a-z].*")  # with the name of the bank, after its MCE line
_STATUS = re.compile(PREFIX + rf"STATUS ({_HEX}+) +MCGSTATUS ({_HEX}+)\s*")
_MCGCAP = re.compile(PREFIX + rf"MCGCAP {_HEX}+ +APICID {_HEX}+ +SOCKETID {_HEX}+.*")
_CPUID = re.compile(PREFIX + r"CPUID Vendor (.+?) Family (\d+) Model (\d+)(?: Step(?:ping)? (\d+))?\s*")
_FIELD = re.compile(
    PREFIX + rf"((?:(?:MISC|ADDR|TSC|PPIN|MICROCODE|MCGCAP|APICID|SOCKETID) +{_HEX}+\b *)+)(?:[(\[].*)?"
)
_FIELD_LIKE = re.compile(PREFIX + r"(?:MISC|ADDR|TSC|STATUS|MCGSTATUS)\b")
_TIME = re.compile(PREFIX + r"TIME (\d+)\b.*")
_MCELOG_RIP = re.compile(PREFIX + rf"RIP(?: !INEXACT!)? ({_HEX}{{2,4}}):({_HEX}+)\s*")
_PAIR = re.compile(rf"\b([A-Z0-9]+) +({_HEX}+)\b")
_MCI_STATUS = re.compile(PREFIX + r"MC[Gi] status:")
_INTEL_ONLY = "only Intel's rules of machine checks are built"
FIRST_POLL_S = 10.0  # so soon after boot it is the first poll: the timer's comes minutes later

_HEAD_AT, _RIP_AT, _TSC_AT, _PROCESSOR_AT = range(4)


def is_kernels(line: str) -> bool:
    """A line that only a kernel prints of a machine check, were it cut out of the middle of one."""
    if not any(word in line for word in ("Machine Check", "RIP", "PROCESSOR")):
        return False  # most lines, sooner than by the patterns
    return bool(MENTION.search(line) or _RIP.fullmatch(line) or _PROCESSOR.fullmatch(line))


def is_mcelog(line: str) -> bool:
    """A line that only mcelog writes."""
    if not any(word in line for word in ("STATUS", "MCGCAP", "CPUID", "status:")):
        return False
    return any(
        each.fullmatch(line) or (each is _MCI_STATUS and each.match(line))
        for each in (_STATUS, _MCGCAP, _CPUID, _MCI_STATUS)
    )


class Printed:
    """The records of a log, line by line: :meth:`read` each line, :meth:`close` at the end and at a border.

    ``keep`` is called with each record that is whole, and with what is to be said of it.
    """

    def __init__(self, banks: int, problems: Problems, keep: Callable[[Record, list[str]], None]) -> None:
        self._banks, self._problems, self._keep = banks, problems, keep
        self._record: Record | None = None
        self._is_mcelog = False
        self._stamp_s: float | None = None
        self._says_exception = False
        self._seen: set[str] = set()
        self._at = _HEAD_AT
        self._numbered = 0  # line of a "MCE n" whose CPU line is to come
        self._lost: set[int] = set()
        self._last_line = 0  # of the record
        self._is_vendor_told = False  # once is enough: a log is of one machine

    def read(self, line: Line) -> bool:
        """Whether the line is of a machine check."""
        text = line.text
        head = _HEAD.fullmatch(text)
        if head:
            self.close()
            self._open_printed(line, head)
        elif MENTION.search(text):
            self.close()
            self._problems.add(line.number, f"{text[:80]!a}: cannot be read; is it cut off?")
        elif _MCE.fullmatch(text):
            self.close()
            self._numbered = line.number
        elif cpu := _CPU.fullmatch(text):
            self._open_mcelog(line, cpu)
        elif self._numbered and _CPU_OF_AMD.fullmatch(text):
            self._problems.add(line.number, f"{text[:80]!a} is mcelog's for AMD: {_INTEL_ONLY}")
            self._numbered = 0
        elif self._record is not None:
            is_read = self._read_mcelog(line) if self._is_mcelog else self._read_printed(line)
            self._last_line = line.number if is_read else self._last_line
            return is_read
        elif self._is_orphan(text):
            self._problems.add(line.number, f"{text[:80]!a}: the first line of this machine check is missing")
        else:
            return False
        return True

    @staticmethod
    def _is_orphan(text: str) -> bool:
        aux = _AUX.fullmatch(text)
        rip = _RIP.fullmatch(text)
        return bool(aux or rip or _PROCESSOR_LIKE.match(text) or _STATUS.fullmatch(text))

    # The kernel's form

    def _open_printed(self, line: Line, head: re.Match[str]) -> None:
        cpu, exception, mcgstatus, bank, status = head.groups()
        self._is_mcelog, self._says_exception, self._stamp_s = False, bool(exception), line.stamp_s
        self._seen, self._at = set(), _HEAD_AT
        record = Record(line.number, int(cpu), int(bank), int(status, 16), int(mcgstatus, 16))
        self._record = record
        if len(status) != 16:
            self._wrong(
                line, f"STATUS {status[:40]}: {len(status)} digits, the kernel prints 16; is it cut off?"
            )
        elif record.mcgstatus >> 64:
            self._wrong(line, "MCGSTATUS has more than 64 bits")
        elif record.mcgstatus & MCIP and not exception:
            self._wrong(line, f"MCGSTATUS {mcgstatus} has MCIP, and the kernel says Exception then")
        self._check_place(line)

    def _check_place(self, line: Line) -> None:
        record = self._record
        if record is None:
            return
        if record.cpu >= MAX_CPUS:
            self._wrong(line, f"CPU {record.cpu} is too large; allowed: 0 to {MAX_CPUS - 1}")
        elif record.bank == 255:
            self._wrong(line, "bank 255 is no bank: a record that the kernel made of an APEI/GHES report")
        elif record.bank >= 128:
            self._wrong(line, f"bank {record.bank} is no bank: a thermal or threshold event")
        elif record.bank >= self._banks:
            self._wrong(line, f"bank {record.bank} is too large; allowed: 0 to {self._banks - 1}")

    def _wrong(self, line: Line, text: str) -> None:
        """This record is no good: the rest of it is read and dropped, and one mistake is enough."""
        assert self._record is not None
        is_told = _INTEL_ONLY in text and self._is_vendor_told
        if self._record.line not in self._lost and not is_told:
            self._problems.add(line.number, text)
        self._is_vendor_told |= _INTEL_ONLY in text
        self._lost.add(self._record.line)

    def _read_printed(self, line: Line) -> bool:
        text, record = line.text, self._record
        assert record is not None
        if _RIP_LIKE.match(text):
            self._read_rip(line, record)
        elif _AUX_LIKE.match(text) and self._at < _PROCESSOR_AT:
            aux, processor, rest = text.partition("PROCESSOR ")  # sb_edac has both on one line
            self._read_aux(line._replace(text=aux.strip()), record)
            if processor and self._record is not None:
                self._read_processor(line._replace(text=processor + rest), self._record)
        elif _PROCESSOR_LIKE.match(text):
            self._read_processor(line, record)
        elif _SYMBOL.fullmatch(text) and self._at == _RIP_AT:
            pass
        elif self._at == _PROCESSOR_AT and self._is_orphan(text):
            self._wrong(line, f"{text[:80]!a}: the first line of this machine check is missing")
        else:
            return False
        return True

    def _advance(self, line: Line, at: int) -> bool:
        if self._at < at:
            self._at = at
            return True
        self._wrong(line, f"{line.text[:80]!a}: out of order; records read CPU, RIP, TSC, PROCESSOR")
        return False

    def _read_rip(self, line: Line, record: Record) -> None:
        rip = _RIP.fullmatch(line.text)
        if rip is None or len(rip[3]) != 16 or len(rip[2]) > 4:
            self._wrong(line, f"{line.text[:80]!a}: this RIP cannot be read; is it cut off?")
        elif self._advance(line, _RIP_AT):
            self._record = replace(record, cs=int(rip[2], 16), rip=int(rip[3], 16))

    def _read_aux(self, line: Line, record: Record) -> None:
        """TSC, ADDR, MISC and more; with printk's continuations broken each has a line of its own."""
        aux = _AUX.fullmatch(line.text)
        if aux is None:
            self._wrong(line, f"{line.text[:80]!a}: cannot be read; is it cut off?")
            return
        pairs = _PAIR.findall(aux[1])
        if (pairs[0][0] == "TSC" and not self._advance(line, _TSC_AT)) or self._at != _TSC_AT:
            if pairs[0][0] != "TSC":
                self._wrong(line, f"{line.text[:80]!a}: out of order; its TSC comes first")
            return
        self._fields(line, record, pairs)

    def _fields(self, line: Line, record: Record, pairs: list[tuple[str, str]]) -> None:
        for key, digits in pairs:
            value = int(digits, 16)
            if key in self._seen:
                self._wrong(line, f"{key} is said twice of one machine check")
            elif value >> 64:
                self._wrong(line, f"{key} has more than 64 bits")
            elif key in ("SYND", "SYND1", "SYND2", "IPID"):
                self._wrong(line, f"{key} is AMD's: only Intel's rules of machine checks are built")
            elif key == "TSC":
                record = replace(record, tsc=value)
            elif key == "ADDR":
                record = replace(record, addr=value)
            elif key == "MISC":
                record = replace(record, misc=value)
            elif key == "MCGCAP":
                record = replace(record, ser=bool(value & SER_P))
            self._seen.add(key)
        self._record = record

    def _read_processor(self, line: Line, record: Record) -> None:
        like = _PROCESSOR_LIKE.match(line.text)
        assert like is not None
        refused = other_vendor(int(like[1]))
        whole = _PROCESSOR.fullmatch(line.text)
        if refused:
            self._wrong(line, refused)
        elif whole is None:
            self._wrong(line, f"{line.text[:80]!a}: cannot be read; is it cut off?")
        elif self._advance(line, _PROCESSOR_AT):
            self._record = replace(record, cpuid=int(whole[2], 16), time_s=int(whole[3]))

    # mcelog's form

    def _open_mcelog(self, line: Line, cpu: re.Match[str]) -> None:
        self.close(keep_number=True)
        self._is_mcelog, self._says_exception, self._stamp_s = True, False, None
        self._seen, self._at = set(), _HEAD_AT
        self._record = Record(self._numbered or line.number, int(cpu[1]), int(cpu[2]), tsc=0)
        self._numbered = 0
        self._check_place(line)
        rest = line.text[cpu.end(2) :].strip()
        if rest:
            self._read_mcelog(Line(line.number, rest, None))

    def _read_mcelog(self, line: Line) -> bool:
        text, record = line.text, self._record
        assert record is not None
        status, rip = _STATUS.fullmatch(text), _MCELOG_RIP.fullmatch(text)
        if status:
            self._fields_of_status(line, record, status)
        elif rip:
            self._record = replace(record, cs=int(rip[1], 16), rip=int(rip[2], 16))
        elif cpuid := _CPUID.fullmatch(text):
            self._read_cpuid(line, record, cpuid)
        elif when := _TIME.fullmatch(text):
            self._record = replace(record, time_s=int(when[1]))
        elif fields := _FIELD.fullmatch(text):
            self._fields(line, record, _PAIR.findall(fields[1]))
        elif _FIELD_LIKE.match(text):
            self._wrong(line, f"{text[:80]!a}: cannot be read; mcelog's numbers are hexadecimal without 0x")
        else:
            return False
        return True

    def _fields_of_status(self, line: Line, record: Record, found: re.Match[str]) -> None:
        status, mcgstatus = int(found[1], 16), int(found[2], 16)
        if "STATUS" in self._seen:
            self._wrong(line, "STATUS is said twice of one machine check")
        elif status >> 64 or mcgstatus >> 64:
            self._wrong(line, "STATUS or MCGSTATUS has more than 64 bits")
        elif not status & VAL:
            self._wrong(line, f"STATUS {found[1]} has no VAL, and mcelog gets no such record; is it cut off?")
        self._seen.add("STATUS")
        self._record = replace(record, status=status, mcgstatus=mcgstatus)

    def _read_cpuid(self, line: Line, record: Record, found: re.Match[str]) -> None:
        vendor = next((number for number, name in VENDORS.items() if name == found[1]), None)
        if vendor is None:
            self._wrong(line, f"CPUID Vendor {found[1][:40]}: only Intel's rules of machine checks are built")
            return
        refused = other_vendor(vendor)
        if refused:
            self._wrong(line, refused.replace(f"PROCESSOR {vendor}", f"CPUID Vendor {found[1]}"))
            return
        family, model = int(found[2]), int(found[3])
        stepping = int(found[4]) if found[4] else 0xF  # not told: one that was sold
        cpuid = (model >> 4 & 0xF) << 16 | min(family, 0xF) << 8 | (model & 0xF) << 4 | stepping & 0xF
        self._record = replace(record, cpuid=cpuid)

    # The end of a record

    def close(self, *, keep_number: bool = False, text_ends_at: int = 0) -> None:
        """The record that is open is whole, or is not; ``text_ends_at``: the last line of all."""
        if self._numbered and not keep_number:
            self._problems.add(self._numbered, "MCE without its CPU line")
            self._numbered = 0
        record, self._record = self._record, None
        if record is None or record.line in self._lost:
            return
        lacks = self._lacks(record, text_ends_at)
        if lacks:
            self._problems.add(record.line, f"{lacks} of this machine check is missing; is it cut off?")
            return
        exception = bool(record.mcgstatus & MCIP)
        found_by = "exception" if exception else self._found_by(record)
        self._keep(replace(record, exception=exception, found_by=found_by), _doubts(record, exception))

    def _lacks(self, record: Record, text_ends_at: int) -> str | None:
        """What the answer hangs on and the text has not: the page of an error that is not corrected."""
        status = record.status
        if self._is_mcelog and "STATUS" not in self._seen:
            return "the STATUS line"
        if self._at == _TSC_AT and self._last_line == text_ends_at:
            return "the PROCESSOR line"  # and nobody knows whether the numbers before it are whole
        if not status & UC or status & PCC or not status & (ADDRV | MISCV):
            return None
        if record.tsc is None:
            return "the TSC line, and with it ADDR and MISC,"
        if not self._is_mcelog and self._at == _PROCESSOR_AT:
            return None  # a whole one: what is not printed is 0
        for key, valid in (("ADDR", ADDRV), ("MISC", MISCV)):
            if status & valid and key not in self._seen:
                return key
        return None

    def _found_by(self, record: Record) -> str:
        """How a poll came by it: MCP_TIMESTAMP of CMCI sets TSC; until 4.x the timer's poll does so too."""
        status = record.status
        recovers = record.ser is not False and (not status & EN or not status & (PCC | S))
        regular = recovers or not status & UC
        if record.tsc is None:
            return "poll"
        if not record.tsc and status & PCC:
            return "boot"
        if not regular:
            return "poll" if record.tsc else "boot"
        if record.tsc:
            return "CMCI or timer" if self._says_exception or self._is_mcelog else "CMCI"
        if self._stamp_s is not None and self._stamp_s < FIRST_POLL_S:
            return "boot"
        return "boot or timer" if self._says_exception else "timer"


def _doubts(record: Record, exception: bool) -> list[str]:
    """What the record does not say and had to be taken for granted."""
    doubts = []
    if not record.cpuid:
        doubts.append("no PROCESSOR or CPUID line: taken for Intel's")
    if not exception and record.tsc is None:
        doubts.append("no TSC line: found by CMCI or the timer poll")
    return doubts
