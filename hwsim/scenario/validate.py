"""All mistakes of a document at once: shape first, then sums, names and steps of what has shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from hwsim import units
from hwsim.record import StepMistake
from hwsim.scenario import schema, steps
from hwsim.scenario.checks import check
from hwsim.scenario.compile import scripted_machine
from hwsim.scenario.keys import form_of, holds_many, model_in, spelled
from hwsim.scenario.problems import NOTHING, Finding, Path, Problem, nearby_name, one_of, show_path
from hwsim.scenario.schema import ScenarioModel
from hwsim.scenario.schema_dram import Dram
from hwsim.scenario.schema_machine import Machine
from hwsim.scenario.sources import OVERRIDE, Document
from hwsim.scenario.valid_parts import Parts
from hwsim.scenario.without_mistakes import Item, without_mistakes
from hwsim.spec import Spec

_TYPE_WORDS = {
    "string_type": ("not a text", "a text in quotes"),
    "model_type": ("not a table", "a table"),
    "model_attributes_type": ("not a table", "a table"),
    "dict_type": ("not a table", "a table"),
    "tuple_type": ("not a list", "a list"),
    "too_short": ("an empty list", "at least one entry"),
    "too_long": ("too many entries", "up to 100,000"),
}


Rehearse = Callable[[Spec], Iterable[StepMistake]]  # plays a script; scenarios know nothing that runs
_BUILDS = ("machine", "file", "task", "kernel")  # tables that a machine is built of


def validate(
    document: Document, rehearse: Rehearse | None = None
) -> tuple[ScenarioModel | None, list[Problem]]:
    """The model of a document, or its problems in the order of the file.

    With ``rehearse`` those of a script's steps at their time are among them, if the machine can be built.
    """
    model: ScenarioModel | None = None
    findings: list[Finding] = []
    pruned: set[Path] = set()
    try:
        model = ScenarioModel.model_validate(document.data)
        loose = parts = Parts.of_model(model, document.data)
    except ValidationError as error:
        findings = [_finding(item) for item in error.errors(include_url=False)]
        parts = _parts(document.data)
        loose = _parts(document.data, pruned)
    findings += [item for item in check(loose) if not any(_below(item.path, path) for path in pruned)]
    as_written = list(steps.check_steps(parts))
    if rehearse is not None and not any(item.path[0] in _BUILDS for item in findings):
        cannot_be_played = {item.path[1] for item in as_written if item.path[2:] != ("at",)}
        whole = scripted_machine(parts, cannot_be_played)
        if whole.script:
            findings += steps.findings(parts, rehearse(steps.rehearsal(whole)))
    findings += as_written
    if model is not None and model.dram is not None:
        findings += model.dram.findings()
    if not findings:
        return model, []
    problems: dict[tuple[str, str, str], Problem] = {}
    for finding in findings:
        problem = _problem(document, finding)
        problems.setdefault((problem.file, problem.key, problem.message), problem)
    return None, sorted(problems.values(), key=lambda problem: _order(document, problem))


def _below(path: Path, above: Path) -> bool:
    return path[: len(above)] == above


def _order(document: Document, problem: Problem) -> tuple[int, int]:
    names = [source.name for source in document.sources]
    return names.index(problem.file) if problem.file in names else len(names), problem.line or 0


def _finding(error: Any) -> Finding:
    """One pydantic error in our words."""
    path: Path = tuple(error["loc"])
    kind = error["type"]
    context = error.get("ctx", {})
    if kind == "scenario":
        return Finding(path, context["message"], context["allowed"], context["nearby"])
    if kind == "extra_forbidden":
        names = _keys_at(path[:-1])
        return Finding(path, "unknown key", one_of(names, 40), nearby_name(path[-1], names))
    if kind == "missing":
        return Finding(path, "required key is missing", _hint(path))
    if kind == "tuple_type" and _keys_at(path):
        name = str(path[-1])
        return Finding(path, "not an array of tables", f"[[{name}]] before each entry")
    message, allowed = _TYPE_WORDS.get(kind, (error["msg"], ""))
    return Finding(path, message, allowed)


def _hint(path: Path) -> str:
    """How a missing key may look."""
    model = _model_at(path[:-1])
    info = spelled(model).get(str(path[-1])) if model is not None else None
    if info is None or model_in(info.annotation) is not None:
        return "a table"
    form = form_of(info)
    if form is not None and "enum" in form.shape:
        return one_of(form.shape["enum"])
    if form is not None and "examples" in form.shape:
        return f'such as "{form.shape["examples"][0]}"'
    return str(info.description)


def _model_at(path: Path) -> type[BaseModel] | None:
    """The model that reads the table at ``path``."""
    model: type[BaseModel] = ScenarioModel
    for part in path:
        if isinstance(part, int):
            continue
        keys = spelled(model)
        inner = model_in(keys[part].annotation) if part in keys else None
        if inner is None:
            return None
        model = inner
    return model


def _keys_at(path: Path) -> list[str]:
    model = _model_at(path)
    return [] if model is None else list(spelled(model))


def _full_keys(model: type[BaseModel] = ScenarioModel, before: str = "") -> Iterator[str]:
    """Every key as ``--set`` spells it, entries of arrays by number 0."""
    for name, info in spelled(model).items():
        key = before + name
        yield key
        inner = model_in(info.annotation)
        if inner is not None:
            yield from _full_keys(inner, f"{key}.0." if holds_many(info) else f"{key}.")


def _problem(document: Document, finding: Finding) -> Problem:
    """A finding with its file, line and value."""
    node: Any = document.data
    path: Path = ()
    value: Any = node
    for part in finding.path:
        entry = isinstance(part, int) and isinstance(node, list) and part < len(node)
        if entry or (isinstance(node, dict) and part in node):
            node = node[part]
        elif isinstance(part, int) and isinstance(node, dict):
            continue  # a single table stands for a list of one
        elif isinstance(node, dict):
            node = NOTHING
        else:
            break  # a text stands for a table: the text is what is wrong
        path = (*path, part)
        value = node
    file, line = document.place(path)
    nearby = finding.nearby
    if nearby is None and file == OVERRIDE and finding.message == "unknown key":
        last = str(finding.path[-1])
        nearby = next((key for key in _full_keys() if f"_{key.split('.')[-1]}".endswith(f"_{last}")), None)
    shown = NOTHING if isinstance(value, dict | list) else value
    return Problem(file, line, show_path(path), shown, finding.message, finding.allowed, nearby)


def _parts(data: dict[str, Any], pruned: set[Path] | None = None) -> Parts:
    """What can be read of a document that has mistakes.

    With ``pruned``, tables are read without their bad keys, and the paths of these are added to it:
    good enough to look for more mistakes in the same table, not for sizes.
    """
    try:
        horizon_ns: int | None = units.parse_duration(data.get("horizon"))
    except units.UnitError:
        horizon_ns = None
    return Parts(
        _item(Machine, data.get("machine"), ("machine",), pruned),
        horizon_ns,
        _items(schema.Errors, data, "errors", pruned),
        _items(schema.File, data, "file", None),
        _items(schema.Task, data, "task", pruned),
        _items(schema.Pool, data, "kernel", pruned),
        _items(schema.Step, data, "script", None),
        _item(Dram, data["dram"], ("dram",), pruned) if "dram" in data else None,
        data,
        exact=not pruned,
    )


def _item(model: type[Item], value: object, path: Path, pruned: set[Path] | None) -> Item | None:
    if pruned is not None:
        item, changed = without_mistakes(model, value, path)
        pruned |= changed
        return item
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _items(
    model: type[Item], data: dict[str, Any], table: str, pruned: set[Path] | None
) -> list[Item | None]:
    entries = data.get(table)
    if not isinstance(entries, list):
        return []
    return [_item(model, entry, (table, index), pruned) for index, entry in enumerate(entries)]
