"""The fate of the machine: what mce-test expects of 2.6.32, and what a modern kernel does with the same.

The expectations are those of mce-test (Huang Ying; cases/soft-inj): panic text, reason, and whether the
rendezvous timed out.
"""

from __future__ import annotations

from itertools import product

import pytest

from hwsim.hardware.mce_inject import parse_mce
from hwsim.hardware.mce_record import Record
from hwsim.kernel.machine_checks import Severity
from hwsim.kernel.mce.do_machine_check import HANDLING, Fate, Forced
from hwsim.kernel.mce.inject import Played, play_mce

FINE = "MCGSTATUS RIPV EIPV MCIP\n"
KERNEL_RIP, USER_RIP = "RIP 0x10:0xdeadbabe\n", "RIP 0x73:0x1eadbabe\n"
PAGE = "ADDR 0x12345000\nMISC 0x8c\n"
ON_THIS_CPU = "Fatal machine check on current CPU"
FATAL, UNKNOWN = "Fatal Machine check", "Machine check from unknown source"
NOT_ALL = "Timeout: Not all CPUs entered broadcast exception handler"
MODERN = {FATAL: "Fatal machine check", UNKNOWN: "Fatal machine check from unknown source"}
PCC, NO_RIPV = "Processor context corrupt", "In kernel and no restart IP"


def play(text: str, kernel: str = "2.6.32", *, ser: bool = True, tolerant: int = 1) -> Played:
    return play_mce(parse_mce(text, "text", banks=32), HANDLING[kernel], ser=ser, tolerant=tolerant)


def grades(played: Played) -> list[tuple[str, str]]:
    return [(each.grade.severity.name, each.grade.reason) for each in played.records]


