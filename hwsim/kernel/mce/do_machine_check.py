"""do_machine_check(): what becomes of the machine when its CPUs take a machine check, and when they poll.

2.6.32: arch/x86/kernel/cpu/mcheck/mce.c.  modern: arch/x86/kernel/cpu/mce/core.c of 6.18, on a CPU
that broadcasts.  What differs between the two is data, :data:`V2_6_32` and :data:`MODERN`; the order of
steps is one.  It plays logs of banks, for ``hwsim mce`` and the verb ``mce_inject``; what a simulated machine
finds by chance, one page at a time, goes through :mod:`~hwsim.kernel.mce.delivery`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hwsim.hardware.mce_banks import ADDRV, EIPV, EN, LMCES, MISCV, PCC, RIPV, UC, VAL, S
from hwsim.kernel.machine_checks import Context, Handling, Severity
from hwsim.kernel.mce.mcelog import MCE_LOG_LEN
from hwsim.kernel.mce.severity import ROWS_2_6_32, ROWS_MODERN, Grade, mce_severity
from hwsim.units import MAX_PHYS_BITS, PAGE_SHIFT

MCM_ADDR_PHYS = 2


V2_6_32 = Handling(
    name="2.6.32",
    severities=ROWS_2_6_32,
    banks=32,
    log=MCE_LOG_LEN,
    tolerant=True,
    fatal="Fatal Machine check",
    unknown="Machine check from unknown source",
    timeout="Timeout synchronizing machine check over CPUs",
    timeout_panics_below=1,
    regs_first=False,
    local=False,
    one_injector=False,
    recovers=False,
    masks_addr=False,
)
MODERN = Handling(
    name="modern",
    severities=ROWS_MODERN,
    banks=64,
    log=0,
    tolerant=False,
    fatal="Fatal machine check",
    unknown="Fatal machine check from unknown source",
    timeout="Timeout: Not all CPUs entered broadcast exception handler",
    timeout_panics_below=4,
    regs_first=True,
    local=True,
    one_injector=True,
    recovers=True,
    masks_addr=True,
)
HANDLING = {each.name: each for each in (V2_6_32, MODERN)}  # what several kernels have, by name
ON_THIS_CPU, LOCAL = "Fatal machine check on current CPU", "Fatal local machine check"
NEVER_PANIC = 3


class Regs(NamedTuple):
    """Where a CPU was interrupted: code segment and instruction pointer."""

    cs: int
    ip: int


@dataclass(frozen=True)
class Bank:
    """What a CPU's registers hold: one bank with an error, and IA32_MCG_STATUS; its CPUID (0: not said)."""

    cpu: int
    number: int
    status: int
    mcgstatus: int
    addr: int
    misc: int
    regs: Regs
    cpuid: int = 0


class Forced(NamedTuple):
    """A signal forced on the task that was current on ``cpu``."""

    cpu: int
    signal: str
    code: str


@dataclass
class Fate:
    """What became of the machine.

    ``panic`` with the kernel's ``message`` and ``reason`` (the text after "Machine check:").
    ``rendezvous_timeout``: not all CPUs came within a second.  ``queued_pfns``: pages put where
    memory_failure() finds them; after a panic nobody comes to fetch them.  ``logged``: records in the
    kernel's log; ``dropped``: those that it had no room for, as nobody reads it meanwhile.
    """

    panic: bool = False
    message: str | None = None
    reason: str | None = None
    rendezvous_timeout: bool = False
    queued_pfns: list[int] = field(default_factory=list)
    signals: list[Forced] = field(default_factory=list)
    logged: int = 0
    dropped: int = 0

    def mce_log(self, how: Handling) -> None:
        """A record for the log, if there is room."""
        if how.log and self.logged >= how.log:
            self.dropped += 1
        else:
            self.logged += 1

    def panics(self, message: str, reason: str | None) -> None:
        """The first panic is the machine's."""
        if not self.panic:
            self.panic, self.message, self.reason = True, message, reason


