"""What a kernel's machine-check code is, as data: the table that grades a bank, and what it does otherwise.

A kernel's profile points at its own; what several kernels have is in ``kernel/mce``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, NamedTuple

Context = Literal["kernel", "kernel_recov", "user"]


class Severity(IntEnum):
    """The words of enum severity_level, in ascending order; UCNA came after 2.6.32."""

    NO = 0
    UCNA = 1
    KEEP = 2
    SOME = 3
    AO = 4
    UC = 5
    AR = 6
    PANIC = 7


class Row(NamedTuple):
    """``status & mask == result`` and ``mcgstatus & mcg_mask == mcg_result``; None: either."""

    severity: Severity
    reason: str
    mask: int = 0
    result: int = 0
    mcg_mask: int = 0
    mcg_result: int = 0
    ser: bool | None = None
    context: Context | None = None
    exception: bool | None = None  # graded in the handler, or by a poll
    skylake_x: bool = False  # of that CPU only, and of its memory controllers' banks


class Handling(NamedTuple):
    """How one kernel's machine-check code differs from that of others.

    ``severities``: its table, in order.  ``banks``: MAX_NR_BANKS.  ``log``: records that are kept until
    somebody reads them; 0: they are handed on at once.  ``tolerant``: the sysfs setting exists.  ``fatal``,
    ``unknown``, ``timeout``: what it says in a panic; the last is of a missed rendezvous, where it panics
    if ``tolerant`` is below ``timeout_panics_below``.  ``regs_first``: the saved instruction pointer is
    known when the banks are first graded, so that user mode is told from kernel mode.  ``local``: LMCE is
    known.  ``one_injector``: CPUs that raise an exception by themselves wait for each other to be done.
    ``recovers``: an action-required error in user mode is handed to memory_failure(), and errors without a
    signal are too when a poll finds them.  ``masks_addr``: of ADDR only the bits of a physical address
    count; others may hold the key of an encrypted page (MCI_ADDR_PHYSADDR of arch/x86/include/asm/mce.h in
    6.12 and 6.18; not in 6.1).
    """

    name: str
    severities: tuple[Row, ...]
    banks: int
    log: int
    tolerant: bool
    fatal: str
    unknown: str
    timeout: str
    timeout_panics_below: int
    regs_first: bool
    local: bool
    one_injector: bool
    recovers: bool
    masks_addr: bool
