"""What a kernel makes of the machine checks of a log, beside what the log itself says of them.

Nothing is injected here: a rendezvous is raised on the CPUs it was raised on, with the registers printed,
and what was polled is polled.  Whether all CPUs came is a fact of the machine that no record tells; it is
taken from the text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsim.hardware.mce_banks import EIPV, RIPV
from hwsim.hardware.mce_record import Record
from hwsim.hardware.mce_text import TOGETHER_S, Boot, MceText, Rendezvous, Verdict
from hwsim.kernel.machine_checks import Handling
from hwsim.kernel.mce.do_machine_check import (
    Bank,
    McePlatform,
    Regs,
    do_machine_check,
    is_for_poll,
    machine_check_poll,
)
from hwsim.kernel.mce.inject import LEAST_CPUS, Graded, Played, play_mce
from hwsim.units import MAX_PHYS_BITS

# One message or reason in the words of several kernels.
_SAME = {
    "machine check from unknown source": "fatal machine check from unknown source",
    "uncorrected in kernel": "uncorrected",  # 6.1 has no row of its own for it
    "timeout synchronizing machine check over cpus": (
        "timeout: not all cpus entered broadcast exception handler"
    ),
}
_NOT_PLAYED = (
    "panicing machine check",
    "failed kernel mode",
    "too many consec",
    "consecutive machine checks",
)
_NO_TABLE = "Data load in unrecoverable area of kernel"


@dataclass
class PlayedBoot(Played):
    """What became of one boot of a log.

    ``verdict``: what the text says of it, if it does; ``agrees``: whether that is the fate, None: it cannot
    be compared.  ``goes_on``: the text has later machine checks of the same kernel, so that it lived.
    ``unknown``: there is a verdict only, and nothing to grade.  ``fetched``: so many of the queued pages were
    memory_failure()'s before the panic came.
    """

    boot: Boot | None = None
    verdict: Verdict | None = None
    agrees: bool | None = None
    goes_on: bool = False
    unknown: bool = False
    fetched: int = 0

    @property
    def doubts(self) -> list[str]:
        """What had to be taken for granted."""
        found = []
        if self.boot and self.boot.is_later and not self.machine.handling.recovers:
            found.append(
                f"a kernel after 3.3 printed this, {self.machine.handling.name} is asked: see --kernel modern"
            )
        for each in self.records:
            where = f"CPU {each.record.cpu} bank {each.record.bank}: "
            doubts = self.boot.doubts.get(each.record.line, ()) if self.boot else ()
            found += [where + text for text in doubts]
            if each.record.found_by == "poll" and not is_for_poll(self.machine, each.record.status):
                found.append(where + "no poll of this kernel takes it, but the first after boot")
            if _is_context_unknown(self.machine, each):
                found.append(where + "no RIP line: taken for the kernel, in user mode it is graded otherwise")
            elif each.grade.reason == _NO_TABLE and self.verdict is None:
                found.append(where + "whether its RIP has an entry in the exception table is not known here")
        return list(dict.fromkeys(found))


def play_text(
    text: MceText,
    handling: Handling,
    *,
    ser: bool | None = None,
    tolerant: int = 1,
    cpus: int = LEAST_CPUS,
    phys_bits: int = MAX_PHYS_BITS,
) -> list[Played]:
    """Every boot of a log on a machine of its own, or the records of mce-inject's form on one.

    ``ser``: the CPUs have MCG_SER_P; None: as the log's MCGCAP says, and else they have.
    """
    if text.form == "mce-inject":
        ser = ser is not False
        return [play_mce(text.records, handling, ser=ser, tolerant=tolerant, cpus=cpus, phys_bits=phys_bits)]
    return [
        _play(boot, McePlatform(handling, max(cpus, _cpus(boot)), _ser(boot, ser), tolerant, phys_bits))
        for boot in text.boots
    ]


def _ser(boot: Boot, asked: bool | None) -> bool:
    said = [asked, *(record.ser for record in boot.records), True]
    return next(each for each in said if each is not None)


def _cpus(boot: Boot) -> int:
    return max((record.cpu + 1 for record in boot.records), default=0)


def _is_context_unknown(machine: McePlatform, each: Graded) -> bool:
    """Where the CPU was is not in the text, and the grade depends on it."""
    record = each.record
    if record.rip or not record.exception or not record.mcgstatus & (RIPV | EIPV):
        return False
    in_user = replace(_bank(record), regs=Regs(0x33, 1))
    return machine.first_grade(in_user) != each.grade


def _play(boot: Boot, machine: McePlatform) -> PlayedBoot:
    played = PlayedBoot(machine, boot=boot)
    queued_s: list[int] = []  # when each page was queued, 0 where the text does not say
    for position, event in enumerate(boot.events):
        is_over = played.fate.panic
        for record in [event] if isinstance(event, Record) else event.records:
            grade = machine.first_grade(_bank(record), exception=record.exception)
            how = "raised" if record.exception else "polled"
            why = f"not {how}: the machine had panicked" if is_over else ""
            played.records.append(Graded(record, grade, why))
        if is_over:
            if isinstance(event, Rendezvous):
                played.verdict = event.verdict or played.verdict
            continue
        if isinstance(event, Record):
            machine_check_poll(machine, _bank(event), played.fate, at_boot=event.found_by == "boot")
        else:
            _raise(played, event)
            _compare(played, event, is_last=position == len(boot.events) - 1)
        time_s = event.time_s
        queued_s += [time_s] * (len(played.fate.queued_pfns) - len(queued_s))
        if played.fate.panic:
            played.fetched = sum(0 < each < time_s - TOGETHER_S for each in queued_s)
    return played


def _raise(played: PlayedBoot, event: Rendezvous) -> None:
    machine, fate, verdict = played.machine, played.fate, event.verdict
    banks = [_bank(record) for record in event.records]
    local = {bank.cpu for bank in banks if machine.is_local(bank)}
    if (
        not banks
        and not event.missing
        and _plain(verdict and verdict.message) != _plain(machine.handling.unknown)
    ):
        played.unknown = True  # what the CPUs saw is not in the text
        return
    is_meeting = not banks or len(local) < len({bank.cpu for bank in banks})
    callers = len(local) + (machine.cpus - event.missing if is_meeting else 0)
    do_machine_check(machine, banks, callers, fate)
    if fate.message == machine.handling.timeout and verdict and verdict.timed_out:
        fate.message = verdict.message  # which of the waits was too long is the text's to say


def _compare(played: PlayedBoot, event: Rendezvous, *, is_last: bool) -> None:
    fate, verdict = played.fate, event.verdict
    if verdict is None:
        if fate.panic and not is_last:
            played.goes_on, played.agrees = True, False
        return
    played.verdict = verdict
    message = _plain(verdict.message)
    if played.unknown or message.startswith(_NOT_PLAYED):
        played.agrees = None
        return
    reason, fates = _plain(verdict.reason), (_plain(fate.message), _plain(fate.reason))
    if verdict.is_end:  # as much of it as is there
        fates = (fates[0][: len(message)], fates[1][: len(reason)] if verdict.message is None else fates[1])
    agrees = fate.panic
    if verdict.message is not None:
        agrees = agrees and message == fates[0]
    if verdict.reason is not None:
        agrees = agrees and reason == fates[1]
    played.agrees = agrees


def _plain(text: str | None) -> str:
    """The same for what two kernels word differently."""
    words = (text or "").strip().lower().replace(";", ":").replace("signalled", "signaled")
    return _SAME.get(words, words)


def _bank(record: Record) -> Bank:
    return Bank(
        record.cpu, record.bank, record.status, record.mcgstatus, record.addr, record.misc,
        Regs(record.cs, record.rip), record.cpuid,
    )  # fmt: skip