@dataclass(frozen=True)
class McePlatform:
    """The machine the checks happen on: CPUs, its kernel's handling, MCG_SER_P, and sysfs's ``tolerant``.

    ``phys_bits``: the width of a physical address, x86_phys_bits; memory encryption takes some of the CPU's.
    """

    handling: Handling
    cpus: int = 4
    ser: bool = True
    tolerant: int = 1
    phys_bits: int = MAX_PHYS_BITS

    def pfn(self, addr: int) -> int:
        """The page that ADDR names, as the kernel reads it."""
        if self.handling.masks_addr:
            addr &= (1 << self.phys_bits) - 1
        return addr >> PAGE_SHIFT

    def is_local(self, bank: Bank) -> bool:
        """The exception is this CPU's alone (LMCE), and the kernel knows of such."""
        return bool(self.handling.local and bank.mcgstatus & LMCES)

    def first_grade(self, bank: Bank, *, exception: bool = True) -> Grade:
        """The grade that decides: when the banks are scanned, or polled."""
        known = exception and self.handling.regs_first
        return self.grade(bank, mce_get_rip(bank) if known else _NO_REGS, exception=exception)

    def grade(self, bank: Bank, regs: Regs, *, exception: bool = True) -> Grade:
        """mce_severity() of the bank; ``regs``: what struct mce holds of them at that moment."""
        return mce_severity(
            self.handling.severities,
            bank.status,
            bank.mcgstatus,
            error_context(bank.mcgstatus, regs, self.handling),
            ser=self.ser,
            exception=exception,
            tolerant=self.tolerant,
            cpuid=bank.cpuid,
            bank=bank.number,
        )


_NO_REGS = Regs(0, 0)


def error_context(mcgstatus: int, regs: Regs, handling: Handling) -> Context:
    """error_context(): without a valid instruction pointer it is taken for the kernel.

    Nothing here knows the exception table, so no place of the kernel is recoverable.
    """
    if handling.regs_first:
        return "user" if regs.cs & 3 == 3 else "kernel"
    return "user" if mcgstatus & EIPV and regs.ip and regs.cs & 3 == 3 else "kernel"


def mce_get_rip(bank: Bank) -> Regs:
    """mce_get_rip(), later mce_gather_info(): the registers count only if MCG_STATUS says they are valid."""
    return bank.regs if bank.mcgstatus & (RIPV | EIPV) else _NO_REGS


def mce_usable_address(bank: Bank) -> bool:
    """A physical address with the granularity of a page or finer."""
    valid = bank.status & ADDRV and bank.status & MISCV
    return bool(valid) and bank.misc & 0x3F <= PAGE_SHIFT and bank.misc >> 6 & 7 == MCM_ADDR_PHYS


class _Handler:
    """do_machine_check() on one CPU; ``banks``: those of it with an error."""

    def __init__(self, machine: McePlatform, banks: Sequence[Bank]) -> None:
        self.machine = machine
        self.banks = sorted(banks, key=lambda bank: bank.number)
        bank = self.banks[0]
        self.cpu = bank.cpu
        self.local = machine.is_local(bank)
        grades = [machine.first_grade(each) for each in self.banks]
        fatal = [grade for grade in grades if grade.severity >= Severity.PANIC]
        self.no_way_out = bool(fatal)  # mce_no_way_out(): the first such bank is the one it names
        self.reason = fatal[0].reason if fatal else None
        self.worst = Severity.NO
        self.final = bank  # mces_seen, later hw_errs_seen: the worst bank
        self.seen = Grade(Severity.NO, "Invalid")  # what the Monarch will find there

    def scan(self, fate: Fate, no_way_out: bool) -> None:
        """The loop over the banks."""
        for bank in self.banks:
            severity = self.machine.first_grade(bank).severity
            signalled = bank.status & (S if self.machine.ser else UC)
            if not bank.status & VAL or not (signalled or no_way_out):
                continue
            if severity in (Severity.KEEP, Severity.UCNA) and not no_way_out:
                continue
            if severity is Severity.NO:
                continue
            fate.mce_log(self.machine.handling)
            if severity is Severity.AO and mce_usable_address(bank):
                fate.queued_pfns.append(self.machine.pfn(bank.addr))
            if severity > self.worst:
                self.worst, self.final = severity, bank
                self.seen = self.machine.grade(bank, mce_get_rip(bank))

    def finish(self, fate: Fate) -> None:
        """What is left for the task that was interrupted."""
        kill_it = not self.final.mcgstatus & RIPV
        if not self.machine.handling.recovers:
            if (kill_it or self.worst is Severity.AR) and self.machine.tolerant < NEVER_PANIC:
                fate.signals.append(Forced(self.cpu, "SIGBUS", "SI_KERNEL"))
            return
        if mce_get_rip(self.final).cs & 3 != 3 or not (kill_it or self.worst is Severity.AR):
            return
        seen = self.worst > Severity.NO
        if seen and mce_usable_address(self.final):  # kill_me_maybe()
            fate.queued_pfns.append(self.machine.pfn(self.final.addr))
            fate.signals.append(Forced(self.cpu, "SIGBUS", "BUS_MCEERR_AR"))
        else:  # kill_me_now()
            fate.signals.append(Forced(self.cpu, "SIGBUS", "SI_KERNEL"))


