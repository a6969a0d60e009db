"""Logs without an answer: cut or disordered records, CPUs not of Intel, forms that are not read."""

from __future__ import annotations

from contextlib import suppress

import pytest

from hwsim.hardware.mce_record import MceTextError, Record
from hwsim.kernel.mce.do_machine_check import MODERN
from hwsim.kernel.mce.printed import PlayedBoot, play_text
from tests.support.mce_logs import (
    CORRECTED,
    DATA_LOAD,
    KERNEL,
    MARK,
    TIMER,
    USER,
    kernel_lines,
    mcelog_lines,
    mistakes,
    panic_lines,
    polled_lines,
    read,
    text_of,
)


def test_cut_and_disordered_records_are_refused_where_they_are() -> None:
    lines = kernel_lines(DATA_LOAD)
    cut = "cannot be read; is it cut off?"
    missing = "the first line of this machine check is missing"
    cases = [
        ([lines[0][:-3], *lines[1:]], "log:1: STATUS bd80000000100: 13 digits, the kernel prints 16"),
        ([lines[0][:-30]], cut), ([lines[0], lines[1][:-12]], cut), ([*lines[:2], lines[2] + "MISC"], cut),
        ([*lines[:3], lines[3][:45]], cut), (lines[:2], "the TSC line, and with it ADDR and MISC, of"),
        (lines[:3], "the PROCESSOR line of this machine check is missing"),
        ([*lines[:2], lines[2][: lines[2].index("MISC")], "usb"], "MISC of this machine check is missing"),
        ([*lines[:2], f"{MARK}TSC 5", "usb 1-1: new"], "ADDR of this machine check is missing"),
        (["CPU 3 BANK 8", "MISC 86", f"STATUS {DATA_LOAD:x} MCGSTATUS 7"], "ADDR of this machine check"),
        (["MCE 0", "CPU 0 4 northbridge TSC 12345", f"STATUS {CORRECTED:x} MCGSTATUS 0"], "mcelog's for AMD"),
        (lines[1:], missing), (lines[::-1], missing), ([*lines, lines[2]], missing),
        ([lines[0], lines[2], lines[1], lines[3]], "out of order"),
        ([*lines[:3], lines[2].replace("TSC 9", "TSC 8")], "out of order"),
        ([*lines[:2], f"{MARK}ADDR 12345600", *lines[2:]], "out of order; its TSC comes first"),
        ([*lines[:2], f"{MARK}TSC 1 ADDR 1 ADDR 2"], "said twice"),
        ([lines[0].replace("Exception", "").replace(" :", ":"), *lines[1:]], "has MCIP"),
        ([lines[0].replace("Bank 1:", "Bank 255:"), *lines[1:]], "APEI/GHES"),
        ([lines[0].replace("Bank 1:", "Bank 64:"), *lines[1:]], "allowed: 0 to 63"),
        (['{"log":"' + lines[0] + '\\n","stream":"stdout"}'], cut),
        ([f"{MARK}CPU 1: Machine Check Exc"], cut),
        (["MCE 0", f"STATUS {CORRECTED:x} MCGSTATUS 0"], missing),
        (["CPU 3 BANK 8", f"STATUS {CORRECTED >> 8:x} MCGSTATUS 0"], "has no VAL"),
        (["CPU 3 BANK 8", f"STATUS {1 << 64 | CORRECTED:x} MCGSTATUS 0"], "more than 64 bits"),
        (["CPU 3 BANK 8", f"STATUS {CORRECTED:x} MCGSTATUS {1 << 64:x}"], "more than 64 bits"),
        (["CPU 3 BANK 8", f"STATUS 0x{CORRECTED:x}", *mcelog_lines(CORRECTED)], "hexadecimal without 0x"),
        (["CPU 3 BANK 8", "MCGCAP 1c09 APICID 6 SOCKETID 0"], "the STATUS line of this machine"),
    ]  # fmt: skip
    for case, wanted in cases:
        found = mistakes(text_of(case))
        assert any(wanted in each for each in found), (case, found)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("EDAC sbridge MC1: CPU 0: Machine Check Event: 0 Bank 7: cc00418000010091", "EDAC"),
        ("EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 page:0x1)", "EDAC"),
        ("{1}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 1", "APEI/GHES"),
        ("{3}[Hardware Error]:  Error 0, type: corrected", "APEI/GHES"),
        ("rasdaemon[1]: mce_record store: 0x55d0", "rasdaemon"),
        (
            "  <idle>-0 [001] d.h. 100.1: mce_record: CPU: 0, MCGc/s: 1000c14/0, MC9: 8c00004000010090",
            "rasdaemon",
        ),
        ("112 2023-05-31 error: mcgstatus=0, mci Corrected_error, status=0x8c00004200800090", "ras-mc-ctl"),
        ("[Hardware Error]: CPU:3 (17:1:1) MC15_STATUS[Over|CE|MiscV|-]: 0xdc2040000000011b", "AMD"),
        ("[Hardware Error]: Corrected error, no action required.", "AMD"),
        ("[Hardware Error]: Northbridge Error (node 0): DRAM ECC error detected on the NB.", "AMD"),
        ("[Hardware Error]: CPU:0\tMC4_STATUS[Over|CE|MiscV|-|AddrV|CECC]: 0xdc1a400084080813", "AMD"),
        ("(XEN) CPU 0: Machine Check Exception: 5", "Xen"),
        ("MCA: Bank 8, Status 0x8c0000400009008f", "FreeBSD"),
        ("CPU 0: Machine Check Exception: 0000000000000004", "before 2.6.31"),
        ("Bank 4: b604a00100000813 at 000000007e4f2f68", "before 2.6.31"),
        ("CPU 0 THERMAL EVENT TSC 12345", "thermal"),
    ],
)
def test_a_form_that_is_not_read_is_refused_by_name(line: str, name: str) -> None:
    (found,) = mistakes(text_of(["usb 1-1: new device", f"[  100.000001] {line}"]))
    assert found.startswith("log:2: this form is not read: ")
    assert name in found
    beside = read(text_of([line], polled_lines(CORRECTED)))
    assert (len(beside.all_records), beside.passed_over, [count for _, count in beside.not_read]) == (
        1,
        1,
        [1],
    )


