"""The JSON Schema of scenario files, for editors; made from the models and the verb table."""

from __future__ import annotations

import json
from typing import Any

from hwsim.scenario.arguments import MAX_TRIES
from hwsim.scenario.schema import ScenarioModel
from hwsim.script.verbs import MAX_ORDER, MAX_PFN, PAGE_FLAGS, SYSCTLS, VERBS, Arg

_INDEX = {"type": "integer", "minimum": 0, "maximum": MAX_PFN - 1}
_KINDS: dict[str, dict[str, Any]] = {
    "page": {"$ref": "#/$defs/Page"},
    "count": {"type": "integer", "minimum": 1},
    "index": _INDEX,
    "cpu": {"type": "integer", "minimum": 0},
    "line": {"type": "integer", "minimum": 0, "maximum": 63},
    "order": {"type": "integer", "minimum": 0, "maximum": MAX_ORDER},
    "tries": {"type": "integer", "minimum": 0, "maximum": MAX_TRIES},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "flags": {"type": "array", "items": {"type": "string", "enum": list(PAGE_FLAGS)}},
    "sysctl": {"type": "string", "enum": list(SYSCTLS)},
    "value": {"type": ["integer", "string"]},
}


def _argument(arg: Arg) -> dict[str, Any]:
    shape = dict(_KINDS.get(arg.kind, {"type": "string"}))
    if arg.choices:
        shape["enum"] = list(arg.choices)
    if arg.doc and "$ref" not in shape:
        shape["description"] = arg.doc
    if arg.default is not None and "$ref" not in shape:
        shape["default"] = list(arg.default) if isinstance(arg.default, tuple) else arg.default
    return shape


def _step() -> dict[str, Any]:
    """One alternative for each verb."""
    steps = []
    for name, verb in VERBS.items():
        properties = {
            "at": {"type": "string", "description": "time since the start", "examples": ["1 s"]},
            "do": {"type": "string", "const": name},
        }
        properties |= {key: _argument(arg) for key, arg in verb.args.items()}
        steps.append(
            {
                "title": name,
                "description": verb.doc,
                "type": "object",
                "properties": properties,
                "required": ["at", "do", *(key for key, arg in verb.args.items() if arg.required)],
                "additionalProperties": False,
            }
        )
    return {"title": "Step", "description": "One exact step of a script.", "oneOf": steps}


def _page() -> dict[str, Any]:
    """One alternative for each way to name a page."""
    text, index = {"type": "string"}, _INDEX
    address = {"type": ["string", "integer"], "description": "physical address", "examples": ["0x123000"]}
    forms: list[dict[str, Any]] = [
        {"region": text, "index": index},
        {"file": text, "index": index},
        {"kernel": text, "index": index},
        {"free": index},
        {"pfn": index},
        {"address": address},
    ]
    return {
        "title": "Page",
        "oneOf": [
            {"type": "object", "properties": form, "required": list(form), "additionalProperties": False}
            for form in forms
        ],
    }


def schema() -> dict[str, Any]:
    """The schema as a dictionary."""
    found = ScenarioModel.model_json_schema()
    found["$defs"]["Step"] = _step()
    found["$defs"]["Page"] = _page()
    found["title"] = "hwsim scenario"
    found["anyOf"] = [{"required": found.pop("required")}, {"required": ["extends"]}]
    _relax(found)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


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
