"""A table with mistakes, read without them, so that its other mistakes can be found as well."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hwsim.scenario.problems import Path

Item = TypeVar("Item", bound=BaseModel)
_STAND_INS = {
    "name": "unnamed",
    "size": "4 KiB",
    "memory": "4 KiB",
    "rate": "never",
    "every": "1 s",
    "period": "1 d",
}
_ROUNDS = 4  # take out what is wrong, put in what is then missing; each may show one thing more


def without_mistakes(model: type[Item], value: object, path: Path) -> tuple[Item | None, set[Path]]:
    """The table without its bad keys, and the paths that were taken out or made up."""
    value = deepcopy(value)
    changed: set[Path] = set()
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(value), changed
        except ValidationError as error:
            for item in error.errors(include_url=False):
                removed = _mend(value, tuple(item["loc"]), missing=item["type"] == "missing")
                if removed is None:
                    return None, changed
                changed.add((*path, *removed))
    return None, changed


def _mend(value: Any, path: Path, *, missing: bool) -> Path | None:
    """Take the bad key out, or put a stand-in where one is missing; what was changed."""
    if missing:
        node = _walk(value, path[:-1])
        stand_in = _STAND_INS.get(str(path[-1]))
        if isinstance(node, dict) and stand_in is not None:
            node[path[-1]] = stand_in
            return path
        path = path[:-1]  # cannot be made up: the table goes
        if not path:
            return None
    for length in range(len(path), 0, -1):  # an entry of a list goes with its list: indices must not move
        node = _walk(value, path[: length - 1])
        if isinstance(node, dict) and path[length - 1] in node:
            del node[path[length - 1]]
            return path[:length]
    return path or None  # taken out already, with a list


def _walk(value: Any, path: Path) -> Any:
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value
