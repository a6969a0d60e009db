"""The script steps in the JSON Schema of scenario files, made from the table of verbs."""

from __future__ import annotations

from typing import Any

from hwsim.script.verbs import ARG_KINDS, PAGE_FORMS, VERBS, Arg


def step(at: dict[str, Any]) -> dict[str, Any]:
    """One alternative for each verb; ``at`` is what the schema says of that key."""
    steps = []
    for name, verb in VERBS.items():
        properties = {"at": at, "do": {"type": "string", "const": name}}
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
    if arg.choices:
        shape["enum"] = list(arg.choices)
    shape["description"] = arg.doc
    if arg.default is not None:
        shape["default"] = list(arg.default) if isinstance(arg.default, tuple) else arg.default
    return shape


def _shape(arg: Arg) -> dict[str, Any]:
    """What TOML and JSON call the kind of argument."""
    kind = ARG_KINDS[arg.kind]
    if kind.low is not None:
        return _whole(arg.kind)
    if arg.kind == "flags":
        return {"type": "array", "items": {"type": "string", "enum": list(kind.words)}}
    if arg.kind == "bool":
        return {"type": "boolean"}
    if arg.kind == "value":
        return {"type": ["integer", "string"]}
    return {"type": "string"} | ({"enum": list(kind.words)} if kind.words else {})


def _whole(kind: str) -> dict[str, Any]:
    low, high = ARG_KINDS[kind].low, ARG_KINDS[kind].high
    return {"type": "integer", "minimum": low} | ({} if high is None else {"maximum": high})


def page() -> dict[str, Any]:
    """One alternative for each way to name a page."""
    index = _whole("index")
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
