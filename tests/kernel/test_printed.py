"""What becomes of the machine whose machine checks a log has, and whether the log says the same."""

from __future__ import annotations

from random import Random

import pytest

from hwsim.hardware.mce_text import read_mce
from hwsim.kernel.mce.do_machine_check import HANDLING, Bank, Fate, McePlatform, Regs, do_machine_check
from hwsim.kernel.mce.printed import PlayedBoot, play_text
from tests.oracles import oracle_mce as oracle
from tests.oracles.test_oracle_mce import one_record
from tests.support.mce_logs import (
    CASCADE_LAKE,
    CORRECTED,
    DATA_LOAD,
    EARLY_S,
    KERNEL,
    MARK,
    SCRUBBED,
    TIMER,
    UCNA,
    kernel_lines,
    mcelog_lines,
    panic_lines,
    polled_lines,
    text_of,
)

CORRUPT, IN_KERNEL = "Processor context corrupt", "Data load in unrecoverable area of kernel"
FATAL, UNKNOWN = "Fatal machine check", "Fatal machine check from unknown source"
TIMEOUT = "Timeout: Not all CPUs entered broadcast exception handler"


def play(*parts: list[str], kernel: str = "modern", **options: int) -> list[PlayedBoot]:
    text = read_mce(text_of(*parts), "log", banks=HANDLING[kernel].banks)
    found = play_text(text, HANDLING[kernel], **options)
    assert all(isinstance(each, PlayedBoot) for each in found)
    return found  # type: ignore[return-value]


def one(*parts: list[str], kernel: str = "modern", **options: int) -> PlayedBoot:
    (played,) = play(*parts, kernel=kernel, **options)
    return played


def grades(played: PlayedBoot) -> list[tuple[int, str, str]]:
    return [(each.record.cpu, each.grade.severity.name, each.fell_away) for each in played.records]


# Polled


def test_what_a_poll_found_is_never_raised() -> None:
    played = one(polled_lines(UCNA, addr=0x2A7B400C0))
    assert grades(played) == [(1, "UCNA", "")]
    assert played.fate == Fate(queued_pfns=[0x2A7B40], logged=1)
    assert played.verdict is None
    old = one(polled_lines(UCNA), kernel="2.6.32")
    assert ([each.grade.reason for each in old.records], old.fate) == (
        ["Spurious not enabled"],  # UC without EN: an exception would be "Not enabled"
        Fate(logged=1),
    )
    assert one(polled_lines(CORRECTED)).fate == one(mcelog_lines(CORRECTED)).fate == Fate(logged=1)


def test_the_first_poll_after_boot_takes_what_killed_the_boot_before() -> None:
    for kernel in HANDLING:
        played = one(polled_lines(TIMER, tsc=0), kernel=kernel)
        assert grades(played) == [(1, "PANIC", "")]
        assert played.fate == Fate(logged=1)
    assert one(polled_lines(SCRUBBED, tsc=0)).fate == Fate(queued_pfns=[0x12345], logged=1)


def test_skylakes_scrubber_is_believed() -> None:
    scrub = CORRECTED & ~0xFFFFFFFF | 0x001000C0
    assert one(polled_lines(scrub, bank=13, processor=CASCADE_LAKE)).fate.queued_pfns == [0x12345]
    assert one(polled_lines(scrub, bank=13)).fate.queued_pfns == []


# One rendezvous


def test_two_threads_of_one_core_are_one_event() -> None:
    records = [
        *kernel_lines(DATA_LOAD, cpu=1, mcg=5, rip=KERNEL),
        *kernel_lines(DATA_LOAD, cpu=19, rip=KERNEL),
    ]
    played = one(records, panic_lines(reason=IN_KERNEL))
    assert grades(played) == [(1, "KEEP", ""), (19, "PANIC", "")]
    assert (played.fate.message, played.fate.reason, played.agrees) == (FATAL, IN_KERNEL, True)
    assert played.fate.logged == 2


def test_all_banks_of_a_cpu_are_looked_at() -> None:
    records = [*kernel_lines(DATA_LOAD, bank=1), *kernel_lines(TIMER, bank=7)]
    for kernel in HANDLING:
        played = one(records, panic_lines(reason=CORRUPT), kernel=kernel)
        assert (played.fate.reason, played.fate.logged, played.agrees) == (CORRUPT, 2, True)
    both = [*kernel_lines(SCRUBBED, bank=8, addr=0x777000), *kernel_lines(DATA_LOAD, bank=1)]
    fate = one(both).fate
    assert (fate.queued_pfns, [signal.code for signal in fate.signals]) == (
        [0x12345, 0x777][::-1],
        ["BUS_MCEERR_AR"],
    )


