"""The line about bad pages in /proc/meminfo (fs/proc/meminfo.c)."""

from __future__ import annotations

MEMINFO_FORMATS: dict[str, str] = {
    "BadPages": "BadPages:       %8d kB",
    "HWPoison": "HWPoison:       %8d kB",
    "HardwareCorrupted": "HardwareCorrupted: %5d kB",
}


def meminfo_proc_show(name: str, mce_bad_pages: int) -> str:
    """The line with the name that the kernel gives it; 4 KiB pages are turned into kB."""
    return MEMINFO_FORMATS[name] % (mce_bad_pages << 2)
