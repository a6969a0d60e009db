"""The house rules of the model, which is to be compiled and to run many machines in one process.

A list below holds what a rule does not reach: with its reason where that is to stay, and under "not yet"
where it is to go.  An entry that is needed no longer fails as well.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_house import MODEL, ROOT

PUBLIC_NAMES = 30
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

WIDE_CLASSES = {
    "kernel/profile.py Profile": "all that kernels have in their own way, a field each",
    "hardware/dram/dimms.py DramGeometry": "counts as JEDEC names them, and the sizes that follow from them",
}


def _files() -> list[Path]:
    places = [ROOT / "hwsim" / name for name in MODEL]
    return [
        file
        for place in places
        for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")])
    ]


FILES = _files()
TREES = {file.relative_to(ROOT / "hwsim").as_posix(): ast.parse(file.read_text("utf-8")) for file in FILES}


def _module_name(name: str) -> str:
    return f"hwsim.{name.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")


def _modules() -> Iterator[ModuleType]:
    return map(importlib.import_module, map(_module_name, TREES))


def test_no_name_is_for_the_type_checker_alone() -> None:
    found = {
        name
        for name, tree in TREES.items()
        if any(isinstance(node, ast.Name) and node.id == "TYPE_CHECKING" for node in ast.walk(tree))
    }
    assert found == set()


def test_the_machine_is_known_in_its_own_room_only() -> None:
    found = {
        name
        for name, tree in TREES.items()
        if not name.startswith("machine/")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hwsim.machine")
        if any(alias.name == "Machine" for alias in node.names)
    }
    assert found == set()


def test_a_study_takes_from_the_machine_only_what_runs_it() -> None:
    found = {
        alias.name
        for file in (ROOT / "hwsim" / "study").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hwsim.machine")
        for alias in node.names
    }
    runs = {"MemoryLayout", "run_replication", "run_replications", "rehearse"}
    assert found == runs | {"machine_census", "Snapshot"}


def test_any_stands_only_where_mypy_lets_it() -> None:
    """mypy itself refuses the others; here every exception is still needed."""
    overrides = SETTINGS["tool"]["mypy"]["overrides"]
    listed = next(each["module"] for each in overrides if each.get("disallow_any_explicit") is False)
    found = {
        _module_name(name)
        for name, tree in TREES.items()
        if any(isinstance(node, ast.alias) and node.name == "Any" for node in ast.walk(tree))
    }
    assert found == set(listed)


def test_no_private_name_of_another_object_is_touched() -> None:
    """ruff refuses it (SLF001); here nothing in the model is let off."""
    ignored = SETTINGS["tool"]["ruff"]["lint"]["per-file-ignores"]
    let_off = {where for where, rules in ignored.items() if "SLF001" in rules}
    assert let_off - {"tests/**"} == set()
    assert not [file for file in FILES if "noqa: SLF" in file.read_text("utf-8")]


def _public_names(wanted: ast.ClassDef) -> set[str]:
    """Methods, and attributes that are declared or set."""
    names = set()
    for node in ast.walk(wanted):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node in wanted.body:
            names.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                names.add(node.attr)
    return {name for name in names if not name.startswith("_")}


def test_no_class_knows_everything() -> None:
    """At most 30 public names, rows of a table and numbers of a list excepted."""
    found = {
        f"{name} {node.name}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and len(_public_names(node)) > PUBLIC_NAMES
        if not {ast.unparse(base) for base in node.bases} & {"NamedTuple", "IntEnum"}
    }
    assert found == set(WIDE_CLASSES)


# -- no state of a module: every machine of a process is alone --------------------------------------------


def _is_plain(value: object) -> bool:
    """Nothing of ours that could change."""
    if not type(value).__module__.startswith("hwsim") or isinstance(value, tuple | enum.Enum | type):
        return True
    return dataclasses.is_dataclass(value) and bool(vars(type(value))["__dataclass_params__"].frozen)


def test_no_object_is_shared_by_all_machines() -> None:
    found = {
        f"{module.__name__}.{name}"
        for module in _modules()
        for name, value in vars(module).items()
        if not _is_plain(value) and f"{module.__name__}.{name}" not in _imported(module)
    }
    assert found == set()


def _imported(module: ModuleType) -> set[str]:
    tree = ast.parse(Path(module.__file__ or "").read_text("utf-8"))
    return {
        f"{module.__name__}.{alias.asname or alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


CHANGING = {"append", "add", "extend", "insert", "pop", "remove", "discard", "clear", "update", "setdefault"}


def _changed(tree: ast.Module) -> Iterator[str]:
    """Names of the module that a function of it sets, fills or empties."""
    bound = {
        target.id
        for node in tree.body
        for target in (node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)])
        if isinstance(target, ast.Name)
    }
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        own = {a.arg for a in ast.walk(function) if isinstance(a, ast.arg)} | {
            n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                yield from node.names
                continue
            if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
                whose = node.value
            elif isinstance(node, ast.Attribute) and node.attr in CHANGING:
                whose = node.value
            else:
                continue
            if isinstance(whose, ast.Name) and whose.id in bound - own:
                yield whose.id


@pytest.mark.parametrize(
    "text",
    [
        "found = []\ndef f(x):\n    found.append(x)\n",
        "found = {}\ndef f(x):\n    found[x] = 1\n",
        "n = 0\ndef f():\n    global n\n    n += 1\n",
    ],
)
def test_the_check_for_state_of_a_module_can_fail(text: str) -> None:
    assert list(_changed(ast.parse(text))) != []


def test_no_function_changes_what_belongs_to_its_module() -> None:
    assert {f"{name} {each}" for name, tree in TREES.items() for each in _changed(tree)} == set()


def test_what_is_kept_between_calls_is_kept_by_value() -> None:
    """A cache by identity outlives the study whose objects it holds."""
    by_identity = [
        f"{module.__name__}.{name}({parameter})"
        for module in _modules()
        for name, value in vars(module).items()
        if hasattr(value, "cache_info")
        for parameter, kind in typing.get_type_hints(value.__wrapped__).items()
        if parameter != "return" and (typing.get_origin(kind) or kind).__eq__ is object.__eq__
    ]
    assert by_identity == []
