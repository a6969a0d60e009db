"""Corrected errors on their way to a log: the poll timer, CMCI and its storms, the buffer of 32, the bank."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsim.hardware.mce_banks import ADDRV, AR, EN, MISCV, OVER, PCC, UC, VAL, S, overwrite
from hwsim.kernel.machine_checks import Severity
from hwsim.kernel.mce.cmci import interrupted
from hwsim.kernel.mce.do_machine_check import HANDLING
from hwsim.kernel.mce.mcelog import kept_share
from hwsim.kernel.mce.poll import CHECK_INTERVAL_NS, SHORTEST_NS, mcheck_timer, polled, steady
from hwsim.kernel.mce.severity import mce_severity
from hwsim.machine import run_replication
from hwsim.record import FaultRow
from hwsim.rng import binomial
from hwsim.spec import (
    CorrectedSpec,
    ErrorSpec,
    KernelPoolSpec,
    MachineSpec,
    RegionSpec,
    ScrubSpec,
    Spec,
    TaskSpec,
    Touch,
)
from tests.bad_lines.test_dram_faults import BASE, DAY, HOUR
from tests.oracles.corrected_errors import McelogBuffer, StormBank, interrupts, polls
from tests.support.worlds import NO_TIME

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


# -- the timer -------------------------------------------------------------------------------------------


def test_the_interval_halves_at_a_hit_and_doubles_at_none() -> None:
    assert mcheck_timer(CHECK_INTERVAL_NS, False) == CHECK_INTERVAL_NS == 5 * MINUTE
    assert mcheck_timer(CHECK_INTERVAL_NS, True) == 150 * SECOND
    assert mcheck_timer(15_000_000, True) == SHORTEST_NS == 10_000_000
    assert mcheck_timer(SHORTEST_NS, True) == SHORTEST_NS


def test_a_bank_holds_one_record_between_two_polls() -> None:
    """Three errors before the first poll, one after it, then silence."""
    seen = polls([10, 20, 30, 5 * MINUTE + 1], until_ns=40 * MINUTE)
    assert seen == [(5 * MINUTE, 3), (5 * MINUTE + 150 * SECOND, 1)]


RATES = (1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0)


def stream(rate_per_s: float, number: int, seed: int) -> list[int]:
    waits = np.random.default_rng(seed).exponential(1e9 / rate_per_s, number)
    return [int(time) for time in np.cumsum(waits)]


@pytest.mark.parametrize("rate", RATES)
def test_the_share_seen_by_polls_is_that_of_the_plain_way(rate: float) -> None:
    """60,000 errors with a fixed seed, after the first 20 minutes: the shares agree within 2 %."""
    times = stream(rate, 60_000, 7)
    settled = 20 * MINUTE
    read = sum(at >= settled for at, _ in polls(times, times[-1]))
    per_s = read / ((times[-1] - settled) / 1e9)
    assert per_s == pytest.approx(polled(rate).records_per_s, rel=0.02)


def test_rare_errors_are_all_seen_and_frequent_ones_hardly() -> None:
    assert polled(1e-6).records_per_s == pytest.approx(1e-6, rel=1e-3)
    assert polled(1e5).records_per_s == pytest.approx(100.0, rel=1e-3)  # one in ten milliseconds
    assert polled(0.0) == steady(0.0, 1.0) == interrupted(0.0, True) == (0.0, 0.0)


@pytest.mark.parametrize("rate", [0.001, 0.1, 2.0])
def test_how_often_a_record_waits_in_the_bank(rate: float) -> None:
    """The share of time, by the plain way, between the first error after a poll and the next poll."""
    times = np.array(stream(rate, 40_000, 3))
    waits = 0.0
    for at, errors in polls(times.tolist(), int(times[-1])):
        last = int(np.searchsorted(times, at))
        waits += at - times[last - errors]
    assert waits / times[-1] == pytest.approx(polled(rate).taken, rel=0.05)


# -- CMCI and storms ----------------------------------------------------------------------------------------


def test_a_storm_begins_with_five_errors_in_the_history_and_ends_after_thirty_empty_polls() -> None:
    bank = StormBank()
    told = [bank.mce_track_storm(100 * SECOND + each, True) for each in range(5)]  # within nanoseconds
    assert told == ["", "", "", "", "begin"]
    polled_at = [101 * SECOND + n * SECOND for n in range(31)]
    told = [bank.mce_track_storm(at, n == 0) for n, at in enumerate(polled_at)]
    assert told == [""] * 30 + ["end"]
    assert (bank.history, bank.in_storm_mode) == (0, False)


@pytest.mark.parametrize(("apart_s", "storm"), [(1, True), (14.9, True), (15, False), (100, False)])
def test_five_errors_must_fall_into_the_64_bits(apart_s: float, storm: bool) -> None:
    """An error shifts the history by the seconds since the last one, and one more: four times 16 are 64."""
    bank = StormBank()
    told = [bank.mce_track_storm(int((100 + n * apart_s) * 1e9), True) for n in range(5)]
    assert ("begin" in told) is storm


def test_interrupts_read_every_error_until_a_storm_and_then_one_a_second() -> None:
    calm = [n * 100 * SECOND for n in range(1, 20)]
    assert interrupts(calm, 3_000 * SECOND) == calm
    burst = [n * 1_000_000 for n in range(1, 2_001)]  # a thousand a second for two seconds
    assert interrupts(burst, 60 * SECOND) == [*burst[:5], burst[4] + SECOND, burst[4] + 2 * SECOND]
    after = [*burst, 40 * SECOND]  # 30 polls later the bank is calm again
    assert interrupts(after, 60 * SECOND)[-1] == 40 * SECOND


@pytest.mark.parametrize("rate", [*RATES, 0.02, 0.05, 0.3])
def test_the_share_seen_in_storms_is_that_of_the_plain_way(rate: float) -> None:
    times = stream(rate, 60_000, 11)
    per_s = len(interrupts(times, times[-1])) / (times[-1] / 1e9)
    assert per_s == pytest.approx(interrupted(rate, True).records_per_s, rel=0.02)
    assert interrupted(rate, False) == (rate, 0.0)


def _time_in_storms(times: list[int]) -> float:
    """The share, by the plain way: from the fifth error within the history to the end of 30 empty polls."""
    bank, number, storms_ns = StormBank(), 0, 0
    while number < len(times):
        begin, number = times[number], number + 1
        poll = begin
        if not bank.mce_track_storm(begin, True):
            continue
        while bank.in_storm_mode and number < len(times):
            poll, first = poll + SECOND, number
            while number < len(times) and times[number] < poll:
                number += 1
            bank.mce_track_storm(poll, number > first)
        storms_ns += poll - begin
    return storms_ns / times[-1]


@pytest.mark.parametrize(("rate", "within"), [(0.05, 0.2), (0.1, 0.02), (0.2, 0.005)])
def test_the_time_spent_in_storms_is_that_of_the_plain_way(rate: float, within: float) -> None:
    """60,000 errors with a fixed seed; the closed form is exact for frequent errors, too long in between."""
    found = interrupted(rate, True).taken / steady(rate, 1.0).taken
    assert found == pytest.approx(_time_in_storms(stream(rate, 60_000, 11)), rel=within)


def test_a_storm_leaves_records_in_the_bank_for_a_while() -> None:
    assert interrupted(50.0, True) == steady(50.0, 1.0)
    assert 0.9 < interrupted(50.0, True).taken < 1.0
    assert interrupted(0.01, True).taken < 1e-3


# -- the log ----------------------------------------------------------------------------------------------


def test_the_log_keeps_the_first_32_and_says_that_it_overflowed() -> None:
    log = McelogBuffer()
    assert [log.mce_log(n) for n in range(34)] == [True] * 32 + [False] * 2
    assert log.overflow
    assert log.mce_read() == list(range(32))
    assert not log.overflow
    assert log.mce_log("next")


@pytest.mark.parametrize("per_read", [2.0, 20.0, 32.0, 50.0, 300.0, 1000.0])
def test_the_share_that_a_reader_gets(per_read: float) -> None:
    counts = np.random.default_rng(5).poisson(per_read, 200_000)
    kept = np.minimum(counts, 32).sum() / counts.sum()
    assert kept_share(per_read / 3600.0, 3600.0) == pytest.approx(kept, rel=0.01)
    assert kept_share(per_read, 0.0) == 1.0


# -- a bank that is written twice ----------------------------------------------------------------------------

CE = VAL | EN
UCNA, SRAO, SRAR, FATAL = CE | UC, CE | UC | S, CE | UC | S | AR, CE | UC | PCC


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (CE, CE, "second"), (CE, UCNA, "second"), (CE, SRAO, "second"), (CE, SRAR, "second"),
        (CE, FATAL, "second"), (UCNA, CE, "first"), (SRAO, CE, "first"), (SRAR, CE, "first"),
        (FATAL, CE, "first"), (UCNA, UCNA, "first"), (UCNA, SRAO, "first"), (UCNA, SRAR, "first"),
        (SRAO, UCNA, "first"), (SRAO, SRAO, "first"), (SRAO, SRAR, "first"), (SRAR, UCNA, "first"),
        (SRAR, SRAO, "first"), (SRAR, SRAR, "first"), (UCNA, FATAL, "second"), (SRAR, FATAL, "second"),
        (FATAL, SRAO, "first"), (FATAL, FATAL, "first"),
    ],
)  # fmt: skip
def test_which_error_a_bank_keeps(first: int, second: int, kept: str) -> None:
    """Intel SDM vol. 3B, tables 15-2 and 15-7."""
    one, other = first | ADDRV | 0x90, second | MISCV | 0xC0
    status, second_stays = overwrite(one, other)
    assert second_stays is (kept == "second")
    assert status & OVER
    stays = other if second_stays else one
    assert status & (ADDRV | MISCV | 0xFFFF) == stays & (ADDRV | MISCV | 0xFFFF)
    assert status & (S | AR) == (first | second) & (S | AR)  # sticky
    assert status & UC == (first | second) & UC


def test_a_bank_that_is_free_keeps_the_error_as_it_is() -> None:
    assert overwrite(0, SRAO) == (SRAO, True)


@pytest.mark.parametrize("first", [CE, UCNA, SRAO])
@pytest.mark.parametrize("kernel", ["2.6.32", "modern"])
def test_a_find_on_top_of_an_unread_record_is_lost_events(kernel: str, first: int) -> None:
    """Why bank:overflow loses a report: 2.6.32 queues nothing for it; later kernels do not ask for OVER."""
    status, _ = overwrite(first | 0x90, SRAO | ADDRV | MISCV | 0xC0)
    grade = mce_severity(HANDLING[kernel].severities, status, 5, "user")
    if kernel == "modern" and status & 0xFFFF == 0xC0:
        assert grade.severity is Severity.AO
    else:
        assert (grade.severity, grade.reason) == (Severity.SOME, "Action optional with lost events")


# -- in a machine ------------------------------------------------------------------------------------------


def faults(corrected: CorrectedSpec, ce_per_s: float, index: int = 0) -> list[FaultRow]:
    """Every read of a faulty line shows it, and the kernel reads each line so often."""
    dram = replace(BASE, rates=(("bit", 0.0, 1.0, None),), show=1.0, show_sigma=0.0)
    machine = MachineSpec(256, scrub=ScrubSpec(None), times=NO_TIME, corrected=corrected)
    slab = KernelPoolSpec("slab", 256, load_per_s=64 * ce_per_s)  # a load reads one of 64 lines
    spec = Spec("corrected", 20 * DAY, 5, 1, machine, (ErrorSpec(5e-6, dram=dram),), pools=(slab,))
    return run_replication(spec, index).faults


@pytest.mark.parametrize(
    "how",
    [CorrectedSpec(), CorrectedSpec("poll"), CorrectedSpec("CMCI", True), CorrectedSpec("poll", False, HOUR)],
)
def test_records_of_a_machine_are_the_share_that_the_kernel_sees(how: CorrectedSpec) -> None:
    rate = 0.5
    seen = polled(rate) if how.signals == "poll" else interrupted(rate, how.storms)
    kept = kept_share(seen.records_per_s, how.mcelog_ns * 1e-9)
    found = faults(how, rate)
    assert len(found) > 3
    for fault in found:
        assert 0 <= fault.dropped <= fault.records <= fault.corrected
        assert fault.records == pytest.approx(fault.corrected * seen.records_per_s / rate, rel=0.03)
        assert fault.records - fault.dropped == pytest.approx(fault.records * kept, rel=0.05)


def test_how_they_are_reported_changes_no_fault() -> None:
    plain = [row[:17] for row in faults(CorrectedSpec(), 0.1)]
    assert [row[:17] for row in faults(CorrectedSpec("poll", False, HOUR), 0.1)] == plain


def test_an_unread_corrected_error_spoils_a_find_when_banks_are_polled() -> None:
    """Corrected faults and rows that are lost, in one world; only the way of reporting differs."""
    dram = replace(BASE, rates=(("bit", 0.0, 6.0, None), ("row", 0.0, 1.0, None)), show=1.0, show_sigma=0.0)
    heap = RegionSpec("heap", "anon", 120, (Touch(1.0, load_per_s=30.0),), lines_per_touch=64.0)
    lost = {}
    for signals in ("CMCI", "poll"):
        machine = MachineSpec(256, scrub=ScrubSpec(HOUR), times=NO_TIME, corrected=CorrectedSpec(signals))
        app = TaskSpec("app", 1, regions=(heap,))
        spec = Spec("bank", 20 * DAY, 8, 1, machine, (ErrorSpec(2e-5, dram=dram),), tasks=(app,))
        lost[signals] = [run_replication(spec, n).row.ring_lost for n in range(8)]
    assert sum(lost["CMCI"]) == 0
    assert sum(lost["poll"]) > 10


@pytest.mark.parametrize(
    ("n", "p"), [(10, 0.3), (1000, 0.01), (1000, 0.99), (400, 0.5), (1000, 0.9), (100_000, 0.4), (7, 1.0)]
)
def test_binomial_counts(n: int, p: float) -> None:
    us = (np.arange(4000) + 0.5) / 4000
    counts = np.array([binomial(float(u), n, p) for u in us])
    assert counts.min() >= 0
    assert counts.max() <= n
    assert (np.diff(counts) >= 0).all()
    assert counts.mean() == pytest.approx(n * p, abs=0.02 * (n * p * (1 - p)) ** 0.5 + 1e-9)
    assert counts.std() == pytest.approx((n * p * (1 - p)) ** 0.5, rel=0.03, abs=1e-9)
