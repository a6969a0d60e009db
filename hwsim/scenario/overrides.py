"""``--set key=value``: one value of the scenario replaced from the command line.

``machine.cpus=8``, ``errors.0.rate='4 / day'``, ``task.postgres.count=12`` (an entry of an array by
its number or its name), ``vm.memory_failure_early_kill=0`` (short for the key in machine.sysctl).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from hwsim.scenario.problems import NOTHING, Path, Problem, ScenarioError, nearby_name, one_of
from hwsim.scenario.sources import OVERRIDE, Document, Source, flat

_FORM = 'key=value, such as machine.cpus=8 or errors.0.rate="4 / day"'
_VALUES = '8, true, "4 / day", [1, 2] or { region = "postgres/shm" }'
_TOKEN = re.compile(r"""\s*("[^"]*"|'[^']*'|[^."'\[\]=\s]+)\s*""")
_INSTEAD = {"rate": "count", "count": "rate"}  # of [[errors]]: one of them, so that setting one is a choice


def apply(document: Document, overrides: Sequence[str]) -> Document:
    """A new document with the overrides set; raises :class:`ScenarioError` for those that cannot be."""
    changed, problems = attempt(document, overrides)
    if problems:
        raise ScenarioError(problems)
    return changed


def attempt(document: Document, overrides: Sequence[str]) -> tuple[Document, list[Problem]]:
    """A new document with the overrides that can be set, and what is wrong with the others."""
    if isinstance(overrides, str):
        overrides = [overrides]
    changed = document.copy()
    changed.sources.append(Source(OVERRIDE))
    return changed, [problem for text in overrides if (problem := _set(changed, text)) is not None]


def tokens(key: str) -> list[str] | None:
    """``task[0].count`` and ``task.0.count`` as ``["task", "0", "count"]``; None if it is no key."""
    key = re.sub(r"\[(\d+)\]", r".\1", key.strip())
    parts: list[str] = []
    position = 0
    while match := _TOKEN.match(key, position):
        parts.append(match[1].strip("\"'"))
        position = match.end()
        if position == len(key):
            break
        if key[position] != ".":
            return None
        position += 1
    return parts if parts and position == len(key) and not key.endswith(".") else None


def value_of(text: str) -> Any:
    """The right side, read as TOML; a bare word is a text; NOTHING if it only looks like TOML."""
    try:
        data = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return NOTHING if text.strip()[:1] in {'"', "'", "[", "{"} else text.strip()
    return data["value"] if data.keys() == {"value"} else text.strip()


def _set(document: Document, text: str) -> Problem | None:
    """Set one override; the problem if that is impossible."""
    key, equals, right = text.partition("=")
    parts = tokens(key)
    if not equals or parts is None:
        return Problem(OVERRIDE, None, "", NOTHING, f'"{text}" is not an override', _FORM)
    if not right.strip():
        return Problem(OVERRIDE, None, key.strip(), NOTHING, "there is no value", _FORM)
    value = value_of(right)
    if value is NOTHING:
        return Problem(OVERRIDE, None, key.strip(), right.strip(), "not a TOML value", _VALUES)
    if parts[0] == "extends":
        return Problem(
            OVERRIDE, None, "extends", value, "cannot be overridden", "a file of your own that extends"
        )
    parts = _with_sysctl(parts)
    node: Any = document.data
    path: Path = ()
    for number, part in enumerate(parts):
        last = number + 1 == len(parts)
        if isinstance(node, list):
            index = _index(node, part)
            if index is None:
                where = key.strip()
                names = [str(item["name"]) for item in node if isinstance(item, dict) and "name" in item]
                allowed = f"0 to {len(node) - 1}" if node else f"(this scenario has no {path[-1]})"
                allowed += f" or {one_of(names)}" if names else ""
                message = f'"{part}" is no entry of {path[-1]}'
                return Problem(OVERRIDE, None, where, value, message, allowed, nearby_name(part, names))
            path = (*path, index)
            if last:
                node[index] = value
            else:
                node = node[index]
        elif isinstance(node, dict):
            path = (*path, part)
            if last:
                node[part] = (
                    flat(value) if path == ("machine", "sysctl") and isinstance(value, dict) else value
                )
            else:
                if part not in node:  # the override makes this table: what is wrong with it is its mistake
                    node[part] = [] if parts[number + 1].isdecimal() else {}
                    document.set_origin(path, len(document.sources) - 1)
                node = node[part]
        else:
            message = f"{path[-1]} is not a table here, so nothing in it can be set"
            return Problem(OVERRIDE, None, key.strip(), value, message, f"{path[-1]}={{ {part} = ... }}")
    document.set_origin(path, len(document.sources) - 1)
    _take_away(document, path)
    return None


def _take_away(document: Document, path: Path) -> None:
    """Setting the rate of an error stream takes its count away, and the other way round.

    Not if the same call has set the other one: two wishes that contradict each other are a mistake.
    """
    if len(path) != 3 or path[0] != "errors" or path[2] not in _INSTEAD:
        return
    other = (*path[:2], _INSTEAD[str(path[2])])
    if document.origin.get(other) != len(document.sources) - 1:
        document.data["errors"][path[1]].pop(other[2], None)


def _with_sysctl(parts: list[str]) -> list[str]:
    """Names of sysctls have dots; put them back together, and below machine.sysctl."""
    if parts[0].split(".")[0] == "vm":
        parts = ["machine", "sysctl", *parts]
    if parts[:2] == ["machine", "sysctl"] and len(parts) > 3:
        parts = ["machine", "sysctl", ".".join(parts[2:])]
    return parts


def _index(items: list[Any], part: str) -> int | None:
    if part.isdecimal():
        return int(part) if int(part) < len(items) else None
    for index, item in enumerate(items):
        if isinstance(item, dict) and part in {item.get("name"), item.get("kind")}:
            return index
    return None
