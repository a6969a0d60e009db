"""What the tables of a scenario file have in common: keys, and the spec that a table fills.

A key is told once: a field of a model with the name that it has in ``hwsim.spec``, its type (form, unit and
range), what it means and where that is from, and its name in the file where that is another.  Its default is
that of the spec.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from hwsim.scenario.fields import Form


class _Key(NamedTuple):
    """A key of which the default is not known yet."""

    means: str
    alias: str | None
    more: dict[str, Any]


def key(means: str, alias: str | None = None, **more: Any) -> Any:
    """A key of a table: what it means and, where the file has another name for it, its name there.

    ``more``: what is pydantic's, such as a default that is not the spec's.
    """
    return _Key(means, alias, more)


class Model(BaseModel):
    """A table: unknown keys are mistakes, values do not change.

    ``fills`` is the dataclass of ``hwsim.spec`` whose fields it gives, if there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    fills: ClassVar[Any] = None

    def __init_subclass__(cls, fills: Any = None, **more: Any) -> None:
        """Give the keys the defaults of the spec, before pydantic reads them."""
        super().__init_subclass__(**more)
        cls.fills = fills
        defaults = {each.name: each.default for each in dataclasses.fields(fills)} if fills else {}
        for name, each in list(vars(cls).items()):
            if isinstance(each, _Key):
                default = defaults.get(name, dataclasses.MISSING)
                known = default is not dataclasses.MISSING and "default_factory" not in each.more
                more = {"default": default, **each.more} if known else each.more
                setattr(cls, name, Field(description=each.means, alias=each.alias, **more))


def spelled(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a table as the file has them, in order."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def form_of(info: FieldInfo) -> Form | None:
    """How a key is written, if it has a form of its own."""
    found = (*info.metadata, *_metadata(info.annotation))
    return next((each for each in found if isinstance(each, Form)), None)


def _metadata(annotation: Any) -> list[Any]:
    """That of a type and of the types in it."""
    inner = [each for part in get_args(annotation) for each in _metadata(part)]
    return [*getattr(annotation, "__metadata__", ()), *inner]


def default_of(info: FieldInfo) -> Any:
    """The default of a key as a file would have it; None: there is none, or the meaning tells it."""
    form, value = form_of(info), info.default
    if info.is_required() or info.default_factory is not None:
        return None
    if value is None and form not in info.metadata:  # the form does not know None
        return None
    if dataclasses.is_dataclass(value):
        return _written(model_in(info.annotation), value)
    if isinstance(value, tuple):
        return list(value)
    return value if form is None else form.show(value)


def _written(model: type[BaseModel] | None, value: Any) -> dict[str, Any]:
    """A table that says this: what has to be said, and what is not the default."""
    assert model is not None
    table = {}
    for name, info in model.model_fields.items():
        said, form = getattr(value, name), form_of(info)
        if form is not None and (info.is_required() or said != info.default):
            table[info.alias or name] = form.show(said)
    return table


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of the table, or of the tables, that a key holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := model_in(inner))), None)


def tables(model: type[BaseModel], path: str = "") -> dict[str, type[BaseModel]]:
    """A table and those in it by their paths, such as ``task.region``, in the order of the file."""
    found = {path: model}
    for name, info in spelled(model).items():
        inner = model_in(info.annotation)
        if inner is not None:
            found |= tables(inner, f"{path}.{name}".lstrip("."))
    return found


def holds_many(info: FieldInfo) -> bool:
    """Whether a key holds a list."""
    return any(get_origin(each) is tuple for each in (info.annotation, *get_args(info.annotation)))


def given(table: Model) -> set[str]:
    """The keys that the file has of a table, as it has them."""
    fields = type(table).model_fields
    return {fields[name].alias or name for name in table.model_fields_set}


def filled(table: Model, **computed: Any) -> Any:
    """The spec of a table: what has its name in the table, and what was ``computed`` for it.

    Tables in it fill what they are for: a spec of their own, or more fields of this one.
    """
    names = {each.name for each in dataclasses.fields(table.fills)}
    return table.fills(**{name: value for name, value in _facts(table, computed).items() if name in names})


def _facts(table: Model, computed: dict[str, Any]) -> dict[str, Any]:
    facts = dict(computed)
    for name in type(table).model_fields:
        value = getattr(table, name)
        if name in computed:
            continue
        if isinstance(value, Model) and value.fills is table.fills:
            facts |= _facts(value, computed)
        elif isinstance(value, Model) and value.fills is not None:
            facts[name] = filled(value)
        else:
            facts[name] = value
    return facts


class OrText:
    """Metadata of a table that may be written as a text instead, which ``read`` makes a table of."""

    def __init__(self, read: Callable[[object], object], words: str, **text: Any) -> None:
        self.read = read
        self.words = f"{words}, or a table"
        self.text = {"type": "string", **text}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [self.text, handler(core)]}


class OrOne(OrText):
    """Metadata of a list of tables that may be written as the table if it is one."""

    def __init__(self) -> None:
        super().__init__(lambda value: (value,) if isinstance(value, dict) else value, "a list of tables")

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        many = handler(core)
        return {"anyOf": [many["items"], many]}