def do_machine_check(machine: McePlatform, banks: Sequence[Bank], callers: int, fate: Fate) -> None:
    """Some CPUs take the exception at once; ``banks`` are those with a record, first come first.

    ``callers``: how many CPUs come, those without a record too.  What happens is added to ``fate``.  CPUs
    without a record see empty banks, call in, and have nothing of their own to say.
    """
    how = machine.handling
    of_cpu: dict[int, list[Bank]] = {}
    for bank in banks:
        of_cpu.setdefault(bank.cpu, []).append(bank)
    handlers = [_Handler(machine, each) for each in of_cpu.values()]
    for handler in handlers:
        if handler.local:
            _alone(handler, fate)
    meeting = [handler for handler in handlers if not handler.local]
    callers -= len(handlers) - len(meeting)
    if callers and not fate.panic:
        together = callers == machine.cpus  # mce_start()
        if not together:
            fate.rendezvous_timeout = True
            if machine.tolerant < how.timeout_panics_below:
                fate.panics(how.timeout, None)
                return
        no_way_out = together and any(handler.no_way_out for handler in meeting)
        for handler in sorted(meeting, key=_cpu):
            handler.scan(fate, no_way_out if together else handler.no_way_out)
        if together:
            _mce_reign(machine, meeting, fate)
            if no_way_out:
                first = next(handler for handler in meeting if handler.no_way_out)
                _panic_unless_never(machine, fate, ON_THIS_CPU, first.reason)
        else:
            for handler in meeting:
                if handler.worst >= Severity.PANIC:
                    _panic_unless_never(machine, fate, ON_THIS_CPU, handler.reason)
    if not fate.panic:
        for handler in handlers:
            handler.finish(fate)


def _cpu(handler: _Handler) -> int:
    return handler.cpu


def _alone(handler: _Handler, fate: Fate) -> None:
    """A local machine check: no other CPU knows."""
    if handler.no_way_out:
        fate.panics(LOCAL, handler.reason)
    else:
        handler.scan(fate, False)


def _panic_unless_never(machine: McePlatform, fate: Fate, message: str, reason: str | None) -> None:
    if machine.tolerant < NEVER_PANIC:
        fate.panics(message, reason)


def _mce_reign(machine: McePlatform, handlers: list[_Handler], fate: Fate) -> None:
    """The Monarch grades what all CPUs saw: the worst decides, and nothing at all is a panic too."""
    how, worst = machine.handling, Grade(Severity.NO, "Invalid")
    for handler in sorted(handlers, key=_cpu):
        if handler.seen.severity > worst.severity:
            worst = handler.seen
    if worst.severity >= Severity.PANIC:
        _panic_unless_never(machine, fate, how.fatal, worst.reason)
    if worst.severity <= Severity.KEEP:
        _panic_unless_never(machine, fate, how.unknown, None)


def machine_check_poll(machine: McePlatform, bank: Bank, fate: Fate, *, at_boot: bool = False) -> None:
    """machine_check_poll() on one CPU: corrected errors are logged, what an exception will take is left.

    ``at_boot``: the first poll takes everything (MCP_UC), since whatever it finds is of the boot before.
    """
    if not bank.status & VAL or not (at_boot or is_for_poll(machine, bank.status)):
        return
    fate.mce_log(machine.handling)
    severity = machine.first_grade(bank, exception=False).severity
    if machine.handling.recovers and severity in (Severity.AO, Severity.UCNA) and mce_usable_address(bank):
        fate.queued_pfns.append(machine.pfn(bank.addr))  # uc_decode_notifier()


def is_for_poll(machine: McePlatform, status: int) -> bool:
    """Whether the timer or CMCI takes such an error, rather than leave it to the exception."""
    if not machine.handling.recovers:
        return not status & (S if machine.ser else UC)
    if not status & UC:
        return True
    return machine.ser and (not status & EN or not status & (PCC | S))
