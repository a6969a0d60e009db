"""How the kernel grades one bank at a machine check: an ordered table, first match wins.

2.6.32: arch/x86/kernel/cpu/mcheck/mce-severity.c.  modern: arch/x86/kernel/cpu/mce/severity.c of 6.18, the
table for Intel.  Texts are those printed after "Machine check:".

One row of 2.6.32 does not do what its text says: "Action required; unknown MCACOD" compares the whole
MCACOD with zero, so an action-required error with any code falls through to "Uncorrected".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hwsim.hardware.mce_banks import (
    ADDRV,
    AR,
    EIPV,
    EN,
    MCACOD,
    MCACOD_CODE,
    MCACOD_DATA,
    MCACOD_INSTR,
    MCACOD_L3WB,
    MCACOD_SCRUB,
    MCACOD_SCRUB_MASK,
    MCIP,
    MISCV,
    MSCOD,
    OVER,
    PCC,
    RIPV,
    SEAM_NR,
    UC,
    VAL,
    S,
)
from hwsim.kernel.machine_checks import Context, Row, Severity


class Grade(NamedTuple):
    """What the table says of one bank."""

    severity: Severity
    reason: str


_NO, _UCNA, _KEEP, _SOME, _AO, _UC, _AR, _PANIC = Severity
_UC_S, _UC_AR, _UC_S_AR, _ADDR = UC | S, UC | AR, UC | S | AR, ADDRV | MISCV
_RIPV_EIPV = RIPV | EIPV
_REQUIRED = OVER | _UC_S_AR | _ADDR | MCACOD_CODE  # what a known action-required error is compared in

_SCRUB = "Action optional: memory scrubbing error"
_L3WB = "Action optional: last level cache writeback error"

_FIRST_ROWS = (
    Row(_NO, "Invalid", VAL, 0),
    Row(_NO, "Not enabled", EN, 0, exception=True),
    Row(_PANIC, "Processor context corrupt", PCC, PCC),
    Row(_PANIC, "MCIP not set in MCA handler", mcg_mask=MCIP, exception=True),
    Row(_PANIC, "Neither restart nor error IP", mcg_mask=_RIPV_EIPV, exception=True),
    Row(_PANIC, "In kernel and no restart IP", mcg_mask=RIPV, context="kernel", exception=True),
)

ROWS_2_6_32 = (
    *_FIRST_ROWS,
    Row(_KEEP, "Corrected error", UC, 0, ser=False),
    Row(_SOME, "Spurious not enabled", OVER | UC | EN, UC, ser=True),
    Row(_KEEP, "Uncorrected no action required", _UC_S_AR, UC, ser=True),
    Row(_PANIC, "Illegal combination (UCNA with AR=1)", OVER | _UC_S_AR, _UC_AR, ser=True),
    Row(_KEEP, "Non signalled machine check", S, 0, ser=True),
    Row(_PANIC, "Action required with lost events", OVER | _UC_S_AR, OVER | _UC_S_AR, ser=True),
    Row(_PANIC, "Action required; unknown MCACOD", OVER | _UC_S_AR | MCACOD, _UC_S_AR, ser=True),
    Row(_AO, _SCRUB, OVER | _UC_S_AR | 0xFFF0, _UC_S | MCACOD_SCRUB, ser=True),
    Row(
        _AO, _L3WB, OVER | _UC_S_AR | MCACOD, _UC_S | MCACOD_L3WB,
        ser=True,
    ),
    Row(_SOME, "Action optional unknown MCACOD", OVER | _UC_S_AR, _UC_S, ser=True),
    Row(_SOME, "Action optional with lost events", OVER | _UC_S_AR, OVER | _UC_S, ser=True),
    Row(_PANIC, "Overflowed uncorrected", UC | OVER, UC | OVER),
    Row(_UC, "Uncorrected", UC, UC),
    Row(_SOME, "No match"),
)  # fmt: skip

ROWS_MODERN = (
    *_FIRST_ROWS,
    Row(_PANIC, "In kernel and no restart IP", mcg_mask=RIPV, context="kernel_recov", exception=True),
    Row(_KEEP, "Corrected error", UC, 0, ser=False),
    Row(
        _AO, _SCRUB, _UC_AR | MCACOD_SCRUB_MASK, UC | MCACOD_SCRUB, ser=True
    ),
    Row(
        _AO, _L3WB, _UC_AR | MCACOD_CODE, UC | MCACOD_L3WB,
        ser=True,
    ),
    Row(
        _AO, "Uncorrected Patrol Scrub Error", UC | _ADDR | MSCOD | MCACOD_SCRUB_MASK,
        _ADDR | 0x10 << 16 | MCACOD_SCRUB, ser=True, skylake_x=True,
    ),
    Row(_UCNA, "Uncorrected no action required", _UC_S_AR, UC, ser=True),
    Row(_PANIC, "Illegal combination (UCNA with AR=1)", OVER | _UC_S_AR, _UC_AR, ser=True),
    Row(_KEEP, "Non signaled machine check", S, 0, ser=True),
    Row(_PANIC, "Action required with lost events", OVER | _UC_S_AR, OVER | _UC_S_AR, ser=True),
    Row(
        _KEEP, "Action required but unaffected thread is continuable",
        OVER | _UC_S_AR | _ADDR, _UC_S_AR | _ADDR, _RIPV_EIPV, RIPV, ser=True,
    ),
    Row(
        _AR, "Action required: data load in error recoverable area of kernel",
        _REQUIRED, _UC_S_AR | _ADDR | MCACOD_DATA, ser=True, context="kernel_recov",
    ),
    Row(
        _AR, "Action required: data load error in a user process",
        _REQUIRED, _UC_S_AR | _ADDR | MCACOD_DATA, ser=True, context="user",
    ),
    Row(
        _AR, "Action required: instruction fetch error in a user process",
        _REQUIRED, _UC_S_AR | _ADDR | MCACOD_INSTR, ser=True, context="user",
    ),
    Row(
        _AR, "Data load error in SEAM non-root mode",
        _REQUIRED, _UC_S_AR | _ADDR | MCACOD_DATA, SEAM_NR, SEAM_NR, ser=True, context="kernel",
    ),
    Row(
        _AR, "Instruction fetch error in SEAM non-root mode",
        _REQUIRED, _UC_S_AR | _ADDR | MCACOD_INSTR, SEAM_NR, SEAM_NR, ser=True, context="kernel",
    ),
    Row(
        _PANIC, "Data load in unrecoverable area of kernel",
        _REQUIRED, _UC_S_AR | _ADDR | MCACOD_DATA, ser=True, context="kernel",
    ),
    Row(
        _PANIC, "Instruction fetch error in kernel",
        _REQUIRED, _UC_S_AR | _ADDR | MCACOD_INSTR, ser=True, context="kernel",
    ),
    Row(_PANIC, "Action required: unknown MCACOD", OVER | _UC_S_AR, _UC_S_AR, ser=True),
    Row(_SOME, "Action optional: unknown MCACOD", OVER | _UC_S_AR, _UC_S, ser=True),
    Row(_SOME, "Action optional with lost events", OVER | _UC_S_AR, OVER | _UC_S, ser=True),
    Row(_PANIC, "Overflowed uncorrected", OVER | UC, OVER | UC),
    Row(_PANIC, "Uncorrected in kernel", UC, UC, context="kernel"),
    Row(_UC, "Uncorrected", UC, UC),
    Row(_SOME, "No match"),
)  # fmt: skip


def is_skylake_x(cpuid: int) -> bool:
    """Family 6, model 85, stepping 4 or later: Skylake-SP, Cascade Lake, Cooper Lake."""
    family, model = cpuid >> 8 & 0xF, cpuid >> 12 & 0xF0 | cpuid >> 4 & 0xF
    return (family, model) == (6, 85) and cpuid & 0xF >= 4


def mce_severity(
    severities: Sequence[Row],
    status: int,
    mcgstatus: int,
    context: Context,
    *,
    ser: bool = True,
    exception: bool = True,
    tolerant: int = 1,
    panic_on_oops: bool = False,
    cpuid: int = 0,
    bank: int = 0,
) -> Grade:
    """What a kernel's table says of a bank with ``status`` under ``mcgstatus``, met in ``context``.

    ``ser``: the CPU has MCG_SER_P.  ``exception``: in the handler, not by a poll; 2.6.32 grades in the
    handler only, and of a polled bank this says what its STATUS alone would be graded.  ``tolerant`` and
    ``panic_on_oops`` are settings that 2.6.32 asks; later kernels have rows for the kernel instead.
    ``cpuid`` (leaf 1, EAX; 0: not known) and ``bank``: for the row of one CPU, whose patrol scrubber may
    report uncorrected errors by CMCI as if they were corrected.
    """
    scrubs = is_skylake_x(cpuid) and 13 <= bank <= 18
    row = next(
        row
        for row in severities
        if status & row.mask == row.result
        and mcgstatus & row.mcg_mask == row.mcg_result
        and row.ser in (None, ser)
        and row.context in (None, context)
        and row.exception in (None, exception)
        and scrubs >= row.skylake_x
    )
    if row.severity is Severity.UC and context == "kernel" and (panic_on_oops or tolerant < 1):
        return Grade(Severity.PANIC, row.reason)
    return Grade(row.severity, row.reason)
