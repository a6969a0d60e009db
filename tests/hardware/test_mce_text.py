"""Logs with machine checks: every form a kernel or mcelog prints, whatever stands around it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.hardware.mca_codes import error_code, status_bits
from hwsim.hardware.mce_record import MceTextError, Record
from hwsim.hardware.mce_text import MceText, Rendezvous
from tests.support.mce_logs import (
    CORRECTED,
    DATA_LOAD,
    EARLY_S,
    KERNEL,
    MARK,
    TIMER,
    UCNA,
    USER,
    kernel_lines,
    mcelog_lines,
    panic_lines,
    polled_lines,
    read,
    text_of,
)


def one(text: str) -> Record:
    (record,) = read(text).all_records
    return record


def registers(record: Record) -> tuple[int, ...]:
    return (record.cpu, record.bank, record.mcgstatus, record.status, record.addr, record.misc)


def test_a_record_is_read_as_it_was_printed() -> None:
    found = one(text_of(kernel_lines(DATA_LOAD, cpu=19, mcg=7)))
    assert registers(found) == (19, 1, 7, DATA_LOAD, 0x12345600, 0x86)
    assert (found.cs, found.rip, found.cpuid, found.time_s, found.tsc) == (
        *USER,
        0x606A6,
        EARLY_S,
        0x9A4C1B7E2F3,
    )
    assert (found.exception, found.found_by) == (True, "exception")


def test_status_is_the_register_whatever_is_printed_beside_it() -> None:
    no_addrv = CORRECTED & ~(1 << 58)
    assert one(text_of(polled_lines(no_addrv))).status == no_addrv
    assert one(text_of(mcelog_lines(no_addrv))).status == no_addrv


OLD = """HARDWARE ERROR
CPU 1: Machine Check Exception:                5 Bank 5: be00000000800400
RIP !INEXACT! 10:<ffffffff810301f2> {mwait_idle+0x71/0xb0}
TSC 6ca51b1e7 ADDR 1ff4c0 MISC 8c
PROCESSOR 0:106a5 TIME 1260000000 SOCKET 0 APIC 2
This is not a software problem!
Run through mcelog --ascii to decode and contact your hardware vendor
Machine check: Processor context corrupt
Kernel panic - not syncing: Fatal Machine check
"""


def test_what_2_6_32_printed() -> None:
    found = read(OLD)
    (record,) = found.all_records
    assert registers(record) == (1, 5, 5, TIMER, 0x1FF4C0, 0x8C)
    assert (record.cs, record.rip, found.passed_over) == (0x10, 0xFFFFFFFF810301F2, 0)
    (rendezvous,) = found.boots[0].events
    assert isinstance(rendezvous, Rendezvous)
    assert rendezvous.verdict is not None
    assert rendezvous.verdict.says == ("Fatal Machine check", "Processor context corrupt")


PREFIXES = (
    "[  700.100001] ", "[    0.064265][    T1] ", "[Mon Nov 20 10:11:14 2023] ", "[  +0.000003] ",
    "[  700.100001 <    0.000002>] ", "<0>[  700.100001] ", "kern  :emerg : [  700.100001] ", "<2>",
    "Nov 20 10:11:14 node7 kernel: ", "Nov 20 10:11:14 node7 kernel: [  700.100001] ",
    "2023-11-20T10:11:14.123456+01:00 node7 kernel: ", "2023-11-20T10:11:14,123456+00:00 ",
    "2023-11-20T10:11:14.1Z stdout F ", "node7-1  | ", "> > ", "0,1234,700100001,-;",
    "10:11:14.123 ",
    "\x1b[32m[  700.100001] \x1b[0m", "\t",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("mark", [MARK, "[Hardware Error]: ", ""])
def test_prefixes_are_no_part_of_a_message(prefix: str, mark: str) -> None:
    lines = [*kernel_lines(TIMER, rip=KERNEL, mcg=5, mark=mark), *panic_lines(reason="why", mark=mark)]
    found = read("".join(prefix + line + "\r\n" for line in lines))
    (rendezvous,) = found.boots[0].events
    assert isinstance(rendezvous, Rendezvous)
    assert [registers(each) for each in rendezvous.records] == [(1, 1, 5, TIMER, 0x12345600, 0x86)]
    assert rendezvous.verdict is not None
    assert rendezvous.verdict.says == ("Fatal machine check", "why")
    assert found.passed_over == 0


def test_a_text_of_any_encoding_and_any_end_of_line() -> None:
    text = text_of(kernel_lines(DATA_LOAD))
    for data in (
        text.encode("utf-16"), b"\xef\xbb\xbf" + text.encode(), text.replace("\n", "\r").encode(),
        text.replace("\n", "\r\r\n").encode(), b"\0\0\xff\n" + text.encode() + b"\0\0",
    ):  # fmt: skip
        assert [registers(each) for each in read(data).all_records] == [
            (1, 1, 7, DATA_LOAD, 0x12345600, 0x86)
        ]


def test_foreign_lines_are_passed_over_and_counted() -> None:
    around = ["usb 1-1: new device", "CPU: 2 PID: 0 Comm: swapper/2 Tainted: G   M   4.4.0 #1", "Call Trace:"]
    lines = kernel_lines(DATA_LOAD)
    found = read(
        text_of(around[:1], lines[:2], around[1:], lines[2:], ["", "RIP: 0010:[<ffffffff81000000>]"])
    )
    assert (found.passed_over, len(found.all_records)) == (4, 1)


def test_continuations_may_have_lines_of_their_own() -> None:
    lines = [
        f"{MARK}CPU 0: Machine Check: 0 Bank 7: {CORRECTED:016x}",
        f"{MARK}TSC 0 ", "[    1.000001] ADDR fef4c9e0 ",
        "MISC 86 PPIN 1234", f"{MARK}PROCESSOR 0:706a1 TIME 1700000000 SOCKET 0 APIC 0 microcode 28",
    ]  # fmt: skip
    assert registers(one(text_of(lines))) == (0, 7, 0, CORRECTED, 0xFEF4C9E0, 0x86)


# How it was found


@pytest.mark.parametrize(
    ("status", "tsc", "found_by"),
    [
        (CORRECTED, 5, "CMCI"), (UCNA, 5, "CMCI"), (CORRECTED, 0, "timer"), (UCNA, 0, "timer"),
        (TIMER, 0, "boot"), (DATA_LOAD, 0, "boot"), (TIMER & ~(1 << 60), 0, "boot"), (DATA_LOAD, 5, "poll"),
    ],
)  # fmt: skip
def test_without_mcip_it_was_polled(status: int, tsc: int, found_by: str) -> None:
    found = one(text_of(polled_lines(status, tsc=tsc)))
    assert (found.exception, found.found_by) == (False, found_by)


def test_seconds_after_boot_it_is_the_first_poll() -> None:
    lines = polled_lines(CORRECTED, tsc=0)
    assert [one(text_of([f"[{at:12.6f}] {line}" for line in lines])).found_by for at in (0.5, 400.0)] == [
        "boot", "timer",
    ]  # fmt: skip


def test_kernels_that_call_all_an_exception_stamp_the_timers_poll_too() -> None:
    word = " Exception"
    assert one(text_of(polled_lines(CORRECTED, word=word))).found_by == "CMCI or timer"
    assert one(text_of(polled_lines(CORRECTED, word=word, tsc=0))).found_by == "boot or timer"
    assert one(text_of(polled_lines(TIMER, word=word, tsc=0))).found_by == "boot"


def test_what_sb_edac_of_3_x_printed() -> None:
    head, aux, processor = polled_lines(CORRECTED, word=" Exception", tsc=0, mark="")
    found = read(text_of(["sbridge: HANDLING MCE MEMORY ERROR", head, aux + processor]))
    assert [registers(each) for each in found.all_records] == [(1, 1, 0, CORRECTED, 0x12345600, 0x86)]
    assert found.not_read == (("EDAC", 1),)


# mcelog


def test_mcelogs_numbers_are_hexadecimal() -> None:
    found = read(text_of(mcelog_lines(0x9800004000800090)))
    (record,) = found.all_records
    assert registers(record) == (3, 8, 0, 0x9800004000800090, 0x12345000, 0x86)
    assert (record.exception, record.found_by, record.cpuid) == (False, "timer", 0x606A6)
    assert found.passed_over == 6


@pytest.mark.parametrize("drop", ["Hardware", "MCE", "CPUID", "MCGCAP", "MCG status"])
def test_mcelogs_form_is_known_without_any_one_of_its_lines(drop: str) -> None:
    lines = [line for line in mcelog_lines(0x9800004000800090) if not line.startswith(drop)]
    assert registers(one(text_of(lines))) == (3, 8, 0, 0x9800004000800090, 0x12345000, 0x86)


def test_mcelog_with_mcip_is_an_exception_and_tsc_means_an_interrupt_or_an_old_timer() -> None:
    lines = [f"Nov 20 10:11:14 node7 mcelog[12]: {line}" for line in mcelog_lines(DATA_LOAD, mcg=7, rip=USER)]
    found = one(text_of(lines))
    assert (found.exception, found.cs, found.rip) == (True, *USER)
    assert one(text_of(mcelog_lines(CORRECTED, tsc=0x12AB34))).found_by == "CMCI or timer"


def test_mcelogs_records_follow_each_other() -> None:
    found = read(text_of(mcelog_lines(CORRECTED), mcelog_lines(UCNA, cpu=4, bank=9, number=1)))
    assert [(each.cpu, each.bank, each.status) for each in found.all_records] == [
        (3, 8, CORRECTED), (4, 9, UCNA),
    ]  # fmt: skip


# Boots


def boots(text: str) -> list[list[list[int]]]:
    """CPUs of each event of each boot."""
    return [
        [[each.cpu] if isinstance(each, Record) else [r.cpu for r in each.records] for each in boot.events]
        for boot in read(text).boots
    ]


PANIC = [*kernel_lines(DATA_LOAD, cpu=1, mcg=5), *kernel_lines(TIMER, cpu=19), *panic_lines(reason="why")]


def test_the_records_of_a_panic_are_one_rendezvous_and_polled_ones_stand_apart() -> None:
    pending = polled_lines(CORRECTED, cpu=7, time_s=EARLY_S - 900)
    assert boots(text_of(pending, PANIC)) == [[[7], [1, 19]]]


def test_what_is_printed_twice_counts_once() -> None:
    again = [f"Nov 20 10:11:14 node7 kernel: {line}" for line in PANIC]
    interleaved = [line for pair in zip(PANIC, again, strict=True) for line in pair]
    final = kernel_lines(TIMER, cpu=19)
    for text in (
        text_of(PANIC, again),
        text_of(again, PANIC),
        text_of(interleaved),
        text_of(PANIC[:-2], final, PANIC[-2:]),
    ):
        assert boots(text) == [[[1, 19]]]
    assert read(text_of(PANIC, again)).repeated == 2


def test_two_records_of_a_poll_that_say_the_same_are_two() -> None:
    lines = polled_lines(CORRECTED, tsc=0)
    assert boots(text_of(lines, lines)) == [[[1], [1]]]


@pytest.mark.parametrize(
    "border", [["[    0.000000] Linux version 6.1.0"], ["-- Boot 0123456789abcdef --"], []]
)
def test_a_kernel_that_had_panicked_is_another_boot(border: list[str]) -> None:
    left = polled_lines(TIMER, cpu=2, tsc=0)
    assert boots(text_of(PANIC, border, left)) == [[[1, 19]], [[2]]]
    later = [*kernel_lines(TIMER, cpu=4, tsc=7, time_s=EARLY_S + 999), *panic_lines(reason="why")]
    assert boots(text_of(PANIC, border, later)) == [[[1, 19]], [[4]]]


def test_a_border_without_a_panic_is_one_too() -> None:
    lines = [f"[  900.000000] {line}" for line in kernel_lines(DATA_LOAD)]
    after = [f"[    0.500000] {line}" for line in polled_lines(CORRECTED, cpu=2, tsc=0)]
    assert boots(text_of(lines, after)) == [[[1]], [[2]]]


def test_exceptions_at_other_times_or_of_the_same_bank_are_other_rendezvous() -> None:
    def at(time_s: int, cpu: int = 1, bank: int = 1) -> list[str]:
        return kernel_lines(DATA_LOAD, cpu=cpu, bank=bank, time_s=time_s, tsc=time_s + cpu)

    assert boots(text_of(at(EARLY_S), at(EARLY_S + 60, cpu=2))) == [[[1], [2]]]
    assert boots(text_of(at(EARLY_S), at(EARLY_S, cpu=2))) == [[[1, 2]]]
    assert boots(text_of(at(EARLY_S), at(EARLY_S + 1))) == [[[1], [1]]]
    assert boots(text_of(at(EARLY_S), at(EARLY_S, bank=2))) == [[[1, 1]]]


def test_error_codes_in_words() -> None:
    cases = {
        0x90: "memory read, channel 0", 0x10C3: "memory scrub, channel 3",
        0x9F: "memory read, channel not said", 0: "no error",
        0x134: "cache data read, level 0", 0x17A: "cache eviction, level 2", 0x400: "internal timer",
        0x405: "internal unclassified", 0xE0B: "I/O error", 0x110A: "cache error, level 2",
        0xD: "cache hierarchy, level 1", 0x14: "TLB, data, level 0", 0x800: "bus or interconnect, error",
        0x1: "unclassified", 0x2: "microcode ROM parity", 0x3: "external error",
        0x4: "functional redundancy check", 0x6: "SMM handler code access violation",
        0x5: "internal parity", 0x7: "a code of this model", 0x6000: "a code of this model",
        0x1E0: "cache reserved request, level 0",
        0x284: "memory used as cache, request, channel 4",
    }  # fmt: skip
    assert {code: error_code(code) for code in cases} == cases
    assert status_bits(DATA_LOAD) == "VAL UC EN MISCV ADDRV S AR"


@pytest.mark.parametrize(
    ("words", "cpuid"),
    [("Family 6 Model 106 Step 6", 0x606A6), ("Family 6 Model 26", 0x106AF), ("", 0)],
)
def test_mcelogs_words_for_a_processor_are_its_cpuid(words: str, cpuid: int) -> None:
    """Intel SDM vol. 2A, CPUID leaf 1: extended model, family, model, and stepping, 15 if it is not told."""
    lines = mcelog_lines(CORRECTED)[:-1]
    assert one(text_of([*lines, f"CPUID Vendor Intel {words}"] if words else lines)).cpuid == cpuid


PIECES = [
    *kernel_lines(DATA_LOAD), *polled_lines(CORRECTED), *panic_lines(reason="why"), *mcelog_lines(CORRECTED),
    "[    0.000000] Linux version 6.1.0", "EDAC MC0: 1 CE", "{1}[Hardware Error]: x", "usb 1-1: new", "#", "",
    "STATUS UC", "CPU 0 BANK 1 STATUS UC", f"{MARK}Some CPUs didn't answer in synchronization",
    "-- Reboot --",
]  # fmt: skip
CUT = st.tuples(st.sampled_from(PIECES), st.integers(0, 80), st.sampled_from(PREFIXES)).map(
    lambda each: each[2] + each[0][: each[1]] if each[1] < 60 else each[0]
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(CUT, max_size=14))
def test_any_log_is_read_or_refused_with_a_line(lines: list[str]) -> None:
    found, said = MceText("log"), ""
    try:
        found = read("\n".join(lines))
    except MceTextError as mistake:
        said = str(mistake)
    assert [each for each in said.split("\n") if each and not re.match(r"log(:\d+)?: .", each)] == []
    for record in found.all_records:
        assert record.bank < 64
        assert record.exception == bool(record.mcgstatus & 4) or found.form == "mce-inject"
        assert found.form == "mce-inject" or record.status in (DATA_LOAD, CORRECTED)