PANICS = {
    "fatal": ("CPU 0 BANK 2\nMCGSTATUS MCIP\nSTATUS FATAL\n" + KERNEL_RIP, FATAL, PCC, False),
    "fatal in irq": ("CPU 0\nSTATUS fatal\nRIP 12343434\nMISC 11\nIN_IRQ", FATAL, PCC, False),
    "fatal over": ("CPU 0 BANK 4\nMCGSTATUS MCIP\nSTATUS FATAL OVER", FATAL, PCC, False),
    "fatal ripv": ("CPU 0 BANK 4\nMCGSTATUS RIPV MCIP\nSTATUS FATAL", FATAL, PCC, False),
    "fatal no en": ("CPU 1 BANK 2\nMCGSTATUS MCIP\nSTATUS UC VAL PCC", UNKNOWN, None, False),
    "fatal timeout": (
        "CPU 0 BANK 4\nMCGSTATUS MCIP\nSTATUS FATAL\nMISC 0xb\nHOLD\nCPU 1 BANK 0\nNOBROADCAST",
        ON_THIS_CPU, PCC, True,
    ),
    "fatal severity": (
        f"CPU 0 BANK 3\n{FINE}STATUS UNCORRECTED\nMISC 5\nHOLD\n\nCPU 1 BANK 1\nMCGSTATUS MCIP\nSTATUS FATAL",
        FATAL, PCC, False,
    ),
    "uncorrected": (
        f"CPU 0 BANK 2\nSTATUS UNCORRECTED\nMCGSTATUS EIPV MCIP\n{KERNEL_RIP}", FATAL, NO_RIPV, False,
    ),
    "uncorrected timeout": (
        f"CPU 0 BANK 2\nSTATUS UNCORRECTED\nMCGSTATUS EIPV MCIP\n{KERNEL_RIP}NOBROADCAST",
        ON_THIS_CPU, NO_RIPV, True,
    ),
    "no mcip": (
        "CPU 0 BANK 2\nSTATUS UNCORRECTED\nMCGSTATUS RIPV", FATAL, "MCIP not set in MCA handler", False,
    ),
    "no mcip timeout": (
        "CPU 0 BANK 2\nSTATUS UNCORRECTED\nMCGSTATUS RIPV\nNOBROADCAST",
        ON_THIS_CPU, "MCIP not set in MCA handler", True,
    ),
    "no eripv": (
        "CPU 0 BANK 2\nSTATUS UNCORRECTED\nMCGSTATUS MCIP", FATAL, "Neither restart nor error IP", False,
    ),
    "s0 ar1": (
        f"CPU 0 BANK 2\nSTATUS UNCORRECTED AR\n{FINE}{USER_RIP}",
        FATAL, "Illegal combination (UCNA with AR=1)", False,
    ),
    "srar over": (
        f"CPU 0 BANK 2\nSTATUS UNCORRECTED SRAR OVER 0x134\n{FINE}{USER_RIP}",
        FATAL, "Action required with lost events", False,
    ),
    "srar unknown": (
        f"CPU 0 BANK 2\nSTATUS UNCORRECTED SRAR\n{FINE}{USER_RIP}",
        FATAL, "Action required; unknown MCACOD", False,
    ),
    "srao no ripv": (
        f"CPU 0 BANK 2\nSTATUS UNCORRECTED SRAO 0xc0\nMCGSTATUS MCIP\n{PAGE}",
        FATAL, "Neither restart nor error IP", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PANICS)
def test_it_panics_as_mce_test_says(name: str) -> None:
    text, message, reason, timeout = PANICS[name]
    fate = play(text).fate
    assert (fate.panic, fate.message, fate.reason) == (True, message, reason)
    assert fate.rendezvous_timeout is timeout
    assert fate.signals == []


@pytest.mark.parametrize("name", PANICS)
def test_a_modern_kernel_panics_too_and_any_timeout_is_a_panic(name: str) -> None:
    text, message, reason, timeout = PANICS[name]
    fate = play(text, "modern").fate
    assert fate.panic
    if timeout:
        assert fate.message == NOT_ALL
        assert fate.reason is None
    else:
        assert (
            fate.message
            == {FATAL: "Fatal machine check", UNKNOWN: "Fatal machine check from unknown source"}[message]
        )
        assert fate.reason == (reason.replace("; unknown", ": unknown") if reason else None)


OVERFLOWED = f"CPU 0 BANK 2\nSTATUS UNCORRECTED OVER\n{FINE}ADDR 0x1234\n{KERNEL_RIP}"


@pytest.mark.parametrize(("more", "message"), [("", FATAL), ("NOBROADCAST", ON_THIS_CPU)])
def test_without_ser_p_an_overflow_is_fatal(more: str, message: str) -> None:
    fate = play(OVERFLOWED + more, ser=False).fate
    assert (fate.message, fate.reason) == (message, "Overflowed uncorrected")
    assert fate.rendezvous_timeout is bool(more)


def test_a_corrected_error_on_another_cpu_changes_nothing() -> None:
    held = "CPU 1 BANK 1\nMCGSTATUS RIPV MCIP\nSTATUS CORRECTED\nEXCP\nHOLD\n\n"
    fate = play(held + OVERFLOWED, ser=False).fate
    assert (fate.message, fate.reason, fate.rendezvous_timeout) == (FATAL, "Overflowed uncorrected", False)


def test_a_held_record_that_polls_keeps_its_cpu_from_the_rendezvous() -> None:
    held = "CPU 1 BANK 1\nMCGSTATUS RIPV MCIP\nSTATUS CORRECTED\nHOLD\n\n"
    fate = play(held + OVERFLOWED, ser=False).fate
    assert (fate.message, fate.rendezvous_timeout) == (ON_THIS_CPU, True)
    assert fate.logged == 2


def srao(code: str = "0xc0", more: str = "") -> str:
    return f"CPU 0 BANK 8\nSTATUS UNCORRECTED SRAO {code}\n{FINE}{PAGE}{more}"


@pytest.mark.parametrize(("kernel", "code"), list(product(HANDLING, ("0xc0", "0xcf", "0x17a"))))
def test_action_optional_queues_the_page_and_goes_on(kernel: str, code: str) -> None:
    played = play(srao(code), kernel)
    assert played.fate == Fate(queued_pfns=[0x12345], logged=1)
    assert grades(played)[0][0] == "AO"


@pytest.mark.parametrize(
    "address", ["", "ADDR 0x12345000", "MISC 0x8c", "ADDR 0x12345000 MISC 0x8d", "ADDR 1 MISC 0xcc"]
)
def test_an_address_that_says_no_page_queues_none(address: str) -> None:
    text = f"CPU 0 BANK 8\nSTATUS UNCORRECTED SRAO 0xc0\n{FINE}{address}"
    assert play(text).fate == Fate(logged=1)


def test_action_optional_of_an_unknown_code_or_with_lost_events_is_only_logged() -> None:
    for text in (srao("0x999"), srao("OVER 0xc0")):
        played = play(text)
        assert played.fate == Fate(logged=1)
        assert grades(played)[0][0] == "SOME"
    assert play(srao("OVER 0xc0"), "modern").fate.queued_pfns == [0x12345]


def test_two_cpus_queue_two_pages() -> None:
    held = f"CPU 2 BANK 8\nSTATUS UNCORRECTED SRAO 0x17a\n{FINE}ADDR 0x777000\nMISC 0x8c\nHOLD\n"
    assert play(held + srao()).fate == Fate(queued_pfns=[0x12345, 0x777], logged=2)


def test_a_load_of_poison_by_a_program() -> None:
    text = f"CPU 0 BANK 1\nSTATUS UNCORRECTED SRAR 0x134\n{FINE}{PAGE}{USER_RIP}"
    old, new = play(text), play(text, "modern")
    assert grades(old) == [("UC", "Uncorrected")]
    assert old.fate == Fate(logged=1)
    assert grades(new) == [("AR", "Action required: data load error in a user process")]
    assert new.fate == Fate(queued_pfns=[0x12345], signals=[Forced(0, "SIGBUS", "BUS_MCEERR_AR")], logged=1)


def test_a_load_of_poison_by_the_kernel_panics_a_modern_one() -> None:
    text = f"CPU 0 BANK 1\nSTATUS UNCORRECTED SRAR 0x134\n{FINE}{PAGE}{KERNEL_RIP}"
    fate = play(text, "modern").fate
    assert (fate.message, fate.reason) == ("Fatal machine check", "Data load in unrecoverable area of kernel")


def test_a_missing_rip_is_the_kernel() -> None:
    text = f"CPU 0 BANK 1\nSTATUS UNCORRECTED SRAR 0x150\n{FINE}{PAGE}"
    assert play(text, "modern").fate.reason == "Instruction fetch error in kernel"


def test_an_nmi_finds_a_held_record_in_the_idle_loop_an_irq_gives_it_its_rip() -> None:
    held = f"CPU 1 BANK 1\nSTATUS UNCORRECTED SRAR 0x134\n{FINE}{PAGE}{USER_RIP}HOLD\n"
    assert play(held + srao(), "modern").fate.reason == "Data load in unrecoverable area of kernel"
    for words in ("IRQBROADCAST",):
        assert play(held + srao(more=words), "modern").fate.signals == [Forced(1, "SIGBUS", "BUS_MCEERR_AR")]
    in_process = held.replace("HOLD", "IN_PROC\nHOLD")
    # By a thread of its own: later injectors have one lock for all, and the two never meet.
    assert play(in_process + srao(), "2.6.32").fate.rendezvous_timeout is False
    modern = play(in_process + srao(), "modern").fate
    assert (modern.message, modern.rendezvous_timeout) == (NOT_ALL, True)


def test_a_local_machine_check_waits_for_nobody() -> None:
    words = "STATUS UNCORRECTED SRAR 0x134\nMCGSTATUS RIPV EIPV MCIP LMCES\n"
    text = f"CPU 0 BANK 1\n{words}{PAGE}{USER_RIP}NOBROADCAST"
    fate = play(text, "modern").fate
    assert not fate.panic
    assert not fate.rendezvous_timeout
    fate = play(text.replace(USER_RIP, KERNEL_RIP), "modern").fate
    assert (fate.message, fate.rendezvous_timeout) == ("Fatal local machine check", False)


def test_polling_logs_what_is_not_signalled() -> None:
    ucna = f"CPU 0 BANK 8\nSTATUS UNCORRECTED UCNA 0x90\n{FINE}{PAGE}POLL"
    assert play(ucna).fate == Fate(logged=1)
    assert play(ucna, "modern").fate == Fate(logged=1, queued_pfns=[0x12345])
    assert play(ucna, ser=False).fate == play(ucna, "modern", ser=False).fate == Fate()
    corrected = "CPU 0 BANK 1\nSTATUS CORRECTED\nADDR 0xabcd"
    for kernel in HANDLING:
        assert play(corrected, kernel).fate == Fate(logged=1)
        assert grades(play(corrected, kernel, ser=False)) == [("KEEP", "Corrected error")]
        assert play(srao(more="POLL"), kernel).fate == Fate()


def test_the_log_of_2_6_32_holds_32_records() -> None:
    many = "".join(f"CPU {n % 4} BANK {n % 8}\nSTATUS CORRECTED\n" for n in range(40))
    old, new = play(many).fate, play(many, "modern").fate
    assert (old.logged, old.dropped) == (32, 8)
    assert (new.logged, new.dropped) == (40, 0)


def test_tolerant() -> None:
    fatal, timeout = PANICS["fatal"][0], srao(more="NOBROADCAST")
    assert [play(fatal, tolerant=level).fate.panic for level in range(4)] == [True, True, True, False]
    found = [play(timeout, tolerant=level).fate for level in range(4)]
    assert [fate.panic for fate in found] == [True, False, False, False]
    assert found[0].message == "Timeout synchronizing machine check over CPUs"
    assert [fate.queued_pfns for fate in found] == [[], [0x12345], [0x12345], [0x12345]]
    odd = (
        "CPU 0\nSTATUS UC VAL\nMCGSTATUS MCIP\nNOBROADCAST"  # not enabled: no panic; no restart IP: a signal
    )
    assert [play(odd, tolerant=level).fate.signals for level in (1, 3)] == [
        [Forced(0, "SIGBUS", "SI_KERNEL")],
        [],
    ]


def test_a_bank_written_twice_holds_the_later_record() -> None:
    first = "CPU 1 BANK 1\nSTATUS FATAL\nMCGSTATUS MCIP\nHOLD\n"
    second = f"CPU 1 BANK 1\nSTATUS UNCORRECTED SRAO 0xc0\n{FINE}{PAGE}HOLD\n"
    played = play(first + second + "CPU 0 BANK 2\nSTATUS UNCORRECTED SRAO 0xc0\n" + FINE)
    assert not played.fate.panic
    assert [bool(each.fell_away) for each in played.records] == [True, False, False]
    assert played.fate.queued_pfns == [0x12345]
    played = play(first + second.replace("HOLD\n", ""))
    assert not played.fate.panic


def test_nothing_is_raised_after_a_panic_and_a_record_held_to_the_end_never() -> None:
    played = play(PANICS["fatal"][0] + "\n" + srao())
    assert played.fate.queued_pfns == []
    assert played.records[1].fell_away == "not raised: the machine had panicked"
    played = play(srao(more="HOLD"))
    assert played.fate == Fate()
    assert played.records[0].fell_away == "not raised: held, and no record came after it"


def test_the_machine_grows_to_the_cpus_that_are_named() -> None:
    assert play(srao()).machine.cpus == 4
    far = srao().replace("CPU 0", "CPU 63")
    assert play(far).machine.cpus == 64
    assert not play(far).fate.rendezvous_timeout


@pytest.mark.parametrize("kernel", HANDLING)
def test_every_severity_has_a_fate(kernel: str) -> None:
    """All combinations of the bits: a panic has a text, and no record graded PANIC is survived."""
    for bits in product((0, 1), repeat=9):
        val, over, uc, en, pcc, s, ar, ripv, eipv = bits
        status = sum(
            bit << at
            for bit, at in zip((val, over, uc, en, pcc, s, ar), (63, 62, 61, 60, 57, 56, 55), strict=True)
        )
        for ser, code, cs in product((True, False), (0, 0xC0, 0x134), (0x10, 0x73)):
            record = Record(
                1, 0, 1, status | code, ripv | eipv << 1 | 4, cs=cs, rip=0x1000, exception=True,
            )  # fmt: skip
            played = play_mce([record], HANDLING[kernel], ser=ser)
            assert played.fate.panic is (played.fate.message is not None)
            if played.records[0].grade.severity is Severity.PANIC:
                assert played.fate.panic


@pytest.mark.parametrize("rip", [KERNEL_RIP, USER_RIP])
def test_a_machine_that_never_panics_signals_only_whom_it_interrupted_in_user_mode(rip: str) -> None:
    """With tolerant 3 the kernel goes on without a restart IP; there is no task to be killed for it."""
    text = f"CPU 0 BANK 2\nSTATUS UNCORRECTED SRAR 0x134\nMCGSTATUS EIPV MCIP\n{PAGE}{rip}"
    signals = [Forced(0, "SIGBUS", "BUS_MCEERR_AR")] if rip == USER_RIP else []
    assert play(text, "modern", tolerant=3).fate.signals == signals
