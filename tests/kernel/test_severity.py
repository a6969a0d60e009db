"""The grading of banks: every row is reached, in both kernels, and the rows that people ask about."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from hwsim.hardware import mce_banks
from hwsim.hardware.mce_banks import ADDRV, AR, EIPV, EN, MCIP, MISCV, OVER, PCC, RIPV, SEAM_NR, UC, VAL, S
from hwsim.kernel.machine_checks import Severity
from hwsim.kernel.mce.severity import ROWS_2_6_32, ROWS_MODERN, mce_severity

SEVERITIES = {"2.6.32": ROWS_2_6_32, "modern": ROWS_MODERN}
BASE = VAL | EN
SRAO, SRAR = BASE | UC | S | ADDRV | MISCV, BASE | UC | S | AR | ADDRV | MISCV
FINE = RIPV | EIPV | MCIP


@pytest.mark.parametrize("kernel", SEVERITIES)
def test_every_row_can_be_reached_or_is_known_not_to(kernel: str) -> None:
    rows, reached = SEVERITIES[kernel], set()
    bits = (VAL, EN, UC, PCC, S, AR, OVER, ADDRV | MISCV)
    for choice in product((0, 1), repeat=len(bits)):
        plain = sum(bit for bit, on in zip(bits, choice, strict=True) if on)
        for code, mcg, ser in product(
            (0, 0xC3, 0x17A, 0x134, 0x150, 0x999), (*range(8), SEAM_NR | 7), (False, True)
        ):
            for context in ("kernel", "kernel_recov", "user"):
                for exception in sorted({True, kernel != "modern"}):  # 2.6.32 does not grade what it polls
                    ask: dict[str, Any] = {"ser": ser, "exception": exception}
                    reached.add(mce_severity(rows, plain | code, mcg, context, **ask).reason)
    scrub = VAL | EN | ADDRV | MISCV | 0x10 << 16 | 0xC0
    reached.add(mce_severity(rows, scrub, 0, "kernel", exception=False, cpuid=0x50654, bank=13).reason)
    missing = {row.reason for row in rows} - reached
    # With SER_P a bank without UC has S clear, and one with S set has UC: what is left is odd.
    assert missing == ({"Spurious not enabled"} if kernel == "2.6.32" else set())


def test_only_skylakes_memory_controllers_report_a_scrub_error_as_corrected() -> None:
    scrub = VAL | EN | ADDRV | MISCV | 0x10 << 16 | 0xC3
    ask: dict[str, Any] = {"exception": False, "cpuid": 0x50657, "bank": 18}
    found = mce_severity(ROWS_MODERN, scrub, 0, "kernel", **ask)
    assert found == (Severity.AO, "Uncorrected Patrol Scrub Error")
    for other in (
        {"cpuid": 0x50653},
        {"cpuid": 0x606A6},
        {"cpuid": 0},
        {"bank": 12},
        {"bank": 19},
        {"ser": False},
    ):
        assert mce_severity(ROWS_MODERN, scrub, 0, "kernel", **{**ask, **other}).severity is Severity.KEEP
    for status in (scrub | 1 << 16, scrub & ~ADDRV, scrub & ~MISCV):
        assert mce_severity(ROWS_MODERN, status, 0, "kernel", **ask).severity is Severity.KEEP
    assert mce_severity(ROWS_2_6_32, scrub, 0, "kernel", **ask).severity is Severity.KEEP


@pytest.mark.parametrize(
    ("status", "mcg", "context", "old", "new"),
    [
        (VAL | UC, FINE, "user", ("NO", "Not enabled"), ("NO", "Not enabled")),
        (SRAO | 0xC1, FINE, "kernel", ("AO", "Action optional: memory scrubbing error"), None),
        (
            SRAO | OVER | 0xC1, FINE, "kernel",
            ("SOME", "Action optional with lost events"), ("AO", "Action optional: memory scrubbing error"),
        ),
        (
            BASE | UC | 0xC1, FINE, "kernel",
            ("KEEP", "Uncorrected no action required"), ("AO", "Action optional: memory scrubbing error"),
        ),
        (
            BASE | UC | 0x90, FINE, "kernel",
            ("KEEP", "Uncorrected no action required"), ("UCNA", "Uncorrected no action required"),
        ),
        (
            SRAR, FINE, "user",
            ("PANIC", "Action required; unknown MCACOD"), ("PANIC", "Action required: unknown MCACOD"),
        ),
        (
            SRAR | 0x134, FINE, "user",
            ("UC", "Uncorrected"), ("AR", "Action required: data load error in a user process"),
        ),
        (
            SRAR | 0x134, FINE, "kernel",
            ("UC", "Uncorrected"), ("PANIC", "Data load in unrecoverable area of kernel"),
        ),
        (
            SRAR | 0x134, RIPV | MCIP, "user",
            ("UC", "Uncorrected"), ("KEEP", "Action required but unaffected thread is continuable"),
        ),
        (SRAR | OVER | 0x134, FINE, "user", ("PANIC", "Action required with lost events"), None),
        (BASE | UC | AR, FINE, "user", ("PANIC", "Illegal combination (UCNA with AR=1)"), None),
        (SRAO | 0xC1, MCIP, "kernel", ("PANIC", "Neither restart nor error IP"), None),
        (SRAO | 0xC1, EIPV | MCIP, "kernel", ("PANIC", "In kernel and no restart IP"), None),
        (SRAO | 0xC1, RIPV | EIPV, "kernel", ("PANIC", "MCIP not set in MCA handler"), None),
        (SRAO | PCC, 0, "user", ("PANIC", "Processor context corrupt"), None),
    ],
)  # fmt: skip
def test_cases(
    status: int, mcg: int, context: Any, old: tuple[str, str], new: tuple[str, str] | None
) -> None:
    for kernel, (severity, reason) in (("2.6.32", old), ("modern", new or old)):
        grade = mce_severity(SEVERITIES[kernel], status, mcg, context)
        assert (grade.severity.name, grade.reason) == (severity, reason), kernel


def test_without_recovery_the_rows_of_recovery_do_not_count() -> None:
    for rows in SEVERITIES.values():
        assert mce_severity(rows, SRAR | 0x134, FINE, "user", ser=False).reason == "Uncorrected"
        assert mce_severity(rows, BASE, FINE, "user", ser=False).reason == "Corrected error"
        assert (
            mce_severity(rows, BASE | UC | OVER, FINE, "user", ser=False).reason == "Overflowed uncorrected"
        )


def test_uncorrected_in_the_kernel() -> None:
    """2.6.32 leaves it to tolerant and panic_on_oops; later kernels panic."""
    ask: dict[str, Any] = {"status": BASE | UC, "mcgstatus": FINE, "context": "kernel", "ser": False}
    assert mce_severity(ROWS_2_6_32, **ask).severity is Severity.UC
    assert mce_severity(ROWS_2_6_32, **ask, tolerant=0).severity is Severity.PANIC
    assert mce_severity(ROWS_2_6_32, **ask, panic_on_oops=True).severity is Severity.PANIC
    assert mce_severity(ROWS_MODERN, **ask) == (Severity.PANIC, "Uncorrected in kernel")
    assert mce_severity(ROWS_MODERN, **{**ask, "context": "user"}) == (Severity.UC, "Uncorrected")


def test_bits_are_those_of_the_sdm() -> None:
    """Intel SDM vol. 3B, "Machine-Check Architecture": IA32_MCi_STATUS, IA32_MCG_STATUS, IA32_MCG_CAP."""
    status = ("VAL", "OVER", "UC", "EN", "MISCV", "ADDRV", "PCC", "S", "AR", "TES_YELLOW")
    assert [getattr(mce_banks, name) for name in status] == [
        1 << bit for bit in (63, 62, 61, 60, 59, 58, 57, 56, 55, 54)
    ]
    globals_ = ("RIPV", "EIPV", "MCIP", "LMCES", "SEAM_NR")
    assert [getattr(mce_banks, name) for name in globals_] == [1 << bit for bit in (0, 1, 2, 3, 12)]
    assert mce_banks.TES_P == 1 << 11


@pytest.mark.parametrize("context", ["kernel", "kernel_recov"])
def test_no_restart_ip_in_the_kernel_is_a_panic_even_where_an_exception_table_helps(context: Any) -> None:
    """A copy from user space can be recovered, but not without a place to go on."""
    ask: dict[str, Any] = {"ser": True, "exception": True}
    found = mce_severity(ROWS_MODERN, SRAR | 0x134, EIPV | MCIP, context, **ask)
    assert (found.severity, found.reason) == (Severity.PANIC, "In kernel and no restart IP")
