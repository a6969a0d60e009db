"""The JSON Schema of scenario files, for editors; made from the models and the verb table."""

from __future__ import annotations

import json
from typing import Any

from pydantic.fields import FieldInfo

from hwsim.scenario import script_schema
from hwsim.scenario.keys import default_of, form_of, spelled, tables
from hwsim.scenario.schema import ScenarioModel


def schema() -> dict[str, Any]:
    """The schema as a dictionary."""
    found = ScenarioModel.model_json_schema()
    for model in tables(ScenarioModel).values():
        table = found if model is ScenarioModel else found["$defs"][model.__name__]
        for key, info in spelled(model).items():
            _tell(table["properties"][key], info)
    _undot(found["$defs"]["Sysctl"]["properties"])
    found["$defs"] |= script_schema.definitions(found["$defs"]["Step"]["properties"]["at"])
    found["title"] = "hwsim scenario"
    _relax(found)
    merged: list[dict[str, Any]] = []
    found["if"], found["else"] = {"required": ["extends"]}, _needed(found, found["$defs"], merged)
    for table in merged:
        table.pop("required", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _tell(shape: dict[str, Any], info: FieldInfo) -> None:
    """What a key means and its form, and its default as a file has it."""
    form = form_of(info)
    if form is not None and "enum" not in form.shape and form.shape.get("type") != "boolean":
        shape["description"] = f"{info.description}; {form.words}"
    shape["default"] = default_of(info)  # _relax() drops that of a key without one


def _undot(properties: dict[str, Any]) -> None:
    """A key with a dot may be written without quotes, which makes it a table in the table."""
    for key, shape in list(properties.items()):
        head, _, tail = key.partition(".")
        table = properties.setdefault(
            head, {"type": "object", "properties": {}, "additionalProperties": False}
        )
        table["properties"][tail] = shape


def _needed(table: dict[str, Any], defs: dict[str, Any], merged: list[dict[str, Any]]) -> dict[str, Any]:
    """What must be in a table and those in it, entries of arrays excepted.

    A file that extends may leave it out: its tables, which are added to ``merged``, merge with the other's.
    """
    merged.append(table)
    inner = {}
    for key, value in table.get("properties", {}).items():
        for each in (value, *value.get("anyOf", ())):
            need = _needed(defs[each["$ref"].split("/")[-1]], defs, merged) if "$ref" in each else {}
            if need:
                inner[key] = need
    return {word: need for word, need in (("required", table.get("required")), ("properties", inner)) if need}


def _relax(node: Any) -> None:
    """A key that may be left out is not written as null in TOML; drop such alternatives."""
    if isinstance(node, dict):
        options = node.get("anyOf")
        if isinstance(options, list):
            kept = [option for option in options if option != {"type": "null"}]
            if len(kept) == 1 and len(options) > 1:
                del node["anyOf"]
                node.update({**kept[0], **node})
            else:
                node["anyOf"] = kept
        if node.get("default", 0) is None:
            del node["default"]
        for value in node.values():
            _relax(value)
    elif isinstance(node, list):
        for value in node:
            _relax(value)


def schema_json() -> str:
    """The schema as text, the same on every machine."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