@pytest.mark.parametrize(("vendor", "name"), [(2, "AMD"), (9, "Hygon"), (10, "Zhaoxin"), (5, "Centaur")])
def test_other_vendors_are_refused_in_one_line(vendor: int, name: str) -> None:
    (found,) = mistakes(text_of(kernel_lines(DATA_LOAD, processor=f"{vendor}:a20f10")))
    assert found == f"log:4: PROCESSOR {vendor} is {name}: only Intel's rules of machine checks are built"


def test_of_many_records_of_another_vendor_one_is_told() -> None:
    many = [line for cpu in range(30) for line in kernel_lines(TIMER, cpu=cpu, processor="2:a20f10")]
    assert len(mistakes(text_of(many))) == 1


def test_a_host_may_be_called_as_it_likes() -> None:
    lines = [f"Nov 20 10:11:14 rasdaemon kernel: {line}" for line in polled_lines(CORRECTED)]
    (record,) = read(text_of(lines)).all_records
    assert record.status == CORRECTED


def test_amd_is_known_by_mcelogs_words_and_by_its_registers_too() -> None:
    (found,) = mistakes(text_of(mcelog_lines(CORRECTED, vendor="AMD")))
    assert "CPUID Vendor AMD is AMD" in found
    lines = kernel_lines(DATA_LOAD)
    (found,) = mistakes(text_of([*lines[:2], f"{MARK}TSC 5 ADDR 1000 SYND 5d000000 IPID 1002e00000000"]))
    assert "AMD's" in found


def test_of_a_long_line_the_first_80_characters_are_shown() -> None:
    line = "CPU 0 4 northbridge TSC 12345 " + "x" * 100
    found, *_ = mistakes(text_of(["MCE 0", line, f"STATUS {CORRECTED:x} MCGSTATUS 0"]))
    assert found.startswith(f"log:2: '{line[:80]}' is mcelog's for AMD")


def test_a_log_without_a_machine_check_is_refused_in_one_line() -> None:
    lines = ["Nov 20 10:11:12 node7 kernel: usb 1-1: new device", "Nov 20 10:11:13 node7 systemd[1]: started"]
    assert mistakes(text_of(lines)) == ["log: no machine check in this text; lines passed over: 2"]
    (found,) = mistakes(f"[    1.000001] {MARK}Machine check events logged\n")
    assert "mcelog or rasdaemon has the records" in found
    assert "no machine check" in mistakes("Kernel panic - not syncing: Attempted to kill init!\n")[0]


WHOLE = {
    "kernel": [
        *polled_lines(CORRECTED, cpu=7, bank=9), *kernel_lines(DATA_LOAD, mcg=5, rip=KERNEL),
        *kernel_lines(DATA_LOAD, cpu=19, rip=KERNEL),
        *panic_lines(reason="Data load in unrecoverable area of kernel"),
    ],
    "mcelog": [*mcelog_lines(CORRECTED, tsc=0x12AB), *mcelog_lines(DATA_LOAD, mcg=7, cpu=4, rip=USER)],
}  # fmt: skip


def registers(record: Record) -> tuple[int, ...]:
    return (record.addr, record.misc, record.cs, record.rip, record.tsc or 0)


@pytest.mark.parametrize("form", WHOLE)
def test_of_a_log_that_is_cut_anywhere_no_register_is_misread(form: str) -> None:
    """What is left of a record has its registers, or 0 where their line is gone; no verdict differs."""
    log = text_of([f"[  700.100001] {line}" for line in WHOLE[form]])
    whole = {(each.cpu, each.bank, each.status, each.mcgstatus): each for each in read(log).all_records}
    answered = 0
    for part in (half for at in range(0, len(log), 5) for half in (log[:at], log[at:])):
        with suppress(MceTextError):
            text = read(part)
            answered += bool(text.boots)
            for record in text.all_records:
                wanted = whole[record.cpu, record.bank, record.status, record.mcgstatus]
                pairs = zip(registers(record), registers(wanted), strict=True)
                assert all(found in (0, right) for found, right in pairs), part
            for played in play_text(text, MODERN):
                assert not isinstance(played, PlayedBoot) or played.agrees is not False, part
    assert answered > 20
