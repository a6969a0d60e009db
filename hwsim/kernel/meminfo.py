"""The line about bad pages in /proc/meminfo (fs/proc/meminfo.c)."""

from __future__ import annotations


def meminfo_proc_show(line: str, mce_bad_pages: int) -> str:
    """The line as the kernel has it; 4 KiB pages are turned into kB."""
    return line % (mce_bad_pages << 2)
