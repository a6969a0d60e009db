"""What the error code of a machine check says: bits 15 to 0 of IA32_MCi_STATUS.

Intel SDM vol. 3B, "Interpreting the MCA Error Codes": simple codes, and compound ones whose bits name the
transaction, the level of the cache, the request or the channel.  Bit 12 is no part of the code.
"""

from __future__ import annotations

from hwsim.hardware.mce_banks import ADDRV, AR, EN, MCACOD, MISCV, OVER, PCC, UC, VAL, S

_BITS = (
    ("VAL", VAL), ("OVER", OVER), ("UC", UC), ("EN", EN), ("MISCV", MISCV), ("ADDRV", ADDRV), ("PCC", PCC),
    ("S", S), ("AR", AR),
)  # fmt: skip
_SIMPLE = {
    0x0: "no error", 0x1: "unclassified", 0x2: "microcode ROM parity", 0x3: "external error",
    0x4: "functional redundancy check", 0x5: "internal parity", 0x6: "SMM handler code access violation",
    0x400: "internal timer", 0xE0B: "I/O error",
}  # fmt: skip
_MEMORY = ("request", "read", "write", "command or address", "scrub", "reserved", "reserved", "reserved")
_REQUEST = (
    "error", "read", "write", "data read", "data write", "instruction fetch", "prefetch", "eviction", "snoop",
)  # fmt: skip
_TYPE = ("instruction", "data", "generic", "reserved")
_LEVEL = ("level 0", "level 1", "level 2", "generic level")


def status_bits(status: int) -> str:
    """The names of the flags that are set, high to low."""
    return " ".join(name for name, bit in _BITS if status & bit)


def error_code(status: int) -> str:
    """The error code in words, such as "memory read, channel 0"."""
    code = status & MCACOD & ~(1 << 12)
    level, kind, low = _LEVEL[code & 3], _TYPE[code >> 2 & 3], code & 0xF
    request = _REQUEST[code >> 4 & 0xF] if code >> 4 & 0xF < len(_REQUEST) else "reserved request"
    if code in _SIMPLE:
        return _SIMPLE[code]
    if code & 0xFC00 == 0x400:
        return "internal unclassified"
    if code & 0xFFFC == 0xC:
        return f"cache hierarchy, {level}"
    if code & 0xFFF0 == 0x10:
        return f"TLB, {kind}, {level}"
    if code & 0xFF80 in (0x80, 0x280):
        where = "channel not said" if low == 0xF else f"channel {low}"
        what = "memory" if code & 0xFF80 == 0x80 else "memory used as cache,"
        return f"{what} {_MEMORY[code >> 4 & 7]}, {where}"
    if code & 0xFF00 == 0x100:
        return f"cache {request}, {level}"
    if code & 0xF800 == 0x800:
        return f"bus or interconnect, {request}"
    return "a code of this model"
