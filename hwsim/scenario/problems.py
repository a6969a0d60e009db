"""What is wrong with a scenario: file, line, key, value, what is allowed, a nearby name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]  # ("task", 0, "region", 1, "size")


class _Nothing:
    """Stands for "there is no value here"; a value can be anything, None included."""

    def __repr__(self) -> str:
        return "-"

    def __reduce__(self) -> str:
        return "NOTHING"


NOTHING = _Nothing()


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake at a place of the data, before it is known which line of which file that is."""

    path: Path
    message: str
    allowed: str = ""
    nearby: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake as the user sees it.  ``file`` is ``--set`` for an override."""

    file: str
    line: int | None
    key: str
    value: Any
    message: str
    allowed: str = ""
    nearby: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        key = f"{self.key}: " if self.key else ""
        if self.key and self.value is not NOTHING:
            key = f"{self.key} = {show_value(self.value)}: "
        text = f"{place}: {key}{self.message}"
        if self.nearby:
            text += f"\n    did you mean: {self.nearby}"
        if self.allowed:
            text += f"\n    allowed: {self.allowed}"
        return text


class ScenarioError(Exception):
    """A scenario that cannot be run, with every problem that was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(list(problems))
        self.problems: list[Problem] = list(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def show_value(value: Any, width: int = 60) -> str:
    """A value about as it stands in the file, cut to ``width`` characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def show_path(path: Path) -> str:
    """``("task", 0, "count")`` as ``task[0].count``; keys with dots are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if part.replace("_", "").replace("-", "").isalnum() else f'"{part}"'
            text += f".{name}" if text else name
    return text


def nearby_name(name: object, names: Iterable[str]) -> str | None:
    """The one of ``names`` that was probably meant."""
    if not isinstance(name, str):
        return None
    by_low = {known.lower(): known for known in names}
    if name.lower() in by_low and by_low[name.lower()] != name:
        return by_low[name.lower()]
    found = difflib.get_close_matches(name.lower(), list(by_low), n=1, cutoff=0.6)
    return by_low[found[0]] if found else None


def one_of(names: Iterable[str], limit: int = 30) -> str:
    """``a, b, c`` for an "allowed" line; says so when there are none."""
    listed = list(names)
    if not listed:
        return "(there is none)"
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def unknown(path: Path, what: str, name: str, names: Iterable[str]) -> Finding:
    """Nothing has this name: those that there are, and one nearby."""
    known = list(dict.fromkeys(names))
    return Finding(path, f'no {what} has the name "{name}"', one_of(known), nearby_name(name, known))
