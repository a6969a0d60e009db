"""The kinds of value a scenario file holds, as annotated types for the models.

Each has one :class:`Form`: it reads the text once (``"24 h"`` to nanoseconds), says what is allowed when it
cannot, describes itself to people and in the JSON Schema, and writes a value back as a file has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from hwsim import units
from hwsim.scenario.problems import nearby_name, one_of

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
NAME_ALLOWED = "letters, digits, _ and -, beginning with a letter"
RESERVED_NAMES = ("kernel", "file", "free", "device")


def refuse(message: str, allowed: str = "", nearby: str | None = None) -> PydanticCustomError:
    """An error that the loader shows with what is allowed and a nearby name."""
    return PydanticCustomError(
        "scenario", "{message}", {"message": message, "allowed": allowed, "nearby": nearby}
    )


def _itself(value: Any) -> Any:
    return value


@dataclass(frozen=True, eq=False)
class Form:
    """How a value stands in a file: metadata of an annotated type."""

    read: Callable[[object], Any]  # raises UnitError or what refuse() makes
    words: str  # its form, unit and range for people
    shape: Mapping[str, Any]  # its JSON Schema
    show: Callable[[Any], Any] = _itself  # the value as a file has it

    def _read(self, value: object) -> Any:
        try:
            return self.read(value)
        except units.UnitError as error:
            raise refuse(error.message, error.allowed, error.nearby) from None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.shape)


def _duration_or_never(value: object) -> int | None:
    if isinstance(value, str) and value.strip().lower() == "never":
        return None
    try:
        return _positive_duration(value)
    except units.UnitError as error:
        raise units.UnitError(error.message, f'{error.allowed}, or "never"', error.nearby) from None


def _positive_duration(value: object) -> int:
    ns = units.parse_duration(value)
    if ns == 0:
        raise units.UnitError("must be longer than zero", units.DURATION_ALLOWED)
    return ns


def _age(value: object) -> int:
    """A duration; never is 0."""
    return _duration_or_never(value) or 0


def _positive_pages(value: object) -> int:
    pages = units.parse_pages(value)
    if pages == 0:
        raise units.UnitError("must be at least one page", "a multiple of 4 KiB, from 4 KiB on")
    return pages


def _rate_per_s(value: object) -> float:
    rate = units.parse_rate(value)
    if rate.per_gib:
        raise units.UnitError("a rate per GiB is only meant for errors", '"0.2 / s", "1 / 6 h", "never"')
    return rate.per_s


def _field_rate(value: object) -> float:
    rate = units.parse_rate(value)
    if rate.per_gib or rate.per_s == 0:
        raise units.UnitError("a field rate is that of one machine, above zero", 'such as "1 / 77 y"')
    return rate.per_s


def _name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise units.UnitError("not a name", NAME_ALLOWED)
    if value in RESERVED_NAMES:
        raise units.UnitError("this name is reserved", f"any other name than {one_of(RESERVED_NAMES)}")
    return value


def _text(low: int, high: int, lines: bool) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str):
            raise units.UnitError("not a text", "a text in quotes")
        if not low <= len(value.strip()) <= high:
            raise units.UnitError("not a text of this length", f"a text of {low} to {high} characters")
        if not lines and not value.isprintable():
            raise units.UnitError("has characters that cannot be printed", "one line of text")
        return value

    return read


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise units.UnitError("not a yes or no", "true or false")
    return value


def _text_form(
    read: Callable[[object], Any], words: str, example: str, *forms: str, show: Callable[[Any], Any] = _itself
) -> Form:
    """Of what is written as a text of one of the ``forms``, which are regular expressions."""
    shape: dict[str, Any] = {"type": "string", "examples": [example]}
    if forms:
        shape["pattern"] = f"^(?:{'|'.join(forms)})$"
    return Form(read, words, shape, show)


def _show_duration(ns: int | None) -> str:
    return "never" if ns is None else units.format_duration(ns)


def _show_pages(pages: int) -> str:
    return units.format_bytes(pages * units.PAGE_BYTES)


def _show_rate(per_s: float) -> str:
    return units.format_rate(units.Rate(per_s))


def _duration(read: Callable[[object], Any], words: str, *more: str) -> Form:
    return _text_form(read, words, "24 h", units.DURATION_FORM, *more, show=_show_duration)


def _size(read: Callable[[object], Any]) -> Form:
    return _text_form(read, "a size, a multiple of 4 KiB", "16 GiB", units.BYTES_FORM, show=_show_pages)


_OR_NEVER = ('a duration or "never"', units.NEVER_FORM)
_RATES = (units.RATE_FORM, units.NEVER_FORM)
_PER_GIB = 'a rate, for each machine or each GiB, or "never"'
_NAME_FORM = f"(?!(?:{'|'.join(RESERVED_NAMES)})$){NAME.pattern}"
_SHARE_SHAPE = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": f"^{units.SHARE_FORM}$"},
    ]
}

Duration = Annotated[int, _duration(units.parse_duration, "a duration")]
PositiveDuration = Annotated[int, _duration(_positive_duration, "a duration above zero")]
Age = Annotated[int, _duration(_age, *_OR_NEVER)]
DurationOrNever = Annotated[int | None, _duration(_duration_or_never, *_OR_NEVER)]
Pages = Annotated[int, _size(units.parse_pages)]
PositivePages = Annotated[int, _size(_positive_pages)]
RatePerS = Annotated[
    float, _text_form(_rate_per_s, 'a rate, or "never"', "1 / 6 h", *_RATES, show=_show_rate)
]
ErrorRate = Annotated[
    units.Rate,
    _text_form(units.parse_rate, _PER_GIB, "3 / GiB / day", *_RATES, units.RATE_PER_GIB_FORM),
]
FieldRate = Annotated[float, _text_form(_field_rate, "a rate for each machine", "1 / 77 y", units.RATE_FORM)]
Share = Annotated[float, Form(units.parse_share, 'a share: 0 to 1, or "70 %"', _SHARE_SHAPE)]
Name = Annotated[str, _text_form(_name, NAME_ALLOWED, "postgres", _NAME_FORM)]
Title = Annotated[
    str,
    _text_form(_text(1, 100, False), "one line of text", "database server", r"[^\n]*\S[^\n]*"),
]
Prose = Annotated[str, _text_form(_text(0, 10_000, True), "text", "A box with one big shared segment.")]
Flag = Annotated[bool, Form(_flag, "true or false", {"type": "boolean"})]


def whole(low: int, high: int, unit: str = "", *, times: int = 1) -> Form:
    """A whole number from ``low`` to ``high``, kept as so many ``times`` as much."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise units.UnitError("not a whole number", f"{low} to {high}")
        if not low <= value <= high:
            raise units.UnitError("out of range", f"{low} to {high}")
        return value * times

    shape = {"type": "integer", "minimum": low, "maximum": high}
    return Form(read, f"{low:,} to {high:,} {unit}".strip(), shape, lambda value: value // times)


def number(low: float, high: float, unit: str = "") -> Form:
    """A number from ``low`` to ``high``."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise refuse("not a number", f"a number from {low:g} to {high:g}")
        if not low <= value <= high:
            raise refuse("out of range", f"a number from {low:g} to {high:g}")
        return float(value)

    shape = {"type": "number", "minimum": low, "maximum": high}
    return Form(read, f"{low:,.12g} to {high:,.12g} {unit}".strip(), shape)


def choice(*names: str) -> Form:
    """One of the words."""
    return meaning(dict(zip(names, names, strict=True)))


def meaning(words: Mapping[str, Any]) -> Form:
    """One of the words, each of which stands for a value."""

    def read(value: object) -> Any:
        if not isinstance(value, str):
            raise refuse("not a word", one_of(words))
        if value not in words:
            raise refuse("unknown word", one_of(words), nearby_name(value, words))
        return words[value]

    written = {value: word for word, value in words.items()}
    listed = ", ".join(f'"{word}"' for word in words)
    return Form(read, listed, {"type": "string", "enum": list(words)}, written.__getitem__)
