"""Durations, bytes, rates and shares: read from text once, at the edge, and written back.

Inside hwsim a time is an integer number of nanoseconds, a size an integer number of bytes or 4 KiB
pages, a rate a float per second.  Numbers are read as exact fractions, so ``"0.1 s"`` is exactly
100,000,000 ns.  A small grammar of our own, because a units library costs more to import than the
whole of ``hwsim check``.
"""

from __future__ import annotations

import difflib
import math
import re
from fractions import Fraction
from typing import NamedTuple

PAGE_SHIFT = 12
PAGE_BYTES = 1 << PAGE_SHIFT
PAGES_PER_GIB = 1 << 30 - PAGE_SHIFT
LINE_SHIFT = 6
LINE_BYTES = 1 << LINE_SHIFT  # of a cache line, which is what goes bad
LINES_PER_PAGE = PAGE_BYTES // LINE_BYTES
CENTISEC_NS = 10_000_000  # many sysctls count in hundredths of a second
MAX_PHYS_BITS = 52  # MAXPHYADDR of x86-64, at most (Intel SDM vol. 3A, 4.1.4)
MAX_PFN = 1 << MAX_PHYS_BITS - PAGE_SHIFT

DURATION_UNITS_NS: dict[str, int] = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
    "y": 31_536_000_000_000_000,  # 365 days
}
_SHOWN_UNITS_NS = {name: ns for name, ns in DURATION_UNITS_NS.items() if name != "w"}  # 90 d, not 12.9 w
_DURATION_ALIASES = {
    "µs": "us",  # micro sign
    "μs": "us",  # Greek mu
    "sec": "s",
    "second": "s",
    "seconds": "s",
    "minute": "min",
    "minutes": "min",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
    "week": "w",
    "weeks": "w",
    "year": "y",
    "years": "y",
}
BYTE_UNITS: dict[str, int] = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "PiB": 1 << 50,
}

DURATION_ALLOWED = 'a number and a unit (ns, us, ms, s, min, h, d, w, y = 365 d), such as "24 h"'
BYTES_ALLOWED = 'a number and a unit (B, KiB, MiB, GiB, TiB, PiB), such as "64 GiB"'
RATE_ALLOWED = '"never" or events for each time, such as "2 / day", "1 / 6 h", "0.2 / s" or "3 / GiB / day"'
SHARE_ALLOWED = 'a share from 0 to 1, such as 0.7 or "70 %"'

MAX_NS = 2**62  # 146 years: sums of two times still fit a signed 64-bit integer
MAX_BYTES = 1 << 60
MAX_PER_S = 10**9  # time goes by in nanoseconds

_NUMBER = r"[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*([A-Za-zµμ%]+)\s*")
_BARE_NUMBER = re.compile(rf"\s*({_NUMBER})\s*")
_TIME = rf"(?:{'|'.join([*DURATION_UNITS_NS, *_DURATION_ALIASES])})\s*"
_GIB = r"/\s*GiB\s*"
_PERIOD = rf"/\s*(?:{_NUMBER}\s*)?{_TIME}"

# The form of each text as a regular expression for others; how large a quantity may be it does not say.
NEVER_FORM = r"\s*[Nn][Ee][Vv][Ee][Rr]\s*"
DURATION_FORM = rf"\s*{_NUMBER}\s*{_TIME}"
BYTES_FORM = rf"\s*{_NUMBER}\s*(?:{'|'.join(BYTE_UNITS)})\s*"
RATE_FORM = rf"\s*{_NUMBER}\s*{_PERIOD}"
RATE_PER_GIB_FORM = rf"\s*{_NUMBER}\s*(?:{_GIB}{_PERIOD}|{_PERIOD}{_GIB})"
SHARE_FORM = rf"\s*{_NUMBER}\s*%\s*"


class UnitError(ValueError):
    """A text that is not the quantity it should be: what is wrong, and what is allowed."""

    def __init__(self, message: str, allowed: str, nearby: str | None = None) -> None:
        super().__init__(f"{message}; allowed: {allowed}" + (f'; did you mean "{nearby}"?' if nearby else ""))
        self.message = message
        self.allowed = allowed
        self.nearby = nearby


class Rate(NamedTuple):
    """Events per second; ``per_gib``: for each GiB of memory."""

    per_s: float
    per_gib: bool = False


