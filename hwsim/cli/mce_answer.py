"""The answer of ``hwsim mce``, in lines and as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hwsim.hardware.mca_codes import error_code, status_bits
from hwsim.hardware.mce_banks import MCACOD, UC
from hwsim.hardware.mce_text import MceText
from hwsim.kernel.mce.inject import Graded, Played
from hwsim.kernel.mce.printed import PlayedBoot

_POLLED = {
    "CMCI": "polled: found by CMCI",
    "timer": "polled: found by the timer poll",
    "boot": "polled: found by the first poll after boot",
    "CMCI or timer": "polled: found by CMCI or by the timer poll",
    "boot or timer": "polled: found by the first poll after boot or by the timer poll",
    "poll": "polled: which poll found it is not said",
}
_COMPARED = {True: "agrees", False: "differs", None: None}
_DIED = "polled: found by the first poll after boot; the boot before died of it"


def answer(name: str, text: MceText, boots: Sequence[Played]) -> Iterator[str]:
    """Line by line: each record, what becomes of the machine, and whether the text says the same."""
    for number, played in enumerate(boots, 1):
        machine = played.machine
        recovery = "" if machine.ser else " without MCG_SER_P"
        boot = f" (boot {number})" if len(boots) > 1 else ""
        yield f"{name}{boot}: kernel {machine.handling.name}, {machine.cpus} CPUs{recovery}"
        for each in played.records:
            yield from _record(text, played, each)
        if not played.records:
            yield "  no record"
        yield from _fate(played)
        if isinstance(played, PlayedBoot):
            yield from _verdict(played)
            for doubt in played.doubts:
                yield f"  note: {doubt}"
    if text.repeated:
        yield f"  {_count(text.repeated, 'record')} printed twice"
    if text.passed_over:
        of = ", ".join(f"{count} of {form}" for form, count in text.not_read)
        yield f"  {_count(text.passed_over, 'line')} passed over{f'; not read: {of}' if of else ''}"


def _record(text: MceText, played: Played, each: Graded) -> Iterator[str]:
    record = each.record
    polled = _POLLED.get(record.found_by, "")
    if record.found_by == "boot" and record.status & UC:
        polled = _DIED
    said = "".join(f" ({why})" for why in (polled, each.fell_away) if why)
    yield f"  CPU {record.cpu} bank {record.bank}  {each.grade.severity.name:5}  {each.grade.reason}{said}"
    if text.form == "log":
        page = f"; page {played.machine.pfn(record.addr):#x}" if record.addr else ""
        code = f"{record.status & MCACOD:#06x}: {error_code(record.status)}"
        yield f"    {status_bits(record.status) or 'no flag'}; {code}{page}"


def _fate(played: Played) -> Iterator[str]:
    fate = played.fate
    if fate.rendezvous_timeout:
        yield "  rendezvous: not all CPUs came within 1 s"
    fetched = played.fetched if isinstance(played, PlayedBoot) and fate.panic else 0
    if fetched:
        yield f"  memory_failure: {_pages(fate.queued_pfns[:fetched])}"
    if fate.queued_pfns[fetched:]:
        lost = "; nobody fetches them after the panic" if fate.panic else ""
        yield f"  memory_failure: {_pages(fate.queued_pfns[fetched:])}{lost}"
    for signal in fate.signals:
        yield f"  {signal.signal} ({signal.code}) to the task that was current on CPU {signal.cpu}"
    if fate.panic:
        yield f"  Kernel panic - not syncing: {fate.message}"
        if fate.reason:
            yield f"  Machine check: {fate.reason}"
    elif _is_unknown(played):
        yield "  the record that decided is not in the text: nothing to grade"
    else:
        full = f"; the log is full, dropped: {fate.dropped}" if fate.dropped else ""
        yield f"  goes on; records logged: {fate.logged}{full}"


def _pages(pfns: Sequence[int]) -> str:
    return ", ".join(f"pfn {pfn:#x}" for pfn in pfns)


def _verdict(played: PlayedBoot) -> Iterator[str]:
    if played.goes_on:
        yield "  differs from the text: there the same kernel goes on"
    if played.verdict is not None:
        says = " / ".join(filter(None, (played.verdict.message, played.verdict.reason)))
        how = {
            True: "agrees with the text",
            False: "differs from the text",
            None: "not compared with the text",
        }
        yield f"  {how[played.agrees]}: {says}"


def plain(file: str, text: MceText, boots: Sequence[Played]) -> Iterator[dict[str, Any]]:
    """One object a boot; ``repeated``, ``passed_over`` and ``not_read`` count in the whole text."""
    for number, played in enumerate(boots, 1):
        log = played if isinstance(played, PlayedBoot) else None
        yield {
            "file": file,
            "form": text.form,
            "boot": number,
            "records": [_plain_record(played, each) for each in played.records],
            "fate": None if _is_unknown(played) and not played.fate.panic else _plain_fate(played),
            "verdict": _plain_verdict(log) if log else None,
            "notes": log.doubts if log else [],
            "repeated": text.repeated,
            "passed_over": text.passed_over,
            "not_read": dict(text.not_read),
        }


def _plain_record(played: Played, each: Graded) -> dict[str, Any]:
    record = each.record
    return {
        "cpu": record.cpu,
        "bank": record.bank,
        "status": f"{record.status:#018x}",
        "severity": each.grade.severity.name,
        "reason": each.grade.reason,
        "pfn": played.machine.pfn(record.addr) if record.addr else None,
        "found_by": record.found_by or None,
        "fell_away": each.fell_away or None,
    }


def _plain_fate(played: Played) -> dict[str, Any]:
    fate = played.fate
    return {
        "panic": fate.panic,
        "message": fate.message,
        "reason": fate.reason,
        "rendezvous_timeout": fate.rendezvous_timeout,
        "queued_pfns": fate.queued_pfns,
        "signals": [signal._asdict() for signal in fate.signals],
        "logged": fate.logged,
        "dropped": fate.dropped,
    }


def _plain_verdict(played: PlayedBoot) -> dict[str, Any] | None:
    """``compared`` None: it is not, as there is no record of it or it is another panic's."""
    verdict = played.verdict
    if verdict is None and not played.goes_on:
        return None
    return {
        "message": verdict.message if verdict else None,
        "reason": verdict.reason if verdict else None,
        "goes_on": played.goes_on,
        "compared": _COMPARED[played.agrees],
    }


def _is_unknown(played: Played) -> bool:
    return isinstance(played, PlayedBoot) and played.unknown


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
