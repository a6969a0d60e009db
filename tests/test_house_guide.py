"""docs/house.md, its figure and CONTRIBUTING.md say what is in the tree, in the contract and in the code."""

from __future__ import annotations

import ast
import re
from itertools import chain
from pathlib import Path

from hwsim.spec import TimesSpec
from tests.test_house import ROOT
from tests.test_house_model import SETTINGS, TREES
from tools import files

GUIDE = (ROOT / "docs" / "house.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
FIGURE = (ROOT / "docs" / "processes.svg").read_text("utf-8")
CLASSES = {
    node.name: (file, node)
    for file, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
}


def _section(title: str) -> str:
    return GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _table(title: str) -> list[list[list[str]]]:
    """The code names in each cell of the table under a heading."""
    rows = [line for line in _section(title).splitlines() if line.startswith("|")][2:]
    return [[re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[1:-1]] for row in rows]


def _methods(node: ast.AST) -> list[str]:
    return [each.name for each in ast.walk(node) if isinstance(each, ast.FunctionDef)]


def _functions(files: list[str]) -> set[str]:
    return set(chain.from_iterable(_methods(TREES[file]) for file in files))


def _heirs(base: str) -> set[str]:
    """Classes that are derived from ``base``, by way of others too."""
    direct = {
        name
        for name, (_, node) in CLASSES.items()
        if base in {ast.unparse(each).partition("[")[0] for each in node.bases}
    }
    return direct.union(*map(_heirs, direct))


def _public(names: set[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def test_the_rooms_are_those_of_the_contract_and_of_the_tree() -> None:
    contracts = SETTINGS["tool"]["importlinter"]["contracts"]
    layers = next(each for each in contracts if each["type"] == "layers")["layers"]
    rooms = [names for names, _ in _table("Rooms")]
    assert rooms == [layer.split(" | ") for layer in layers if not layer.startswith("(")]
    tree = {path.stem for path in (ROOT / "hwsim").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert set(chain.from_iterable(rooms)) == _public(tree)


def test_the_list_of_files_is_made_of_what_they_say() -> None:
    assert (ROOT / "docs" / "files.md").read_text("utf-8") == files.reference(), "make schema"


def test_every_process_is_there_with_its_file() -> None:
    told = {name: file for [name], [file], *_ in _table("Processes")}
    assert told == {name: CLASSES[name][0] for name in _public(_heirs("Sleeper"))}


def test_the_figure_names_what_there_is() -> None:
    boxes = set(re.findall(r'class="name"[^>]*>(\w+)<', FIGURE))
    assert _public(_heirs("Sleeper")) <= boxes <= set(CLASSES)
    assert set(re.findall(r"\w+Watcher|UserSpace", FIGURE)) <= set(CLASSES)
    assert set(re.findall(r"(\w+)\(\)", FIGURE)) <= _functions(list(TREES))
    times = re.findall(r'class="time" x[^>]*>(\w+)<', FIGURE)
    assert len(times) == 4
    assert set(times) <= set(TimesSpec.__dataclass_fields__)


def test_an_error_walks_through_functions_of_the_files_that_are_named() -> None:
    steps = re.split(r"\n(?=\d\. )", _section("The life of one error").strip())
    assert len(steps) == 9
    for step in steps:
        files = re.findall(r"`([\w/]+\.py)`", step)
        assert set(files) <= set(TREES), step
        assert set(re.findall(r"`(\w+)\(\)`", step)) <= _functions(files), step


def test_every_port_is_there_with_its_methods_and_who_answers() -> None:
    ports = {
        name: (file, sorted(_public(_heirs(name))), _methods(node))
        for name, (file, node) in CLASSES.items()
        if "trait" in map(ast.unparse, node.decorator_list)
    }
    told = {port: (file, answers, methods) for [port, file], _, answers, methods in _table("Ports")}
    assert told == ports


def test_what_is_added_touches_the_files_that_its_test_counts() -> None:
    rows = _table("How to add")
    assert len(rows) == 6
    for _, touched, _, [test] in rows:
        counted = (ROOT / test).read_text("utf-8")
        for file in touched:
            assert file in counted or Path(file).name in counted, (test, file)
            new = file in ("kernel/versions/toy.py", "memory/kinds/pmem.py", "show/rain.py")
            assert new != ((ROOT / "hwsim" / file).exists() or (ROOT / file).exists()), file


def test_every_command_and_every_test_that_contributors_are_told_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets
    told = set(re.findall(r"`make ([\w-]+)", CONTRIBUTING))
    assert {"test", "verify", "golden", "same-bytes", "mutation"} <= told <= set(targets[1].split())
    assert set(re.findall(r"`python -m (tools\.\w+)", CONTRIBUTING)) == {"tools.same_bytes", "tools.cost"}
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    tests = set(re.findall(r"^(?:def )?(test_\w+)(?:\(| = )", sources, re.MULTILINE))
    held = set(re.findall(r"`(test_\w+)`", CONTRIBUTING))
    assert len(held) > 20
    assert held - tests == set()
    folders = set(re.findall(r"`(tests/\w+)`", CONTRIBUTING))
    assert all((ROOT / each).is_dir() for each in folders)


def test_links_for_developers_lead_somewhere() -> None:
    pages = {ROOT / "CONTRIBUTING.md": CONTRIBUTING, ROOT / "docs" / "house.md": GUIDE}
    links = [(page, to) for page, text in pages.items() for to in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert [to for page, to in links if not (page.parent / to).exists()] == []