def _fraction(number: str) -> Fraction:
    return Fraction(number.replace("_", ""))


def _nearby_unit(unit: str, number: str, units: dict[str, int], aliases: dict[str, str]) -> str | None:
    """The same quantity with the unit that was probably meant, or None."""
    names = {name.lower(): name for name in units} | {name.lower(): aliases[name] for name in aliases}
    low = unit.lower()
    found = names.get(low)
    if found is None and units is BYTE_UNITS:
        found = names.get(low + "ib") or (names.get(low[0] + "ib") if low[1:] == "b" else None)
    if found is None and low in {"m", "mins"}:
        found = "min" if units is DURATION_UNITS_NS else None
    if found is None:
        close = difflib.get_close_matches(low, names, n=1, cutoff=0.7)
        found = names[close[0]] if close else None
    return f"{number} {found}" if found else None


def _quantity(
    text: object, what: str, units: dict[str, int], aliases: dict[str, str], allowed: str
) -> Fraction:
    if isinstance(text, bool) or not isinstance(text, str):
        if isinstance(text, int | float) and not isinstance(text, bool):
            raise UnitError(f"{what} needs a unit", allowed)
        raise UnitError(f"{what} must be a text", allowed)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        if _BARE_NUMBER.fullmatch(text):
            raise UnitError(f"{what} needs a unit", allowed)
        if text.strip().startswith("-"):
            raise UnitError(f"{what} cannot be negative", allowed)
        raise UnitError(f"not {what}", allowed)
    number, unit = match.groups()
    scale = units.get(aliases.get(unit, unit))
    if scale is None:
        raise UnitError(f'unknown unit "{unit}"', allowed, _nearby_unit(unit, number, units, aliases))
    return _fraction(number) * scale


def parse_duration(text: object) -> int:
    """``"24 h"`` as integer nanoseconds."""
    ns = _nanoseconds(text)
    if ns > MAX_NS:
        raise UnitError("longer than hwsim can count", f"at most {MAX_NS // DURATION_UNITS_NS['y']} y")
    return ns


def _nanoseconds(text: object) -> int:
    """A duration of any length: the time of a rate may be longer than a run."""
    exact = _quantity(text, "a duration", DURATION_UNITS_NS, _DURATION_ALIASES, DURATION_ALLOWED)
    ns = round(exact)
    if ns == 0 and exact > 0:
        raise UnitError("shorter than one nanosecond", DURATION_ALLOWED)
    return ns


def parse_bytes(text: object) -> int:
    """``"64 GiB"`` as bytes; powers of 1024 only, because memory comes in no others."""
    exact = _quantity(text, "a size", BYTE_UNITS, {}, BYTES_ALLOWED)
    if exact.denominator != 1:
        raise UnitError("not a whole number of bytes", BYTES_ALLOWED)
    if exact > MAX_BYTES:
        raise UnitError("more than hwsim can count", f"at most {format_bytes(MAX_BYTES)}")
    return int(exact)


def parse_pages(text: object) -> int:
    """``"64 GiB"`` as 4 KiB pages; a part of a page is an error."""
    size = parse_bytes(text)
    if size % PAGE_BYTES:
        raise UnitError("not a whole number of pages", "a multiple of 4 KiB")
    return size // PAGE_BYTES


def parse_rate(text: object) -> Rate:
    """``"2 / day"`` or ``"3 / GiB / day"`` as events per second; ``"never"`` is zero."""
    if isinstance(text, bool) or not isinstance(text, str):
        if isinstance(text, int | float) and not isinstance(text, bool):
            raise UnitError("a rate needs a time", RATE_ALLOWED, f"{text} / day")
        raise UnitError("a rate must be a text", RATE_ALLOWED)
    if text.strip().lower() == "never":
        return Rate(0.0)
    count, *rest = text.split("/")
    number = _BARE_NUMBER.fullmatch(count)
    if number is None:
        what = "a rate cannot be negative" if count.strip().startswith("-") else "not a rate"
        raise UnitError(what, RATE_ALLOWED)
    if not rest:
        raise UnitError("a rate needs a time", RATE_ALLOWED, f"{count.strip()} / day")
    per_gib = any(part.strip() == "GiB" for part in rest)
    times = [part for part in rest if part.strip() != "GiB"]
    if len(rest) - len(times) > 1 or len(times) != 1:
        raise UnitError("a rate has one time and at most one GiB", RATE_ALLOWED)
    period = times[0].strip()
    implied = "" if period[:1].isdigit() else "1 "
    try:
        ns = _nanoseconds(implied + period)
    except UnitError as error:
        fixed = error.nearby and f"{count.strip()} / {error.nearby.removeprefix(implied)}"
        raise UnitError(error.message, RATE_ALLOWED, fixed) from None
    if ns == 0:
        raise UnitError("the time of a rate cannot be zero", RATE_ALLOWED)
    per_s = _fraction(number[1]) * DURATION_UNITS_NS["s"] / ns
    if per_s > MAX_PER_S:
        raise UnitError("more often than once a nanosecond", f"at most {MAX_PER_S} / s")
    return Rate(float(per_s), per_gib)


