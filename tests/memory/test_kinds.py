"""A kind of page is one file and its entry in the registry: seen by adding one, and by looking for leaks."""

from __future__ import annotations

import ast
import json
import sqlite3
from pathlib import Path

import pytest

from hwsim.kernel.failure import Chance
from hwsim.machine.machine import Machine
from hwsim.memory.behaviours import BEHAVIOURS
from hwsim.memory.draw_state import first_look
from hwsim.memory.flag_array import flag_array
from hwsim.memory.kinds import KINDS, POOLS
from hwsim.memory.layout import MemoryLayout
from hwsim.memory.page_law import state_of
from hwsim.spec import KernelPoolSpec, MachineSpec, Spec
from tests.support.copied_tree import ROOT, add, changed, copy_tree, python
from tests.test_house import SOURCES

pytestmark = pytest.mark.xdist_group("kinds")  # one copy of the tree for all of them
FOLDER = ROOT / "hwsim" / "memory" / "kinds"
AMBIGUOUS = {"anon", "file", "free", "reserved", "slab"}  # words of other things as well

# -- one kind more -----------------------------------------------------------------------------------------

# Persistent memory that a driver owns: nobody maps it, and a daemon reads all of it ten times a second.
TOY_FILE = '''"""Persistent memory."""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import Chance
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import OWNER, Page
from hwsim.memory.kinds.behaviour import Behaviour, Structure


def _draw(kernel: Kernel, page: Page, chance: Chance) -> None:
    page.flags = pg.RESERVED
    page.get(OWNER)


def _daemon(page: Page) -> tuple[float, float]:
    return 10e-9, 0.0


BEHAVIOURS = {"pmem": Behaviour(Structure(pg.RESERVED), _draw, kernel_access=_daemon)}
'''
TOY_ENTRY = '    "pmem": PageKind("pmem", ("persistent memory", "#882255"), pool=PoolUse(largest=0)),\n'
TOY_SCENARIO = """
name = "toy"
horizon = "1 min"
repeat = 1

[machine]
memory = "64 MiB"
kernel = "v5"

[[kernel]]
kind = "pmem"
size = "48 MiB"

[[errors]]
count = 1
where = { kind = "pmem" }
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree like ours with one kind more, and a scenario that has such pages."""
    place = tmp_path_factory.mktemp("toy")
    copy_tree(place, "hwsim")
    kinds = place / "hwsim" / "memory" / "kinds"
    (kinds / "pmem.py").write_text(TOY_FILE)
    add(kinds / "__init__.py", TOY_ENTRY, before="    FREE: PageKind(")
    (place / "toy.toml").write_text(TOY_SCENARIO)
    return place


def hwsim(place: Path, *args: str) -> str:
    """What the command of that tree prints."""
    return python(place, "-m", "hwsim", *args)


def test_one_kind_more_takes_its_file_and_its_entry(toy: Path) -> None:
    assert changed(toy, "hwsim") == {f"hwsim/memory/kinds/{name}.py" for name in ("pmem", "__init__")}
    assert len(TOY_ENTRY.splitlines()) == 1


def test_one_kind_more_is_known_to_the_schema_and_to_the_checks(toy: Path) -> None:
    definitions = json.loads(hwsim(toy, "schema"))["$defs"]
    assert "pmem" in definitions["Pool"]["properties"]["kind"]["enum"]
    assert "pmem" in definitions["Where"]["properties"]["kind"]["enum"]
    alloc = next(step for step in definitions["Step"]["oneOf"] if step["title"] == "alloc")
    assert "pmem" in alloc["properties"]["kind"]["enum"]
    hwsim(toy, "check", "toy.toml")


def test_one_kind_more_is_played_told_and_drawn(toy: Path) -> None:
    hwsim(toy, "run", "toy.toml", "--quiet", "--workers", "1", "--out", "toy.sqlite")
    with sqlite3.connect(toy / "toy.sqlite") as results:
        rows = results.execute("SELECT kind, region, found FROM errors").fetchall()
    results.close()
    assert rows == [("pmem", "kernel:pmem", "kernel_load")]  # by the daemon: the pool says of no loads
    hwsim(toy, "replay", "toy.sqlite", "--replication", "0", "--map", "map")
    picture = (toy / "map.svg").read_text("utf-8")
    assert "persistent memory" in picture
    assert "#882255" in picture


# -- the kinds there are -----------------------------------------------------------------------------------


def test_every_file_is_of_a_kind_and_every_kind_has_one() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "behaviour"}
    assert files == {kind.module for kind in KINDS.values()}
    assert list(BEHAVIOURS) == list(KINDS)


def test_the_kernels_memory_is_drawn_as_it_is_laid_out() -> None:
    """What the flag array says of a frame is what a first look finds; nobody has touched anything yet."""
    pools = tuple(KernelPoolSpec(kind, 8, order=use.order) for kind, use in POOLS.items())
    layout = MemoryLayout(Spec("x", 10, 1, 1, MachineSpec(64), (), (), (), pools))
    machine = Machine(layout.spec, 0, layout)
    kernel, flags = machine.kernel, flag_array(machine.kernel, 0, machine.draws)
    for pfn in range(64):
        page = first_look(kernel, pfn, Chance(-1, pfn, [], lambda *_: 0.5))
        assert state_of(page) == flags[pfn], page.region.name


def _constants(file: Path) -> set[object]:
    tree = ast.parse(file.read_text("utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def test_the_name_of_a_kind_stands_in_its_file_and_in_the_registry() -> None:
    """A block device is a file system for the kernel as well."""
    names = set(KINDS) - AMBIGUOUS - {"blockdev"}
    leaks = {path.name for path in SOURCES if FOLDER not in path.parents and names & _constants(path)}
    assert leaks == set()


def _asks_for_a_kind(node: ast.AST) -> bool:
    """``region.kind == "anon"``, ``page.region.kind in ("anon", ...)`` and the like."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    words = {part.value for s in sides for part in ast.walk(s) if isinstance(part, ast.Constant)}
    return any(isinstance(s, ast.Attribute) and s.attr == "kind" for s in sides) and bool(words & set(KINDS))


def test_nobody_asks_for_a_kind_by_name() -> None:
    offenders = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if _asks_for_a_kind(node)
    ]
    assert offenders == [], "put the fact that it is asked for into memory/kinds, or ask as Linux does"


@pytest.mark.parametrize("text", ['region.kind == "anon"', 'page.region.kind not in ("shm", "file")'])
def test_the_check_for_names_of_kinds_can_fail(text: str) -> None:
    assert any(map(_asks_for_a_kind, ast.walk(ast.parse(text))))
