"""The mce-inject format: every word, every form, and whatever a hostile file may hold."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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
    UC,
    VAL,
    S,
)
from hwsim.hardware.mce_inject import (
    FIELDS,
    KEYWORDS,
    MCGSTATUS_WORDS,
    STATUS_WORDS,
)
from hwsim.hardware.mce_record import MAX_BYTES, MAX_PROBLEMS, MceTextError, Record
from hwsim.hardware.mce_text import read_mce


def read(text: str | bytes) -> list[Record]:
    return read_mce(text, "file", banks=32).all_records


def mistakes(text: str | bytes) -> list[str]:
    with pytest.raises(MceTextError) as caught:
        read(text)
    return str(caught.value).split("\n")


def one(text: str) -> Record:
    (record,) = read(text)
    return record


def test_the_words_of_a_record() -> None:
    text = """# a comment
    cpu 2 bank 3
    Status uncorrected OVER srao 0xc0
    MCGSTATUS ripv EIPV MCIP
    ADDR 0x12345000 MISC 0x8c   # two on a line
    RIP 0x73:0x1eadbabe
    TSC 5 TIME 1255 SOCKETID 1 APICID 3 MCGCAP 0x1c09 PROCESSOR 0:0x106a5
    IN_PROC HOLD NOBROADCAST IRQBROADCAST NMIBROADCAST
    """
    assert one(text) == Record(
        2, 2, 3, VAL | UC | EN | OVER | S | 0xC0 | ADDRV | MISCV, RIPV | EIPV | MCIP, 0x12345000, 0x8C,
        0x73, 0x1EADBABE, "process", True, True, True, True, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("CORRECTED", VAL | EN),
        ("UNCORRECTED", VAL | UC | EN),
        ("FATAL", VAL | UC | EN | PCC),
        ("UNCORRECTED UCNA", VAL | UC | EN),
        ("UNCORRECTED SRAR 0x134", VAL | UC | EN | S | AR | 0x134),
        ("VAL OVER UC EN PCC S AR", VAL | OVER | UC | EN | PCC | S | AR),
        ("0xbd00000000000134", 0xBD00000000000134),
        ("bd00000000000134", 0xBD00000000000134),
        ("", 0),
    ],
)
def test_status(words: str, status: int) -> None:
    assert one(f"CPU 0 STATUS {words}").status == status


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("12343434", 12343434),
        ("0x10", 16),
        ("0X1F", 31),
        ("010", 8),
        ("0", 0),
        ("abcd", 0xABCD),
        ("12ab", 0x12AB),
    ],
)
def test_numbers_are_read_as_c_reads_them(number: str, value: int) -> None:
    assert one(f"CPU 0 ADDR {number}").addr == value


def test_status_after_addr_takes_its_valid_bit_away() -> None:
    assert one("CPU 0 ADDR 1 MISC 2 STATUS UC").status == UC
    assert one("CPU 0 STATUS UC ADDR 1 MISC 2").status == UC | ADDRV | MISCV


def test_without_a_word_uc_makes_it_an_exception() -> None:
    assert [one(f"CPU 0 STATUS {words}").exception for words in ("UC", "VAL EN")] == [True, False]
    assert [one(f"CPU 0 STATUS {words}").exception for words in ("UC POLL", "VAL EXCP")] == [False, True]


def test_records_follow_each_other() -> None:
    found = read("CPU 0 BANK 1 STATUS UC HOLD\n\nCPU 1 2\nSTATUS VAL\nMCE BANK 3\nMCE 4\nBANK 5 cpu 3 TSC 1")
    assert [(each.cpu, each.bank, each.hold, each.line) for each in found] == [
        (0, 1, True, 1), (1, 2, False, 3), (0, 3, False, 5), (0, 5, False, 6), (3, 0, False, 7),
    ]  # fmt: skip


def test_mcelogs_number_belongs_to_the_cpu_that_follows() -> None:
    found = read("MCE 0\nCPU 3 BANK 8\nSTATUS 0x1\nMCE 1\nCPU 4 BANK 9 STATUS 0x2")
    assert [(each.cpu, each.bank, each.status) for each in found] == [(3, 8, 1), (4, 9, 2)]


@pytest.mark.parametrize(
    ("record", "number"),
    [
        ("CPU 0 STATUS bd80000000100134\nADDR 12345600 MISC 0x8c", "12345600"),
        ("CPU 0 ADDR 10ce3a000 STATUS 0xbd80000000100134 MISC 86", "86"),
        ("CPU 0 STATUS 0xbd80000000100134 RIP 33:401a2c", "33"),
    ],
)
def test_digits_beside_hex_letters_without_0x_are_refused(record: str, number: str) -> None:
    text = "is decimal here, and another register of the record is not; write 0x… for hexadecimal"
    assert mistakes(record) == [
        f"file:{1 + record.split(number, maxsplit=1)[0].count(chr(10))}: {number} {text}"
    ]


def test_a_single_digit_is_the_same_in_both() -> None:
    assert one("CPU 0 STATUS be00000000800400 MISC 9").misc == 9
    assert len(mistakes("CPU 0 STATUS be00000000800400 MISC 10")) == 1


def test_a_logged_record_that_was_polled_is_not_raised_unasked() -> None:
    logged = "CPU 4\nBANK 18\nTSC 0x5\nSTATUS 0xac00000200a00091\nMCGSTATUS 0\nTIME 1700000000\n"
    (mistake,) = mistakes(logged)
    assert (
        mistake
        == "file:1: with TIME, UC and no MCIP it was polled when it happened: say POLL, or EXCP to raise it"
    )
    assert [one(logged + word).exception for word in ("POLL", "EXCP")] == [False, True]
    assert one(logged.replace("TIME 1700000000", "TIME 0")).exception
    assert one(logged.replace("MCGSTATUS 0", "MCGSTATUS 5")).exception


def test_a_status_that_is_one_in_hexadecimal_only_is_refused() -> None:
    text = "STATUS: 9800004000800090 is decimal here, and no error then; write 0x… for hexadecimal"
    assert mistakes("CPU 0 STATUS 9800004000800090") == [f"file:1: {text}"]
    assert one("CPU 0 STATUS 13258597302978740224").status == 0xB8 << 56


@pytest.mark.parametrize(
    ("vendor", "name"), [(2, "AMD"), (5, "Centaur"), (9, "Hygon"), (10, "Zhaoxin"), (77, "a vendor that")]
)
def test_other_vendors_are_refused_by_name(vendor: int, name: str) -> None:
    (mistake,) = mistakes(f"CPU 0 STATUS UC PROCESSOR {vendor}:0xa20f10")
    assert mistake.startswith(f"file:1: PROCESSOR {vendor} is {name}")


def test_an_empty_file_has_no_record() -> None:
    assert read("") == read("# nothing\n\n") == []


def test_what_a_panic_prints_is_hexadecimal() -> None:
    for printed, mcgstatus in (("f", RIPV | EIPV | MCIP | LMCES), ("1007", SEAM_NR | RIPV | EIPV | MCIP)):
        (found,) = read(f"CPU 1: Machine Check Exception: {printed} Bank 4: be00000000010090\n")
        assert (found.cpu, found.mcgstatus, found.bank) == (1, mcgstatus, 4)
        assert found.status == 0xBE00_0000_0001_0090


def test_where_nothing_can_be_read_the_rest_of_the_mistakes_is_of_line_1() -> None:
    told = mistakes("\x00 " * (MAX_PROBLEMS + 3))
    assert len(told) == MAX_PROBLEMS + 1
    assert told[-1] == "file:1: and 3 more mistakes"


def test_all_mistakes_are_told_with_their_lines() -> None:
    text = "CPU 0 STATUS FATL\nADDR 0x1\nBANK 32\nMCGSTATUS RIPV UC\n\x00\nCPU 99999\nTSC 089\nCPU 1\n"
    assert mistakes(text) == [
        "file:5: unrecognized character '\\x00'",
        "file:1: STATUS: 'FATL' is not one of its words; did you mean FATAL?",
        "file:3: BANK: 32 is too large; allowed: 0 to 31",
        "file:4: MCGSTATUS: 'UC' is not one of its words",
        "file:6: CPU: 99999 is too large; allowed: 0 to 8191",
        "file:7: TSC: '089' is not a number; write 0x… for hexadecimal",
        "file:8: a record needs at least one field after CPU or MCE",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("CPU", "file:1: CPU: the end of the file is not a number; write 0x… for hexadecimal"),
        ("STATUS UC", "file:1: 'STATUS': a record begins with CPU or MCE"),
        ("CPU 0 ADDR", "file:1: ADDR: the end of the file is not a number; write 0x… for hexadecimal"),
        (
            "CPU 0 ADDR 0x10000000000000000",
            "file:1: ADDR: 0x10000000000000000 is too large; allowed: 0 to 0xffffffffffffffff",
        ),
        ("CPU 0 ADR 1", "file:1: 'ADR': no such field; did you mean ADDR?"),
        ("CPU 0 RIP 0x73:<1", "file:1: RIP: '<' is not a number; write 0x… for hexadecimal"),
        ("CPU 0 RIP 0x12345:1", "file:1: RIP: the code segment 0x12345 is too large"),
        (
            "CPU 0: Machine Check Error",
            "file:1: 'CPU 0: Machine Check Error': cannot be read; is it cut off?",
        ),
        ("CPU 0 PROCESSOR 1 2", "file:1: '2': : is expected here"),
        ("CPU -1 HOLD", "file:1: unrecognized character '-'"),
        (b"\x7fELF\xff", "file:1: unrecognized character '\\x7f'"),
    ],
)
def test_a_mistake(text: str | bytes, mistake: str) -> None:
    assert mistakes(text)[0] == mistake


def test_a_number_of_a_million_digits_is_too_large() -> None:
    (mistake,) = mistakes("CPU 0 ADDR " + "9" * 1_000_000)
    assert len(mistake) < 200


def test_a_file_that_is_too_large_is_refused_unread() -> None:
    (mistake,) = mistakes(b"#" * (MAX_BYTES + 1))
    assert mistake == "file: larger than 1,048,576 bytes: not a set of machine checks"


def test_many_mistakes_are_not_all_printed() -> None:
    found = mistakes("CPU 0 TSC 1\n" + "FOO\nTSC\n" * 1000)
    assert len(found) == MAX_PROBLEMS + 1
    assert re.fullmatch(r"file:\d+: and \d+ more mistakes", found[-1])


MARKS = ["0", "1", "0xc0", "31", "89", "zz", *":<>{}!+#\n"]
WORDS = st.sampled_from([*sorted({*KEYWORDS, *STATUS_WORDS, *MCGSTATUS_WORDS}), *MARKS])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.one_of(st.lists(WORDS, max_size=40).map(" ".join), st.text(max_size=200), st.binary(max_size=200)))
@example("CPU 0 RIP 1:<2>{ CPU 1 HOLD")
def test_any_text_is_read_or_refused_with_a_line(text: str | bytes) -> None:
    try:
        found = read(text)
    except MceTextError as mistake:
        lines, found = str(mistake).split("\n"), []
        assert [line for line in lines if not re.match(r"file:\d+: .", line)] == []
    for record in found:
        assert 0 <= record.bank < 32
        assert all(
            0 <= value < 1 << 64 for value in (record.status, record.mcgstatus, record.addr, record.misc)
        )


SOME = st.integers(0, (1 << 64) - 1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 63), st.integers(0, 31), SOME, SOME, SOME, SOME)
def test_what_mce_inject_dumps_is_read_back(
    cpu: int, bank: int, status: int, mcg: int, addr: int, misc: int
) -> None:
    """--dump prints STATUS last but one, so that ADDR and MISC leave no bit of their own."""
    text = (
        f"CPU {cpu}\nBANK {bank}\nTSC 0x0\nTIME 0\nRIP 0x00:0x0\nMISC {misc:#x}\nADDR {addr:#x}\n"
        f"STATUS {status:#x}\nMCGSTATUS {mcg:#x}\nPROCESSOR 0:0x0\n\n"
    )
    record = one(text)
    assert (record.cpu, record.bank, record.status) == (cpu, bank, status)
    assert (record.mcgstatus, record.addr, record.misc) == (mcg, addr, misc)


def test_no_keyword_can_be_mistaken_for_a_number() -> None:
    every = {*FIELDS, *KEYWORDS, *STATUS_WORDS, *MCGSTATUS_WORDS}
    assert [word for word in every if set(word) <= set(string.hexdigits)] == []
