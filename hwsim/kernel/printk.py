"""The kernel log: facts first, text later.

A line is kept as (time, format id, arguments) and rendered with the formats of the kernel's
profile when somebody asks.  Rate limits are applied then: reports that are counted, not played, write
their lines late, and only the whole log in order of time shows which of them a limit lets through.
"""

from __future__ import annotations

# DEFINE_RATELIMIT_STATE of mce_notify_irq(), mce.c of 2.6.32: (window in ns, lines in it).  The count of
# what was held back, which the kernel prints in its own line, is left out.
_RATELIMIT: dict[str, tuple[int, int]] = {"logged": (60_000_000_000, 2)}


class Printk:
    """Collects log facts of one machine; ``enabled`` False keeps only nothing at all."""

    __slots__ = ("enabled", "facts")

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.facts: list[tuple[int, str, tuple[int | str, ...]]] = []

    def render(self, formats: dict[str, tuple[int, str]]) -> list[tuple[int, int, str]]:
        """All lines as (time_ns, level, text)."""
        lines = []
        windows: dict[str, tuple[int, int]] = {}
        for time_ns, name, args in sorted(self.facts, key=_time):
            if name in _RATELIMIT and not _ratelimit(windows, name, time_ns):
                continue
            level, text = formats[name]
            lines.append((time_ns, level, text % args))  # the kernel too writes 0x0 for %#lx of zero
        return lines


def _ratelimit(windows: dict[str, tuple[int, int]], name: str, time_ns: int) -> bool:
    """__ratelimit(): whether a line may be printed; a window opens with the first line after the last one."""
    length_ns, burst = _RATELIMIT[name]
    begin_ns, printed = windows.get(name, (time_ns, 0))
    if time_ns > begin_ns + length_ns:
        begin_ns, printed = time_ns, 0
    windows[name] = (begin_ns, printed + 1)
    return printed < burst


def _time(fact: tuple[int, str, tuple[int | str, ...]]) -> int:
    return fact[0]
