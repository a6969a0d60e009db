"""The kernel log: facts first, text later.

A line is kept as (time, format id, arguments) and rendered with the formats of the kernel's
profile when somebody asks.
"""

from __future__ import annotations

from typing import Any


class Printk:
    """Collects log facts of one machine; ``enabled`` False keeps only nothing at all."""

    __slots__ = ("enabled", "facts")

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.facts: list[tuple[int, str, tuple[Any, ...]]] = []

    def render(self, formats: dict[str, tuple[int, str]]) -> list[tuple[int, int, str]]:
        """All lines as (time_ns, level, text)."""
        lines = []
        for time_ns, name, args in sorted(self.facts, key=_time):
            level, text = formats[name]
            # Python has no "0x1234" for %#x with zero as C has; C prints a bare 0.
            lines.append((time_ns, level, text.replace("%#x", "%s") % _hex_args(text, args)))
        return lines


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
