"""A second, independent model of mce-inject and of the machine-check handler of two kernels.

Written from public sources by somebody who had not seen the simulator: mce-inject (Andi Kleen, Huang Ying)
with mce.lex, mce.y, mce.h and mce-inject.c as of LMCES and SEAM_NR; Linux 2.6.32, arch/x86/kernel/cpu/mcheck
with mce.c, mce-severity.c and mce-inject.c; Linux 6.2 to 6.18, arch/x86/kernel/cpu/mce with core.c,
severity.c and inject.c.

It takes a text in mce-inject's format and gives each record's grade and what becomes of the machine, without
time or simulator.  A CPU has one bank with an error at most: the injector has room for one record a CPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import or_
from typing import Literal, NamedTuple

Kernel = Literal["2.6.32", "modern"]

VAL, OVER, UC, EN, MISCV, ADDRV, PCC, S, AR, TES_YELLOW = (1 << bit for bit in range(63, 53, -1))
RIPV, EIPV, MCIP, LMCES, TES_P, SEAM_NR = (1 << bit for bit in (0, 1, 2, 3, 11, 12))
MCI_ADDR, UC_S, UC_AR, UC_SAR = ADDRV | MISCV, UC | S, UC | AR, UC | S | AR
PAGE_SHIFT, PHYSICAL, PHYS_MASK = 12, 2, (1 << 52) - 1
BANKS, LEAST_CPUS, NEVER_PANIC = 32, 4, 3

ON_THIS_CPU, LOCAL = "Fatal machine check on current CPU", "Fatal local machine check"
IN_INTERRUPT = "Fatal exception in interrupt"
FATAL = {"2.6.32": "Fatal Machine check", "modern": "Fatal machine check"}
UNKNOWN = {"2.6.32": "Machine check from unknown source"}
UNKNOWN["modern"] = "Fatal machine check from unknown source"
TIMEOUT = {"2.6.32": "Timeout synchronizing machine check over CPUs"}
TIMEOUT["modern"] = "Timeout: Not all CPUs entered broadcast exception handler"

WORDS = {
    "CORRECTED": VAL | EN, "UNCORRECTED": VAL | UC | EN, "FATAL": VAL | UC | EN | PCC, "VAL": VAL,
    "OVER": OVER, "UC": UC, "EN": EN, "PCC": PCC, "S": S, "AR": AR, "TES_YELLOW": TES_YELLOW, "UCNA": 0,
    "SRAO": S, "SRAR": S | AR,
    "RIPV": RIPV, "EIPV": EIPV, "MCIP": MCIP, "LMCES": LMCES, "TES_P": TES_P, "SEAM_NR": SEAM_NR,
}  # fmt: skip
FIELD = re.compile(r"\b(BANK|(?:MCG)?STATUS|ADDR|MISC|RIP|IN_[A-Z]+|POLL|EXCP|HOLD|[A-Z]+BROADCAST)\b")
CONTEXTS = {"IN_PROC", "IN_IRQ"}  # raised by a thread of its own; else the trigger sends for it


class Grade(NamedTuple):
    """What mce_severity() says: the severity, and the text of the row."""

    severity: str
    msg: str


class Regs(NamedTuple):
    """Where a CPU was interrupted."""

    cs: int = 0
    ip: int = 0


IDLE = Regs(0x10, 0xFFFFFFFF81000000)  # what an NMI interrupts is the idle loop, whatever RIP a record has


@dataclass
class Record:
    """struct mce as mce-inject fills it in, and what came of it.

    ``exception`` None: if UC is set.  ``grade`` None: never raised, or polled by 2.6.32, which grades not.
    """

    cpu: int
    bank: int = 0
    status: int = 0
    mcgstatus: int = 0
    addr: int = 0
    misc: int = 0
    regs: Regs = field(default_factory=Regs)
    exception: bool | None = None
    flags: set[str] = field(default_factory=set)
    in_text: bool = True  # not of mce-inject's own making
    grade: Grade | None = None
    logged: bool = False


def parse(text: str) -> Iterator[Record]:
    """mce.y: records that begin with CPU.  A wrong word refuses all; mce-inject injects what is before it."""
    for part in text.split("CPU ")[1:]:
        cpu, *fields = FIELD.split(part)
        record = Record(int(cpu))
        for name, rest in zip(fields[::2], fields[1::2], strict=True):
            words = re.findall(r"\w+", rest)
            values = [WORDS[word] if word in WORDS else int(word, 0) for word in words]
            set_field(record, name, values)
        yield record


def set_field(r: Record, name: str, values: list[int]) -> None:
    """STATUS assigns: it forgets the valid bits that ADDR and MISC set before it.  RIP is ip or cs:ip."""
    match name:
        case "STATUS":
            r.status = reduce(or_, values, 0)
        case "MCGSTATUS":
            r.mcgstatus = reduce(or_, values, 0)
        case "BANK":
            r.bank = values[0]
        case "ADDR":
            r.addr, r.status = values[0], r.status | ADDRV
        case "MISC":
            r.misc, r.status = values[0], r.status | MISCV
        case "RIP":
            r.regs = Regs(*[0, *values][-2:])
        case "POLL" | "EXCP":
            r.exception = name == "EXCP"
        case _:
            r.flags.add(name)


class Row(NamedTuple):
    """A line of severities[] in severity.c: it matches if all that it names is so; None: whatever it is."""

    severity: str
    msg: str
    mask: int = 0
    result: int = 0
    mcgmask: int = 0
    mcgres: int = 0
    context: str | None = None
    excp: bool | None = None
    ser: bool | None = None


SerRow, ExcpRow = partial(Row, ser=True), partial(Row, excp=True)
UserRow, KernRow = partial(SerRow, context="user"), partial(SerRow, context="kernel")
MCACOD, COD, SCRUB = 0xFFFF, 0xEFFF, 0xEFF0  # 6.x leaves out the filter bit 12, 2.6.32 does not
O_SAR, AR_COD = OVER | UC_SAR, OVER | UC_SAR | MCI_ADDR | COD
AR_DATA, AR_FETCH = UC_SAR | MCI_ADDR | 0x134, UC_SAR | MCI_ADDR | 0x150
CONTINUABLE = "Action required but unaffected thread is continuable"

SEVERITIES_2_6_32 = (
    Row("NO", "Invalid", VAL, 0),
    Row("NO", "Not enabled", EN, 0),
    Row("PANIC", "Processor context corrupt", PCC, PCC),
    Row("PANIC", "MCIP not set in MCA handler", mcgmask=MCIP),
    Row("PANIC", "Neither restart nor error IP", mcgmask=RIPV | EIPV),
    Row("PANIC", "In kernel and no restart IP", mcgmask=RIPV, context="kernel"),
    Row("KEEP", "Corrected error", UC, 0, ser=False),
    SerRow("SOME", "Spurious not enabled", OVER | UC | EN, UC),
    SerRow("KEEP", "Uncorrected no action required", UC_SAR, UC),
    SerRow("PANIC", "Illegal combination (UCNA with AR=1)", O_SAR, UC_AR),
    SerRow("KEEP", "Non signalled machine check", S, 0),
    SerRow("PANIC", "Action required with lost events", O_SAR, O_SAR),
    SerRow("PANIC", "Action required; unknown MCACOD", O_SAR | MCACOD, UC_SAR),  # MCACOD 0 and no other
    SerRow("AO", "Action optional: memory scrubbing error", O_SAR | 0xFFF0, UC_S | 0xC0),
    SerRow("AO", "Action optional: last level cache writeback error", O_SAR | MCACOD, UC_S | 0x17A),
    SerRow("SOME", "Action optional unknown MCACOD", O_SAR, UC_S),
    SerRow("SOME", "Action optional with lost events", O_SAR, OVER | UC_S),
    Row("PANIC", "Overflowed uncorrected", OVER | UC, OVER | UC),
    Row("UC", "Uncorrected", UC, UC),
    Row("SOME", "No match"),
)
# Left out, because nothing here can match them: the rows of IN_KERNEL_RECOV, for no code here has an entry in
# the exception table, and the patrol scrub error of one stepping of Skylake-X.
SEVERITIES_6_18 = (
    Row("NO", "Invalid", VAL, 0),
    ExcpRow("NO", "Not enabled", EN, 0),
    Row("PANIC", "Processor context corrupt", PCC, PCC),
    ExcpRow("PANIC", "MCIP not set in MCA handler", mcgmask=MCIP),
    ExcpRow("PANIC", "Neither restart nor error IP", mcgmask=RIPV | EIPV),
    ExcpRow("PANIC", "In kernel and no restart IP", mcgmask=RIPV, context="kernel"),
    Row("KEEP", "Corrected error", UC, 0, ser=False),
    SerRow("AO", "Action optional: memory scrubbing error", UC_AR | SCRUB, UC | 0xC0),
    SerRow("AO", "Action optional: last level cache writeback error", UC_AR | COD, UC | 0x17A),
    SerRow("UCNA", "Uncorrected no action required", UC_SAR, UC),
    SerRow("PANIC", "Illegal combination (UCNA with AR=1)", O_SAR, UC_AR),
    SerRow("KEEP", "Non signaled machine check", S, 0),
    SerRow("PANIC", "Action required with lost events", O_SAR, O_SAR),
    SerRow("KEEP", CONTINUABLE, O_SAR | MCI_ADDR, UC_SAR | MCI_ADDR, RIPV | EIPV, RIPV),
    UserRow("AR", "Action required: data load error in a user process", AR_COD, AR_DATA),
    UserRow("AR", "Action required: instruction fetch error in a user process", AR_COD, AR_FETCH),
    KernRow("AR", "Data load error in SEAM non-root mode", AR_COD, AR_DATA, SEAM_NR, SEAM_NR),
    KernRow("AR", "Instruction fetch error in SEAM non-root mode", AR_COD, AR_FETCH, SEAM_NR, SEAM_NR),
    KernRow("PANIC", "Data load in unrecoverable area of kernel", AR_COD, AR_DATA),
    KernRow("PANIC", "Instruction fetch error in kernel", AR_COD, AR_FETCH),
    SerRow("PANIC", "Action required: unknown MCACOD", O_SAR, UC_SAR),
    SerRow("SOME", "Action optional: unknown MCACOD", O_SAR, UC_S),
    SerRow("SOME", "Action optional with lost events", O_SAR, OVER | UC_S),
    Row("PANIC", "Overflowed uncorrected", OVER | UC, OVER | UC),
    Row("PANIC", "Uncorrected in kernel", UC, UC, context="kernel"),
    Row("UC", "Uncorrected", UC, UC),
    Row("SOME", "No match"),
)
ORDER = {  # enum severity_level
    "2.6.32": ("NO", "KEEP", "SOME", "AO", "UC", "AR", "PANIC"),
    "modern": ("NO", "UCNA", "KEEP", "SOME", "AO", "UC", "AR", "PANIC"),
}
SEVERITIES = {"2.6.32": SEVERITIES_2_6_32, "modern": SEVERITIES_6_18}


def mce_usable_address(r: Record) -> bool:
    """A physical address, known to a page or better."""
    in_page = r.misc & 0x3F <= PAGE_SHIFT and r.misc >> 6 & 7 == PHYSICAL
    return in_page and r.status & MCI_ADDR == MCI_ADDR


class Panic(Exception):
    """mce_panic(msg, final, exp).  ``alternatives``: the reasons, had another CPU been the first."""

    def __init__(self, message: str, *reasons: str) -> None:
        super().__init__(message)
        self.message, self.reason = message, reasons[0] if reasons else None
        self.alternatives = reasons[1:]


@dataclass
class Cpu:
    """One CPU in do_machine_check(): its record, the registers on its stack, its variables."""

    record: Record
    regs: Regs
    via: Literal["nmi", "irq", "thread"]
    no_way_out: bool = False
    msg: str = "Invalid"
    kill_it: bool = False
    worst: str = "NO"  # and then mces_seen of this CPU is empty


@dataclass
class Machine:
    """The kernel with its CPUs, and what has become of them: mce.c, later core.c.

    ``signals``: SIGBUS for the task that the record's CPU was at, by force_sig() of 2.6.32, kill_me_now() or
    kill_me_maybe() of 6.x.  After a panic neither they nor ``pages`` count.
    """

    kernel: Kernel
    ser: bool
    tolerant: int
    cpus: int
    records: list[Record]
    panic: Panic | None = None
    rendezvous_timeout: bool = False
    pages: list[int] = field(default_factory=list)
    signals: list[tuple[Record, str]] = field(default_factory=list)
    injectm: dict[int, Record] = field(default_factory=dict)  # those with ``finished`` set
    held: dict[int, Record] = field(default_factory=dict)

    def mce_severity(self, r: Record, regs: Regs, excp: bool = True) -> Grade:
        """error_context() asks for the code segment, in 2.6.32 for EIPV and the instruction pointer too."""
        in_user = regs.cs & 3 == 3 and (self.kernel == "modern" or (r.mcgstatus & EIPV and regs.ip))
        context = "user" if in_user else "kernel"
        row = next(
            row
            for row in SEVERITIES[self.kernel]
            if r.status & row.mask == row.result
            and r.mcgstatus & row.mcgmask == row.mcgres
            and row.context in (None, context)
            and row.excp in (None, excp)
            and row.ser in (None, self.ser)
        )
        if self.kernel == "2.6.32" and row.severity == "UC" and not in_user and self.tolerant < 1:
            return Grade("PANIC", row.msg)
        return Grade(row.severity, row.msg)

    def mce_no_way_out(self, cpu: Cpu) -> None:
        """The first look at the bank.  2.6.32 has no registers yet, and takes all for the kernel."""
        r = cpu.record
        if not r.mcgstatus & (RIPV | EIPV):
            cpu.regs = Regs()  # mce_get_rip(), mce_gather_info()
        r.grade = self.mce_severity(r, cpu.regs if self.kernel == "modern" else Regs())
        cpu.no_way_out = r.grade.severity == "PANIC"
        if cpu.no_way_out or r.bank == BANKS - 1:
            cpu.msg = r.grade.msg  # each bank overwrites it up to a panic, and the last is "Invalid"
        cpu.kill_it = not r.mcgstatus & RIPV

    def scan(self, cpu: Cpu, no_way_out: bool) -> None:
        """The loop over the banks; it grades as mce_no_way_out() did."""
        assert cpu.record.grade
        severity = cpu.record.grade.severity
        signalled = cpu.record.status & (S if self.ser else UC)  # else machine_check_poll()'s
        if severity != "NO" and (no_way_out or (signalled and severity not in ("KEEP", "UCNA"))):
            cpu.record.logged = True
            cpu.worst = severity

    def mce_start(self, cpus: list[Cpu]) -> bool:
        """Whether all CPUs called in; one that polls does not."""
        if len(cpus) == self.cpus:
            return True
        self.rendezvous_timeout = True
        if self.kernel == "modern" or self.tolerant < 1:
            raise Panic(TIMEOUT[self.kernel])
        return False

    def mce_end(self, cpus: list[Cpu]) -> bool:
        """All scan and meet again; whether there was no way out for one, and mce_reign() let it pass."""
        no_way_out = any(cpu.no_way_out for cpu in cpus)
        for cpu in cpus:
            self.scan(cpu, no_way_out)
        self.mce_reign(cpus)
        return no_way_out

    def mce_reign(self, cpus: list[Cpu]) -> None:
        """The worst in mces_seen, of the lowest CPU; graded again, and in 2.6.32 now with registers."""
        if self.tolerant >= NEVER_PANIC:
            return
        saw = sorted((cpu for cpu in cpus if cpu.worst != "NO"), key=lambda cpu: cpu.record.cpu)
        grades = [Grade("NO", "Invalid"), *(self.mce_severity(cpu.record, cpu.regs) for cpu in saw)]
        worst = max(grades, key=lambda grade: ORDER[self.kernel].index(grade.severity))
        if worst.severity == "PANIC":
            raise Panic(FATAL[self.kernel], worst.msg)
        if worst.severity in ("NO", "UCNA", "KEEP"):
            raise Panic(UNKNOWN[self.kernel])

    def do_machine_check_2_6_32(self, cpus: list[Cpu]) -> None:
        if self.mce_start(cpus):
            fatal = cpus if self.mce_end(cpus) else []
        else:
            for cpu in cpus:
                self.scan(cpu, cpu.no_way_out)
            fatal = [cpu for cpu in cpus if cpu.worst == "PANIC"]
        if fatal and self.tolerant < NEVER_PANIC:  # each of them by itself: who is first is a race
            raise Panic(ON_THIS_CPU, *(cpu.msg for cpu in fatal))
        for cpu in cpus:
            if cpu.kill_it and self.tolerant < NEVER_PANIC:
                self.signals.append((cpu.record, "force_sig"))
            if cpu.worst == "AO" and mce_usable_address(cpu.record):
                self.pages.append(cpu.record.addr >> PAGE_SHIFT)  # mce_ring_add()

    def do_machine_check_6_18(self, cpus: list[Cpu]) -> None:
        """Without "Local fatal machine check!", for no bank changes between two looks, and without "Fatal
        machine check on current CPU", for no monarch_timeout is 0."""
        for cpu in cpus:
            if cpu.record.mcgstatus & LMCES:
                if cpu.no_way_out:
                    raise Panic(LOCAL, cpu.msg)
                self.scan(cpu, False)
                self.leave(cpu)
        joint = [cpu for cpu in cpus if not cpu.record.mcgstatus & LMCES]
        if joint and self.mce_start(joint):
            self.mce_end(joint)
            for cpu in joint:
                self.leave(cpu)

    def leave(self, cpu: Cpu) -> None:
        """The end of do_machine_check() in 6.x."""
        self.uc_decode_notifier(cpu.record, cpu.worst)
        if (cpu.worst != "AR" and not cpu.kill_it) or cpu.regs.cs & 3 != 3:
            return
        if cpu.via == "irq":
            raise Panic(IN_INTERRUPT)  # BUG_ON(!on_thread_stack())
        known = cpu.worst != "NO" and mce_usable_address(cpu.record)
        if known:
            self.pages.append((cpu.record.addr & PHYS_MASK) >> PAGE_SHIFT)
        self.signals.append((cpu.record, "kill_me_maybe" if known else "kill_me_now"))

    def uc_decode_notifier(self, r: Record, severity: str) -> None:
        if severity in ("AO", "UCNA") and mce_usable_address(r):
            self.pages.append((r.addr & PHYS_MASK) >> PAGE_SHIFT)

    def machine_check_poll(self, r: Record) -> None:
        """2.6.32 logs without a grade; 6.x grades without registers, and hands the page over."""
        if self.kernel == "2.6.32":
            r.logged = bool(r.status & VAL) and not r.status & (S if self.ser else UC)
            return
        not_for_exception = self.ser and (not r.status & EN or not r.status & (PCC | S))
        r.logged = bool(r.status & VAL) and (not r.status & UC or not_for_exception)
        r.grade = self.mce_severity(r, Regs(), excp=False)
        if r.logged:
            self.uc_decode_notifier(r, r.grade.severity)

    # mce-inject.c of mce-inject, and mce-inject.c, later inject.c, of the kernel

    def inject_mce(self, r: Record) -> None:
        if r.exception is None:
            r.exception = bool(r.status & UC)
        if "HOLD" in r.flags:
            self.held[r.cpu] = r  # a second one replaces the first
        else:
            self.do_inject_mce(r)

    def do_inject_mce(self, trigger: Record) -> None:
        """A record that is not held takes all held ones with it; the one of its own CPU is lost."""
        others = {cpu: r for cpu, r in self.held.items() if cpu != trigger.cpu}
        self.held = {}
        if trigger.exception and "NOBROADCAST" not in trigger.flags:
            status, mcgstatus = trigger.status & UC, trigger.mcgstatus & MCIP
            mcgstatus |= RIPV if status else 0
            for cpu in set(range(self.cpus)) - {trigger.cpu, *others}:
                others[cpu] = Record(cpu, 0, status, mcgstatus, exception=True, in_text=False)
        threads = [*(r for _, r in sorted(others.items()) if r.flags & CONTEXTS), trigger]
        waiting = {cpu: r for cpu, r in others.items() if not r.flags & CONTEXTS}
        self.injectm |= waiting
        for r in threads:
            self.injectm.pop(r.cpu, None)
        sent = self.raise_mce(trigger) if waiting else []
        own = [Cpu(r, r.regs, "thread") for r in threads]
        if self.kernel == "2.6.32":
            self.raise_local([*sent, *own])  # all at once, those that were sent for before the others
        else:
            for each in own[:-1]:  # mce_inject_mutex: one thread after the other
                self.raise_local([each])
            self.raise_local([*sent, own[-1]])

    def raise_mce(self, trigger: Record) -> list[Cpu]:
        """The CPUs that the trigger sends for: by NMI all, by interrupt those with an exception."""
        by_irq = trigger.exception and "IRQBROADCAST" in trigger.flags
        if by_irq and self.kernel == "2.6.32":
            return []  # its injector does not know the flag
        called = [r for _, r in sorted(self.injectm.items()) if r.exception or not by_irq]
        for r in called:
            del self.injectm[r.cpu]
        return [Cpu(r, r.regs, "irq") if by_irq else Cpu(r, IDLE, "nmi") for r in called]

    def raise_local(self, cpus: list[Cpu]) -> None:
        for cpu in cpus:
            if cpu.record.status and not cpu.record.exception:
                self.machine_check_poll(cpu.record)
        callers = [cpu for cpu in cpus if cpu.record.exception]
        for cpu in callers:
            self.mce_no_way_out(cpu)
        if callers:
            (self.do_machine_check_2_6_32 if self.kernel == "2.6.32" else self.do_machine_check_6_18)(callers)


def play(text: str, kernel: Kernel, *, ser: bool, tolerant: int) -> Machine:
    """One run of mce-inject, which lives on if a signal hits it; 6.x does not know ``tolerant``."""
    records = list(parse(text))
    cpus = max([LEAST_CPUS, *(r.cpu + 1 for r in records)])
    machine = Machine(kernel, ser, tolerant if kernel == "2.6.32" else 1, cpus, records)
    try:
        for r in records:
            machine.inject_mce(r)
    except Panic as panic:
        machine.panic = panic
    return machine
