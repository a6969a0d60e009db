"""The kinds of value a scenario file holds, as annotated types for the models.

Each reads the text once (``"24 h"`` to nanoseconds), says what is allowed when it cannot, and
describes itself for the JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from hwsim import units
from hwsim.scenario.problems import nearby_name, one_of

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
NAME_ALLOWED = "letters, digits, _ and -, beginning with a letter"
RESERVED_NAMES = ("kernel", "file", "free", "device")


def refuse(message: str, allowed: str = "", nearby: str | None = None) -> PydanticCustomError:
    """An error that the loader shows with what is allowed and a nearby name."""
    return PydanticCustomError(
        "scenario", "{message}", {"message": message, "allowed": allowed, "nearby": nearby}
    )


def _reads(parse: Callable[[object], Any]) -> BeforeValidator:
    def read(value: object) -> Any:
        try:
            return parse(value)
        except units.UnitError as error:
            raise refuse(error.message, error.allowed, error.nearby) from None

    return BeforeValidator(read)


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
    if not isinstance(value, str) or not _NAME.fullmatch(value) or len(value) > 64:
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


def _schema(description: str, example: str, *forms: str) -> WithJsonSchema:
    shape: dict[str, Any] = {"type": "string", "description": description, "examples": [example]}
    if forms:
        shape["pattern"] = f"^(?:{'|'.join(forms)})$"
    return WithJsonSchema(shape)


_SHARE_SCHEMA = {
    "description": 'a share: 0 to 1, or "70 %"',
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": f"^{units.SHARE_FORM}$"},
    ],
}
_SIZE = _schema("a size, a multiple of 4 KiB", "16 GiB", units.BYTES_FORM)
_OR_NEVER = _schema('a duration or "never"', "24 h", units.DURATION_FORM, units.NEVER_FORM)
_RATES = (units.RATE_FORM, units.NEVER_FORM)
_NAME_FORM = f"(?!(?:{'|'.join(RESERVED_NAMES)})$)[A-Za-z][A-Za-z0-9_-]{{0,63}}"

Duration = Annotated[int, _reads(units.parse_duration), _schema("a duration", "24 h", units.DURATION_FORM)]
PositiveDuration = Annotated[
    int, _reads(_positive_duration), _schema("a duration above zero", "24 h", units.DURATION_FORM)
]
Age = Annotated[int, _reads(_age), _OR_NEVER]
DurationOrNever = Annotated[int | None, _reads(_duration_or_never), _OR_NEVER]
Pages = Annotated[int, _reads(units.parse_pages), _SIZE]
PositivePages = Annotated[int, _reads(_positive_pages), _SIZE]
RatePerS = Annotated[float, _reads(_rate_per_s), _schema('a rate, or "never"', "1 / 6 h", *_RATES)]
ErrorRate = Annotated[
    units.Rate,
    _reads(units.parse_rate),
    _schema(
        'a rate, for each machine or each GiB, or "never"',
        "3 / GiB / day",
        *_RATES,
        units.RATE_PER_GIB_FORM,
    ),
]
FieldRate = Annotated[
    float, _reads(_field_rate), _schema("a rate for each machine", "1 / 77 y", units.RATE_FORM)
]
Share = Annotated[float, _reads(units.parse_share), WithJsonSchema(_SHARE_SCHEMA)]
Name = Annotated[str, _reads(_name), _schema(NAME_ALLOWED, "postgres", _NAME_FORM)]
Title = Annotated[
    str,
    _reads(_text(1, 100, False)),
    _schema("one line of text", "database server", r"[^\n]*\S[^\n]*"),
]
Prose = Annotated[str, _reads(_text(0, 10_000, True)), _schema("text", "A box with one big shared segment.")]
Flag = Annotated[bool, _reads(_flag), WithJsonSchema({"type": "boolean"})]


class _Reader:
    """Metadata of an annotated type: a function that reads the value, and its JSON Schema."""

    def __init__(self, read: Callable[[object], Any], shape: dict[str, Any]) -> None:
        self._read = read
        self._shape = shape

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self._shape)


def whole(low: int, high: int) -> _Reader:
    """A whole number from ``low`` to ``high``."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise refuse("not a whole number", f"{low} to {high}")
        if not low <= value <= high:
            raise refuse("out of range", f"{low} to {high}")
        return value

    return _Reader(read, {"type": "integer", "minimum": low, "maximum": high})


def number(low: float, high: float) -> _Reader:
    """A number from ``low`` to ``high``."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise refuse("not a number", f"a number from {low:g} to {high:g}")
        if not low <= value <= high:
            raise refuse("out of range", f"a number from {low:g} to {high:g}")
        return float(value)

    return _Reader(read, {"type": "number", "minimum": low, "maximum": high})


def choice(*names: str) -> _Reader:
    """One of the words."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise refuse("not a word", one_of(names))
        if value not in names:
            raise refuse("unknown word", one_of(names), nearby_name(value, names))
        return value

    return _Reader(read, {"type": "string", "enum": list(names)})
