"""The kernel log: facts first, text later.

A line is kept as (time, format id, arguments) and rendered with the formats of the kernel's
profile when somebody asks.  Rate limits are applied then: reports that are counted, not played, write
their lines late, and only the whole log in order of time shows which of them a limit lets through.
"""

from __future__ import annotations

from typing import Any

# DEFINE_RATELIMIT_STATE of mce_notify_irq(), mce.c of 2.6.32: (window in ns, lines in it).  The count of
# what was held back, which the kernel prints in its own line, is left out.
_RATELIMIT: dict[str, tuple[int, int]] = {"logged": (60_000_000_000, 2)}


class Printk:
    """Collects log facts of one machine; ``enabled`` False keeps only nothing at all."""

    __slots__ = ("enabled", "facts")

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.facts: list[tuple[int, str, tuple[Any, ...]]] = []

    def render(self, formats: dict[str, tuple[int, str]]) -> list[tuple[int, int, str]]:
        """All lines as (time_ns, level, text)."""
        lines = []
        windows: dict[str, tuple[int, int]] = {}
        for time_ns, name, args in sorted(self.facts, key=_time):
            if name in _RATELIMIT and not _ratelimit(windows, name, time_ns):
                continue
            level, text = formats[name]
            # Python has no "0x1234" for %#x with zero as C has; C prints a bare 0.
            lines.append((time_ns, level, text.replace("%#x", "%s") % _hex_args(text, args)))
        return lines


def _ratelimit(windows: dict[str, tuple[int, int]], name: str, time_ns: int) -> bool:
    """__ratelimit(): whether a line may be printed; a window opens with the first line after the last one."""
    length_ns, burst = _RATELIMIT[name]
    begin_ns, printed = windows.get(name, (time_ns, 0))
    if time_ns > begin_ns + length_ns:
        begin_ns, printed = time_ns, 0
    windows[name] = (begin_ns, printed + 1)
    return printed < burst


def _time(fact: tuple[int, str, tuple[Any, ...]]) -> int:
    return fact[0]


def _hex_args(text: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with each ``%#x`` one as C's ``%#lx`` prints it."""
    verbs = _verbs(text)
    return tuple(
        (f"{arg:#x}" if arg else "0") if verb == "%#x" else arg for verb, arg in zip(verbs, args, strict=True)
    )


def _verbs(text: str) -> list[str]:
    verbs = []
    at = text.find("%")
    while at >= 0:
        end = at + 1
        while text[end] in "#0123456789l":
            end += 1
        verbs.append(text[at : end + 1])
        at = text.find("%", end + 1)
    return verbs
