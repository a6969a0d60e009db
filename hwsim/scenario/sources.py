"""Scenario files as read: data, where each key came from, and the chain of ``extends``."""

from __future__ import annotations

import re
import tomllib
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from hwsim.scenario.foreign import belongs_to, is_results, kind_of
from hwsim.scenario.positions import key_lines
from hwsim.scenario.problems import NOTHING, Path, Problem, ScenarioError, nearby_name, one_of

MAX_FILE_BYTES = 16 << 20
OVERRIDE = "--set"
_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass
class Source:
    """One file, or the overrides."""

    name: str
    lines: dict[Path, int] = field(default_factory=dict)


@dataclass
class Document:
    """Merged data and the source of each piece; ``sources[0]`` is the file that was asked for."""

    data: dict[str, Any]
    sources: list[Source]
    origin: dict[Path, int] = field(default_factory=dict)

    def copy(self) -> Document:
        return Document(deepcopy(self.data), list(self.sources), dict(self.origin))

    def set_origin(self, path: Path, source: int) -> None:
        """``path`` and all below it now come from ``source``."""
        for known in [known for known in self.origin if known[: len(path)] == path]:
            del self.origin[known]
        self.origin[path] = source

    def place(self, path: Path) -> tuple[str, int | None]:
        """File and line of a key; of its table if the key is not there."""
        for length in range(len(path), 0, -1):
            source = self.origin.get(path[:length])
            if source is not None:
                return self._line(self.sources[source], path)
        for length in range(len(path), 0, -1):
            for item in self.sources:
                if path[:length] in item.lines:
                    return self._line(item, path)
        return self.sources[0].name, None

    def _line(self, source: Source, path: Path) -> tuple[str, int | None]:
        lines = [source.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in source.lines]
        return source.name, lines[0] if lines else None


def read(path: str | FilePath) -> Document:
    """The file with all that it extends; raises :class:`ScenarioError`."""
    document = Document({}, [])
    chain: list[tuple[FilePath, dict[str, Any]]] = []
    seen: list[FilePath] = []
    current: FilePath | None = FilePath(path)
    caller: Problem | None = None
    while current is not None:
        real = _resolved(current)
        if real in seen and caller is not None:
            names = " -> ".join([item.name for item in (*seen[seen.index(real) :], real)])
            raise ScenarioError([_again(caller, f"extends runs in a circle: {names}")])
        seen.append(real)
        data, lines = _parse(current, caller)
        document.sources.append(Source(str(current), lines))
        chain.append((current, data))
        base = data.pop("extends", None)
        if base is None:
            break
        caller = Problem(str(current), lines.get(("extends",)), "extends", base, "")
        if not isinstance(base, str) or not base.strip():
            raise ScenarioError([_again(caller, "not a file name", "a path relative to this file")])
        current = current.parent / base
    for index in range(len(chain) - 1, -1, -1):
        _merge(document, document.data, chain[index][1], (), index)
    return document


def _again(caller: Problem, message: str, allowed: str = "", nearby: str | None = None) -> Problem:
    return Problem(caller.file, caller.line, caller.key, caller.value, message, allowed, nearby)


def _merge(document: Document, into: dict[str, Any], new: dict[str, Any], path: Path, source: int) -> None:
    """Tables merge key by key; everything else, arrays of tables too, is replaced."""
    for key, value in new.items():
        old = into.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            _merge(document, old, value, (*path, key), source)
        elif isinstance(value, dict) and key not in into:
            into[key] = {}
            _merge(document, into[key], value, (*path, key), source)
        else:
            into[key] = value
            document.set_origin((*path, key), source)


def _parse(path: FilePath, caller: Problem | None) -> tuple[dict[str, Any], dict[Path, int]]:
    name = str(path)

    def fail(
        message: str, line: int | None = None, allowed: str = "", nearby: str | None = None
    ) -> ScenarioError:
        if caller is not None and line is None:
            return ScenarioError([_again(caller, f"{name}: {message}", allowed, nearby)])
        return ScenarioError([Problem(name, line, "", NOTHING, message, allowed, nearby)])

    scenario_file = "a scenario file (TOML text)"
    try:
        if path.is_dir():
            raise fail("is a folder, not a scenario file", None, scenario_file)
        if path.exists() and not path.is_file():
            raise fail("is not a regular file", None, scenario_file)
        if path.stat().st_size > MAX_FILE_BYTES:
            raise fail("is too large for a scenario file", None, f"up to {MAX_FILE_BYTES >> 20} MiB")
        raw = path.read_bytes()
    except FileNotFoundError:
        beside = _toml_files_beside(path)
        allowed = f"in this folder: {one_of(beside, 12)}" if beside else "an existing file"
        raise fail("no such file", None, allowed, nearby_name(path.name, beside)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise fail(f"cannot be read: {reason}") from None
    if is_results(raw):
        raise fail(belongs_to("results", name), None, scenario_file)
    if b"\0" in raw:
        raise fail("is a binary file", None, scenario_file)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise fail("is not UTF-8 text", line, scenario_file) from None
    text = text.replace("\r\n", "\n")
    try:
        data = tomllib.loads(text)
        lines = key_lines(text)
    except tomllib.TOMLDecodeError as error:
        if kind_of(raw) == "mce":
            raise fail(belongs_to("mce", name), None, scenario_file) from None
        found = _TOML_PLACE.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        raise fail(f"is not valid TOML: {_TOML_PLACE.sub('', str(error))}", line) from None
    except (RecursionError, ValueError):
        raise fail("is not valid TOML: nested too deeply or a number too long") from None
    if not data:
        raise fail("is empty", None, "at least name, horizon and [machine] memory, or extends")
    return _flat_sysctl(data), {_flat_path(key): line for key, line in reversed(lines.items())}


def _resolved(path: FilePath) -> FilePath:
    """The real path, to know a file again; a path that cannot exist stands for itself."""
    try:
        return path.resolve()
    except (OSError, ValueError):
        return path


def _toml_files_beside(path: FilePath) -> list[str]:
    """Scenario files in the folder where one was looked for."""
    try:
        return sorted(item.name for item in path.parent.iterdir() if item.suffix == ".toml")
    except OSError:
        return []


def _flat_sysctl(data: dict[str, Any]) -> dict[str, Any]:
    """``sysctl.vm.name = 1`` without quotes is a table in a table: joined to the one key it means."""
    machine = data.get("machine")
    sysctl = machine.get("sysctl") if isinstance(machine, dict) else None
    if isinstance(machine, dict) and isinstance(sysctl, dict):
        machine["sysctl"] = flat(sysctl)
    return data


def flat(table: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested tables as one table with dotted keys."""
    result: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value:
            result |= flat(value, f"{before}{key}.")
        else:
            result[before + key] = value
    return result


def _flat_path(path: Path) -> Path:
    if path[:2] == ("machine", "sysctl") and len(path) > 3:
        return ("machine", "sysctl", ".".join(str(part) for part in path[2:]))
    return path
