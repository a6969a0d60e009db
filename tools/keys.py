"""The reference of the keys of scenario files, as Markdown, from what hwsim/scenario says of each.

make schema        (python -m tools.keys > docs/keys.md)
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hwsim.scenario.keys import OrText, default_of, form_of, holds_many, model_in, spelled, tables
from hwsim.scenario.schema import ScenarioModel

_HEAD = """\
# The keys of scenario files

Made from [hwsim/scenario](../hwsim/scenario) by `make schema`: changes belong there. Durations are `"24 h"`
(`ns us ms s min h d w y`), sizes `"64 GiB"` (`B KiB MiB GiB TiB PiB`), rates `"2 / day"`, `"1 / 6 h"` or
`"3 / GiB / day"`, shares `0.7` or `"70 %"`. Pages are 4 KiB. In brackets: where a fact is from; a default
without a source is an assumption of ours. The verbs of scripts are in [verbs.md](verbs.md).
"""
_KEYS = """
| Key | Takes | Default | Meaning |
|---|---|---|---|
"""


def reference() -> str:
    """All tables; of each key what it takes, its default, its meaning."""
    places: dict[type[BaseModel], list[str]] = {}
    for path, model in tables(ScenarioModel).items():
        places.setdefault(model, []).append(path)
    return _HEAD + "".join(_table(model, paths) for model, paths in places.items())


def _table(model: type[BaseModel], paths: list[str]) -> str:
    text = " ".join((model.__doc__ or "").split())
    rows = "".join(
        f"| `{key}` | {_takes(info)} | {_default(info)} | {info.description} |\n"
        for key, info in spelled(model).items()
    )
    return f"\n## {_title(paths)}\n\n{text}\n{_KEYS}{rows}"


def _title(paths: list[str]) -> str:
    if paths == [""]:
        return "Top level"
    if len(paths) > 2:  # every key of one table
        return f"`{paths[0].rpartition('.')[0]}`, each key"
    return ", ".join(f"`{path}`" for path in paths)


def _takes(info: FieldInfo) -> str:
    form = next((each for each in info.metadata if isinstance(each, OrText)), None) or form_of(info)
    one = form.words if form is not None else "a text" if model_in(info.annotation) is None else "a table"
    return f"a list, each {one}" if holds_many(info) and not isinstance(form, OrText) else one


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    default = default_of(info)
    return "" if default in (None, [], "") else f"`{_toml(default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(each)}' for key, each in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    print(reference(), end="")