def test_of_several_fatal_banks_the_first_is_named_when_others_are_late() -> None:
    regs = Regs(*KERNEL)
    banks = [
        Bank(1, number, status, 5, 0, 0, regs) for number, status in ((7, TIMER), (3, DATA_LOAD | 1 << 62))
    ]
    fate = Fate()
    do_machine_check(McePlatform(HANDLING["2.6.32"]), banks, 1, fate)
    assert (fate.message, fate.rendezvous_timeout) == ("Fatal machine check on current CPU", True)
    assert fate.reason == "Action required with lost events"


def test_a_local_machine_check_is_this_cpus_alone() -> None:
    played = one(
        kernel_lines(DATA_LOAD, mcg=0xF, rip=KERNEL), panic_lines("Fatal local machine check", IN_KERNEL)
    )
    assert (played.fate.message, played.agrees) == ("Fatal local machine check", True)
    fate = one(kernel_lines(DATA_LOAD, mcg=0xF)).fate
    assert (fate.queued_pfns, fate.rendezvous_timeout, fate.panic) == ([0x12345], False, False)
    # A local one on one CPU, and a broadcast that all join: each is met as what it is.
    both = one(kernel_lines(DATA_LOAD, cpu=2, mcg=0xF), kernel_lines(DATA_LOAD, cpu=3, addr=0x777000))
    assert sorted(both.fate.queued_pfns) == [0x777, 0x12345]


def test_addr_is_masked_to_a_physical_address_by_kernels_that_do() -> None:
    lines = kernel_lines(SCRUBBED, addr=0xC000000012345600)
    assert one(lines).fate.queued_pfns == [0x12345]
    assert one(lines, kernel="2.6.32").fate.queued_pfns == [0xC000000012345]
    keyed = kernel_lines(DATA_LOAD, addr=0x8000_1234_5600 | 3 << 50)
    assert one(keyed).fate.queued_pfns == [0xC800012345]
    assert one(keyed, phys_bits=46).fate.queued_pfns == [0x12345]
    assert one(polled_lines(UCNA, addr=0xC000000012345600)).fate.queued_pfns == [0x12345]


# The text's own verdict


@pytest.mark.parametrize(
    ("kernel", "message", "reason"),
    [
        ("modern", FATAL, CORRUPT), ("modern", "Fatal Machine check", CORRUPT), ("2.6.32", FATAL, CORRUPT),
        ("modern", FATAL, None), ("2.6.32", "Fatal Machine check", CORRUPT),
    ],
)  # fmt: skip
def test_it_agrees_whatever_the_kernels_spelling(kernel: str, message: str, reason: str | None) -> None:
    assert one(kernel_lines(TIMER), panic_lines(message, reason), kernel=kernel).agrees is True


def test_a_reason_whose_panic_is_cut_off_is_compared_too() -> None:
    lines = [*kernel_lines(TIMER), f"{MARK}Machine check: {CORRUPT}"]
    assert one(lines).agrees is True
    assert one([*lines[:-1], f"{MARK}Machine check: Uncorrected"]).agrees is False
    # What comes after it is another kernel's.
    assert [len(each.records) for each in play(lines, polled_lines(CORRECTED, cpu=3))] == [1, 1]


def test_it_differs() -> None:
    for message, reason in ((FATAL, IN_KERNEL), (UNKNOWN, None), ("Fatal local machine check", CORRUPT)):
        assert one(kernel_lines(TIMER), panic_lines(message, reason)).agrees is False
    assert one(kernel_lines(DATA_LOAD), panic_lines(FATAL, CORRUPT)).agrees is False


def test_kernels_word_some_reasons_otherwise() -> None:
    lines = [
        *kernel_lines(DATA_LOAD & ~0xFFFF | 0x999),
        *panic_lines(FATAL, "Action required; unknown MCACOD"),
    ]
    assert one(lines).agrees is True
    uncorrected = TIMER & ~(1 << 57)
    lines = [*kernel_lines(uncorrected, rip=KERNEL), *panic_lines(FATAL, "Uncorrected")]
    played = play_text(read_mce(text_of(lines), "log", banks=64), HANDLING["modern"], ser=False)[0]
    assert (played.fate.reason, played.agrees) == ("Uncorrected in kernel", True)  # type: ignore[attr-defined]


