"""Lines of the kernel log and the event log as text."""

from __future__ import annotations

from collections.abc import Mapping

_HEX = ("pfn", "address")  # as the kernel log prints them


def log_line(time_ns: int, text: str) -> str:
    """A kernel log line with the kernel's own time stamp."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"[{seconds:5d}.{rest // 1000:06d}] {text}"


def event_line(time_ns: int, event: str, facts: Mapping[str, object]) -> str:
    """An event with its facts, to the nanosecond."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    told = "  ".join(
        f"{name}={value:#x}" if name in _HEX and isinstance(value, int) else f"{name}={value}"
        for name, value in facts.items()
    )
    return f"{seconds:9d}.{rest:09d}  {event:<20} {told}".rstrip()
