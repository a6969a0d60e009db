"""Raising injected machine checks: what mce-inject and the kernel's mce-inject module do with records.

mce-inject.c of mce-inject, and mce-inject.c (later inject.c) of the kernel, for both kernels with IRQ
broadcast.  Each CPU has room for one record, so a bank written twice does not overflow: of two held
records of one CPU the later replaces the earlier, and a record raised on a CPU replaces what it held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hwsim.hardware.mce_record import Record
from hwsim.kernel.machine_checks import Handling
from hwsim.kernel.mce.do_machine_check import (
    Bank,
    Fate,
    McePlatform,
    Regs,
    do_machine_check,
    machine_check_poll,
)
from hwsim.kernel.mce.severity import Grade
from hwsim.units import MAX_PHYS_BITS

LEAST_CPUS = 4
IDLE = Regs(0x10, 0xFFFFFFFF81000000)  # an NMI finds the other CPUs in the kernel's idle loop


class Graded(NamedTuple):
    """A record and its grade; ``fell_away``: why it was never raised, or empty."""

    record: Record
    grade: Grade
    fell_away: str


@dataclass
class Played:
    """What became of the records of one file: each with its grade, and the machine's fate."""

    machine: McePlatform
    records: list[Graded] = field(default_factory=list)
    fate: Fate = field(default_factory=Fate)


def play_mce(
    records: Sequence[Record],
    handling: Handling,
    *,
    ser: bool,
    tolerant: int = 1,
    cpus: int = LEAST_CPUS,
    phys_bits: int = MAX_PHYS_BITS,
) -> Played:
    """Inject the records one after the other into a fresh machine, until it panics.

    The machine has ``cpus`` CPUs, or as many as the records name.
    """
    cpus = max([cpus, *(record.cpu + 1 for record in records)])
    played = Played(McePlatform(handling, cpus, ser, tolerant, phys_bits))
    grades: dict[int, Graded] = {}
    held: dict[int, int] = {}  # CPU -> position of its record

    def drop(position: int, why: str) -> None:
        record = records[position]
        grades[position] = Graded(record, _grade(played.machine, record, IDLE), why)

    for position, record in enumerate(records):
        if played.fate.panic:
            drop(position, "not raised: the machine had panicked")
        elif record.hold:
            if record.cpu in held:
                drop(held[record.cpu], "not raised: replaced by a later record of its CPU")
            held[record.cpu] = position
        else:
            if record.cpu in held:
                drop(held.pop(record.cpu), "not raised: replaced by a later record of its CPU")
            raised = {cpu: records[where] for cpu, where in held.items()}
            regs = _inject(played, record, raised)
            for cpu, where in (*held.items(), (record.cpu, position)):
                why = "" if cpu in regs else "not raised: an interrupt raises exceptions only"
                grade = _grade(played.machine, records[where], regs.get(cpu, IDLE))
                grades[where] = Graded(records[where], grade, why)
            held.clear()
    for where in held.values():
        drop(where, "not raised: held, and no record came after it")
    played.records = [grades[position] for position in range(len(records))]
    return played


def _inject(played: Played, final: Record, held: dict[int, Record]) -> dict[int, Regs]:
    """do_inject_mce(): raise the final record and the held ones; the registers of the CPUs raised."""
    machine, fate = played.machine, played.fate
    by_irq = final.exception and final.irqbroadcast and not final.nmibroadcast
    regs = {final.cpu: Regs(final.cs, final.rip)}
    callers = int(final.exception)
    banks: list[Bank] = []
    polls: list[Bank] = []
    alone: list[Bank] = []  # by threads of their own, which the one lock of the injector keeps apart
    # The NMI reaches the others before the CPU that sends it takes its own exception.
    for record in sorted((final, *held.values()), key=lambda each: (each is final, each.cpu)):
        if record is not final:
            is_sent = record.context == "random"  # on the CPU itself otherwise
            if is_sent and by_irq and not record.exception:
                continue
            own = Regs(record.cs, record.rip)
            regs[record.cpu] = IDLE if is_sent and not by_irq else own
            callers += record.exception
        bank = _bank(record, regs[record.cpu])
        (banks if record.exception else polls).append(bank)
        if record is not final and record.exception and record.context != "random":
            alone.append(bank)
    if final.exception and not final.nobroadcast:
        callers += machine.cpus - 1 - len(held)
    for bank in polls:
        machine_check_poll(machine, bank, fate)
    if machine.handling.one_injector:
        for bank in alone:
            banks.remove(bank)
            callers -= 1
            if not fate.panic:
                do_machine_check(machine, [bank], 1, fate)
    if callers and not fate.panic:
        do_machine_check(machine, banks, callers, fate)
    return regs


def _bank(record: Record, regs: Regs) -> Bank:
    return Bank(
        record.cpu, record.bank, record.status, record.mcgstatus, record.addr, record.misc, regs, record.cpuid
    )


def _grade(machine: McePlatform, record: Record, regs: Regs) -> Grade:
    return machine.first_grade(_bank(record, regs), exception=record.exception)