def test_a_fake_panic_is_a_verdict_and_no_end() -> None:
    lines = [*kernel_lines(TIMER), f"{MARK}Machine check: {CORRUPT}", f"{MARK}Fake kernel panic: {FATAL}"]
    assert one(lines).agrees is True


def test_a_text_that_goes_on_differs_from_a_panic() -> None:
    later = polled_lines(CORRECTED, cpu=2, time_s=EARLY_S + 60)
    played = one(kernel_lines(DATA_LOAD, rip=KERNEL), later)
    assert (played.agrees, played.goes_on) == (False, True)
    assert grades(played) == [(1, "PANIC", ""), (2, "KEEP", "not polled: the machine had panicked")]
    assert one(kernel_lines(DATA_LOAD), later).agrees is None
    end = [*kernel_lines(TIMER, cpu=3, time_s=EARLY_S + 90), *panic_lines(reason=CORRUPT)]
    played = one(kernel_lines(DATA_LOAD, rip=KERNEL), end)
    assert played.goes_on
    assert played.verdict is not None
    assert (played.verdict.reason, played.agrees) == (CORRUPT, False)


def test_a_verdict_without_its_record_is_not_made_up() -> None:
    played = one(panic_lines(reason=CORRUPT))
    assert (played.unknown, played.agrees, played.fate) == (True, None, Fate())
    played = one(polled_lines(CORRECTED), panic_lines(reason=CORRUPT))
    assert (played.unknown, played.agrees, played.fate) == (True, None, Fate(logged=1))


def test_nobody_saw_an_error() -> None:
    for kernel in HANDLING:
        played = one(panic_lines(UNKNOWN), kernel=kernel)
        assert (played.fate.panic, played.agrees, played.unknown) == (True, True, False)


def test_cpus_that_stayed_away_are_the_texts_to_say() -> None:
    missing = ["CPUs not responding to MCE broadcast (may include false positives): 3-5"]
    played = one(kernel_lines(DATA_LOAD), missing, panic_lines(TIMEOUT))
    assert (played.fate.message, played.fate.rendezvous_timeout, played.agrees) == (TIMEOUT, True, True)
    assert one(panic_lines(TIMEOUT)).agrees is True
    later = "Timeout: Monarch CPU unable to finish machine check processing"
    assert one(kernel_lines(DATA_LOAD), panic_lines(later)).fate.message == later
    assert one(kernel_lines(DATA_LOAD), panic_lines(TIMEOUT), kernel="2.6.32", tolerant=0).agrees is True
    old = [
        "Some CPUs didn't answer in synchronization",
        *panic_lines("Fatal machine check on current CPU", CORRUPT),
    ]
    assert one(kernel_lines(TIMER), old, kernel="2.6.32").agrees is True


def test_a_cpu_that_panics_for_itself_had_not_met_the_others() -> None:
    lines = [*kernel_lines(TIMER), *panic_lines("Fatal machine check on current CPU", CORRUPT)]
    assert one(lines, kernel="2.6.32").agrees is True
    played = one(lines)  # a modern kernel had panicked of the time-out
    assert (played.fate.message, played.agrees) == (TIMEOUT, False)


def test_pages_of_before_the_panic_were_fetched() -> None:
    early = polled_lines(UCNA, addr=0x777000, time_s=EARLY_S - 900)
    pending = polled_lines(UCNA, addr=0x888000, cpu=2)
    played = one(early, pending, kernel_lines(TIMER), panic_lines(reason=CORRUPT))
    assert (played.fate.queued_pfns, played.fetched) == ([0x777, 0x888], 1)
    untimed = mcelog_lines(UCNA, cpu=2, addr=0x888000, tsc=5)
    untimed = [each for each in untimed if not each.startswith(("TIME", "MCGCAP"))]
    played = one(untimed, kernel_lines(TIMER), panic_lines(reason=CORRUPT))
    assert (played.fate.queued_pfns, played.fetched) == ([0x888], 0)  # nobody knows when that was


