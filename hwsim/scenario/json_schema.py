"""The JSON Schema of scenario files, for editors; made from the models and the verb table."""

from __future__ import annotations

import json
from typing import Any

from hwsim.scenario import script_schema
from hwsim.scenario.schema import ScenarioModel


def schema() -> dict[str, Any]:
    """The schema as a dictionary."""
    found = ScenarioModel.model_json_schema()
    found["$defs"]["Step"] = script_schema.step()
    found["$defs"]["Page"] = script_schema.page()
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
