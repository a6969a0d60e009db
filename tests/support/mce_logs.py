"""Machine checks printed as kernels and mcelog print them, with registers of our own."""

from __future__ import annotations

import pytest

from hwsim.hardware.mce_record import MceTextError
from hwsim.hardware.mce_text import MceText, read_mce

MARK = "mce: [Hardware Error]: "
DATA_LOAD = 0xBD80000000100134  # VAL UC EN MISCV ADDRV S AR, data load
TIMER = 0xBE00000000800400  # VAL UC EN MISCV ADDRV PCC, internal timer
CORRECTED = 0x8C00004000010090  # VAL MISCV ADDRV, memory read on channel 0
UCNA = 0xAC00000200A00091  # VAL UC MISCV ADDRV, memory read on channel 1
SCRUBBED = 0xBD000000001000C0  # VAL UC EN MISCV ADDRV S, scrub
USER, KERNEL = (0x33, 0x401A2C), (0x10, 0xFFFFFFFF8146A5C1)
ICE_LAKE, CASCADE_LAKE = "0:606a6", "0:50657"
EARLY_S = 1_700_000_000


def kernel_lines(
    status: int,
    *,
    cpu: int = 1,
    bank: int = 1,
    mcg: int = 7,
    rip: tuple[int, int] | None = USER,
    tsc: int = 0x9A4C1B7E2F3,
    addr: int = 0x12345600,
    misc: int = 0x86,
    processor: str = ICE_LAKE,
    time_s: int = EARLY_S,
    mark: str = MARK,
    word: str | None = None,
) -> list[str]:
    """__print_mce() of 4.x and later; ``word`` for those before, which say Exception of everything."""
    said = (" Exception" if mcg & 4 else "") if word is None else word
    lines = [f"CPU {cpu}: Machine Check{said}: {mcg:x} Bank {bank}: {status:016x}"]
    if rip:
        inexact, symbol = "" if mcg & 2 else " !INEXACT!", "{intel_idle+0xb1/0x170}" if rip[0] == 0x10 else ""
        lines.append(f"RIP{inexact} {rip[0]:02x}:<{rip[1]:016x}> {symbol}")
    aux = f"TSC {tsc:x} " + (f"ADDR {addr:x} " if addr else "") + (f"MISC {misc:x} " if misc else "")
    lines += [aux, f"PROCESSOR {processor} TIME {time_s} SOCKET 0 APIC {cpu:x} microcode d000390"]
    return [mark + line for line in lines]


def polled_lines(status: int, **of: object) -> list[str]:
    """The same for what a poll found: MCIP clear, and no registers."""
    return kernel_lines(status, **{"mcg": 0, "rip": None, **of})


def panic_lines(
    message: str = "Fatal machine check", reason: str | None = None, mark: str = MARK
) -> list[str]:
    """The end of mce_panic()."""
    lines = [f"{mark}Machine check: {reason}"] if reason else []
    return [*lines, f"Kernel panic - not syncing: {message}"]


def mcelog_lines(
    status: int,
    *,
    cpu: int = 3,
    bank: int = 8,
    mcg: int = 0,
    tsc: int = 0,
    rip: tuple[int, int] | None = None,
    addr: int = 0x12345000,
    vendor: str = "Intel",
    number: int = 0,
) -> list[str]:
    """dump_mce() of mcelog, with some of what it says in words."""
    at = f"TSC {tsc:x} (upper bound, found by polled driver)" if tsc else ""
    lines = ["Hardware event. This is not a software error.", f"MCE {number}", f"CPU {cpu} BANK {bank} {at}"]
    if rip:
        lines.append(f"RIP {rip[0]:02x}:{rip[1]:x}")
    return [
        *lines, f"MISC 86 ADDR {addr:x} ", "TIME 1700000000 Tue Nov 14 22:13:20 2023", "MCG status:",
        "MCi status:", "Error enabled", "MCi_MISC register valid", "MCA: MEMORY CONTROLLER RD_CHANNEL0_ERR",
        "Transaction: Memory read error", f"STATUS {status:x} MCGSTATUS {mcg:x}",
        "MCGCAP 1c09 APICID 6 SOCKETID 0 ", f"CPUID Vendor {vendor} Family 6 Model 106 Step 6",
    ]  # fmt: skip


def text_of(*parts: list[str]) -> str:
    """Lines put together."""
    return "".join(line + "\n" for part in parts for line in part)


def read(text: str | bytes) -> MceText:
    """The log as a kernel of 64 banks has it."""
    return read_mce(text, "log", banks=64)


def mistakes(text: str | bytes) -> list[str]:
    """Why it is refused."""
    with pytest.raises(MceTextError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]