def test_mcgcap_says_whether_the_cpus_have_mcg_ser_p() -> None:
    lines = mcelog_lines(CORRECTED)
    assert [each.grade.reason for each in one(lines).records] == ["Corrected error"]
    recovers = [line.replace("MCGCAP 1c09", "MCGCAP e000c1c") for line in lines]
    assert one(recovers).machine.ser is False
    recovers = [line.replace("MCGCAP 1c09", "MCGCAP 1000c1c") for line in lines]
    assert one(recovers).machine.ser is True
    assert one(recovers, ser=False).machine.ser is False


def test_another_panic_is_none_of_the_handlers() -> None:
    played = one(polled_lines(CORRECTED), ["Kernel panic - not syncing: Attempted to kill init!"])
    assert (played.verdict, played.fate) == (None, Fate(logged=1))
    played = one(kernel_lines(TIMER), panic_lines("Panicing machine check CPU died"))
    assert played.agrees is None


# What is taken for granted is said


def test_doubts() -> None:
    lines = kernel_lines(DATA_LOAD)
    no_rip = one([lines[0], *lines[2:]])
    assert no_rip.fate.panic
    assert ["no RIP line" in each for each in no_rip.doubts] == [True]
    assert one(kernel_lines(TIMER, rip=None)).doubts == []
    assert ["taken for Intel's" in each for each in one([*lines[:3], "usb 1-1: new"]).doubts] == [True]
    assert ["exception table" in each for each in one(kernel_lines(DATA_LOAD, rip=KERNEL)).doubts] == [True]
    assert one(kernel_lines(DATA_LOAD, rip=KERNEL), panic_lines(reason=IN_KERNEL)).doubts == []
    assert ["--kernel modern" in each for each in one(lines, kernel="2.6.32").doubts] == [True]
    assert one(kernel_lines(DATA_LOAD, mark="[Hardware Error]: "), kernel="2.6.32").doubts == []
    assert ["no poll of this kernel" in each for each in one(polled_lines(TIMER)).doubts] == [True]
    assert ["no TSC line" in each for each in one(polled_lines(CORRECTED)[:1]).doubts] == [False, True]


# Against the second model


def rendezvous(rng: Random) -> list[oracle.Record]:
    """One to three records of as many CPUs that take the exception at once."""
    cpus = rng.sample(range(4), rng.randint(1, 3))
    text = "\n".join(one_record(rng, cpu, False) for cpu in cpus)
    found = list(oracle.parse(text))
    for record in found:
        record.exception, record.flags = True, set()
        record.mcgstatus = (record.mcgstatus | oracle.MCIP) & ~oracle.LMCES
        if not record.status & oracle.ADDRV or not record.status & oracle.MISCV:
            record.addr = record.misc = 0
        if not record.regs.ip or not record.mcgstatus & 3:
            record.regs = oracle.Regs()  # and then the kernel prints none
    return found


@pytest.mark.parametrize("kernel", ["2.6.32", "modern"])
def test_what_is_printed_is_played_as_the_second_model_has_it(kernel: str) -> None:
    rng, panics = Random(20090603), 0
    for _ in range(400):
        records = rendezvous(rng)
        away = {record.cpu for record in records}
        blank = [
            oracle.Record(cpu, 0, 0, oracle.RIPV | oracle.MCIP, exception=True, in_text=False)
            for cpu in range(4)
            if cpu not in away
        ]
        theirs = oracle.Machine(kernel, True, 1, 4, records)
        try:
            theirs.raise_local([oracle.Cpu(each, each.regs, "nmi") for each in [*records, *blank]])
        except oracle.Panic as panic:
            theirs.panic, panics = panic, panics + 1
        lines = [
            line
            for each in records
            for line in kernel_lines(
                each.status, cpu=each.cpu, bank=each.bank, mcg=each.mcgstatus, addr=each.addr, misc=each.misc,
                rip=each.regs if each.regs.ip else None, processor="0:106a5",
            )
        ]  # fmt: skip
        fate = one(lines, kernel=kernel).fate
        assert fate.panic == (theirs.panic is not None), lines
        if theirs.panic:
            assert fate.message == theirs.panic.message, lines
            assert fate.reason in (theirs.panic.reason, *theirs.panic.alternatives), lines
        else:
            assert sorted(fate.queued_pfns) == sorted(theirs.pages), lines
            assert fate.logged == sum(record.logged for record in records), lines
    assert 100 < panics < 400
