"""The script steps in the JSON Schema of scenario files, made from the table of verbs."""

from __future__ import annotations

from typing import Any

from hwsim.scenario.arguments import FORMS
from hwsim.script.verbs import ARG_KINDS, PAGE_FORMS, VERBS, Arg


def definitions(at: dict[str, Any]) -> dict[str, Any]:
    """What a step is, and what is in many of them: ``at``, as the schema of the tables has it, and a page."""
    return {"Step": _step(), "At": at, "Page": _page()}


def _step() -> dict[str, Any]:
    """One alternative for each verb."""
    steps = []
    for name, verb in VERBS.items():
        properties = {"at": {"$ref": "#/$defs/At"}, "do": {"type": "string", "const": name}}
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


def _argument(arg: Arg) -> dict[str, Any]:
    if arg.kind == "page":
        return {"$ref": "#/$defs/Page"}
    shape = _shape(arg)
    shape["description"] = arg.doc
    if arg.default is not None:
        shape["default"] = list(arg.default) if isinstance(arg.default, tuple) else arg.default
    return shape


def _shape(arg: Arg) -> dict[str, Any]:
    """What TOML and JSON call the kind of argument."""
    if arg.kind in FORMS:
        return dict(FORMS[arg.kind].shape)
    words = arg.choices or ARG_KINDS[arg.kind].words
    if arg.kind == "flags":
        return {"type": "array", "items": {"type": "string", "enum": list(words)}}
    if arg.kind == "value":
        return {"type": ["integer", "string"]}
    return {"type": "string"} | ({"enum": list(words)} if words else {})


def _page() -> dict[str, Any]:
    """One alternative for each way to name a page."""
    index = dict(FORMS["index"].shape)
    forms = []
    for key, form in PAGE_FORMS.items():
        if key == "address":
            examples = ["0x123000"]
            shape = {"type": ["string", "integer"], "description": form.doc, "examples": examples}
        else:
            shape = {"type": "string"} if form.has_index else index
        forms.append({key: shape, "index": index} if form.has_index else {key: shape})
    return {
        "title": "Page",
        "oneOf": [
            {"type": "object", "properties": form, "required": list(form), "additionalProperties": False}
            for form in forms
        ],
    }