def parse_share(value: object) -> float:
    """``0.7`` or ``"70 %"`` as a float in [0, 1]."""
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is None or match[2] != "%":
            raise UnitError("not a share", SHARE_ALLOWED)
        exact = _fraction(match[1]) / 100
        share = float(exact) if exact < MAX_PER_S else math.inf  # or above all floats
    elif isinstance(value, int | float) and not isinstance(value, bool):
        share = float(value) if abs(value) < MAX_PER_S else math.inf  # a whole number may be above all floats
    else:
        raise UnitError("not a share", SHARE_ALLOWED)
    if not 0.0 <= share <= 1.0:
        nearby = f"{share:g} %" if not isinstance(value, str) and 1 < share < 100 else None
        raise UnitError("outside 0 to 1", SHARE_ALLOWED, nearby)
    return share


def _exact(value: int, units: dict[str, int], smallest: str) -> str:
    for name, scale in sorted(units.items(), key=lambda item: -item[1]):
        if value and value % scale == 0:
            return f"{value // scale} {name}"
    return f"{value} {smallest}"


def format_duration(ns: int) -> str:
    """Exact text of a duration, in the largest unit that divides it: reading it gives ``ns`` again."""
    return _exact(ns, _SHOWN_UNITS_NS, "ns") if ns else "0 s"


def format_bytes(size: int) -> str:
    """Exact text of a size, in the largest unit that divides it: reading it gives ``size`` again."""
    return _exact(size, BYTE_UNITS, "B")


def format_rate(rate: Rate) -> str:
    """Text of a rate in the unit that gives the smallest number of at least one, or per year."""
    if rate.per_s == 0:
        return "never"
    gib = " / GiB" if rate.per_gib else ""
    for name in ("s", "min", "h", "d", "y"):
        number = rate.per_s * DURATION_UNITS_NS[name] / DURATION_UNITS_NS["s"]
        if number >= 1 or name == "y":
            return f"{_digits(number, 6)}{gib} / {'day' if name == 'd' else name}"
    raise AssertionError("unreachable")


def _digits(value: float, digits: int) -> str:
    """``value`` with so many significant digits, no exponent where people would write none."""
    text = f"{value:.{digits}g}"
    if "e" in text and 1e-4 <= abs(value) < 1e15:
        text = f"{float(text):.0f}" if abs(value) >= 1 else f"{float(text):.10f}".rstrip("0")
    return text


def _human(value: float, units: dict[str, int], smallest: str, digits: int) -> str:
    size = abs(value)
    if size == 0:
        return f"0 {smallest}"
    ordered = sorted(units.items(), key=lambda item: item[1])
    for index, (name, scale) in enumerate(ordered):
        shown = float(f"{size / scale:.{digits}g}")  # 59.999 s is shown as 1 min, not as 60 s
        last = index + 1 == len(ordered)
        if last or max(size, shown * scale) < ordered[index + 1][1]:
            return f"{_digits(value / scale, digits)} {name}"
    raise AssertionError("unreachable")


def human_duration(ns: float, digits: int = 3) -> str:
    """A duration for people, rounded: ``human_duration(5_430_000_000)`` is ``"5.43 s"``."""
    return _human(ns, _SHOWN_UNITS_NS, "s", digits)


def human_bytes(size: float, digits: int = 3) -> str:
    """A size for people, rounded: ``human_bytes(1_500_000)`` is ``"1.43 MiB"``."""
    return _human(size, BYTE_UNITS, "B", max(digits, 4) if 1000 <= abs(size) < 1024 else digits)
