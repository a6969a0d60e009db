"""The bits of a machine-check bank (Intel SDM vol. 3B, "Machine-Check Architecture", IA32_MCi_STATUS)."""

from __future__ import annotations

VAL = 1 << 63
OVER = 1 << 62
UC = 1 << 61
EN = 1 << 60
MISCV = 1 << 59
ADDRV = 1 << 58
PCC = 1 << 57
S = 1 << 56
TES_YELLOW = 1 << 54  # threshold-based error status
AR = 1 << 55
MSCOD = 0xFFFF << 16
MCACOD = 0xFFFF

MCACOD_SCRUB = 0xC0  # memory controller: scrub, channel in the low four bits
MCACOD_SCRUB_MASK = 0xEFF0  # bit 12: corrected-error filtering
MCACOD_L3WB = 0x17A
MCACOD_DATA = 0x134
MCACOD_INSTR = 0x150
MCACOD_CODE = 0xEFFF

SER_P = 1 << 24  # IA32_MCG_CAP

RIPV = 1  # IA32_MCG_STATUS
EIPV = 2
MCIP = 4
LMCES = 8  # local machine check: signalled to this CPU only
TES_P = 1 << 11
SEAM_NR = 1 << 12  # met by a trust domain's guest, in SEAM non-root mode


def overwrite(first: int, second: int) -> tuple[int, bool]:
    """STATUS of a bank that holds ``first`` when ``second`` comes, and whether the second error stays.

    Intel SDM vol. 3B, tables 15-2 and 15-7: a corrected error gives way to any; an uncorrected one only to
    one whose context is corrupt (PCC), and of two of these the first stays.  Either way OVER is set; UC, S
    and AR are sticky.  ADDR and MISC are those of the error that stays.
    """
    if not first & VAL:
        return second, True
    stays = not first & UC or bool(second & PCC and not first & PCC)
    kept = second if stays else first
    return kept | OVER | (first | second) & (UC | S | AR), stays
