"""Where the code can be changed at one point, and a sample of such changes by a seed.

The changes are cosmic-ray's operators, and one more that leaves a statement out.  First a place is drawn,
then one of its changes: a ``+`` can become eleven other operators, which must not count eleven times.
"""

from __future__ import annotations

import ast
import hashlib
import json
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.ast.ast_query import ASTQuery
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from tools.mutation.covering import FOLDERS

LEAVE_OUT = "LeaveOut"


@dataclass(frozen=True)
class Mutant:
    """One change at one point; ``key`` stays the same as long as the line and its function do."""

    key: str
    path: str
    line: int
    operator: str
    occurrence: int
    source: str  # digest of the file it changes

    def code(self, root: Path) -> str:
        """The whole file with the change in it."""
        changed = mutate_code(
            (root / self.path).read_text("utf-8"), _operator(self.operator), self.occurrence
        )
        assert changed is not None
        return str(changed)

    def shown(self, root: Path) -> str:
        """The lines before and after."""
        before = (root / self.path).read_text("utf-8").splitlines()
        after = self.code(root).splitlines()
        first = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
        return f"- {before[first].strip()}\n+ {after[first].strip()}"


class LeaveOut:
    """A call, an assignment to an attribute or item, or an augmented one, becomes ``pass``."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Where it can be applied (cosmic-ray's interface of an operator)."""
        parent = node.parent
        if parent is None or parent.type != "simple_stmt" or node is not parent.children[0]:
            return
        if node.type == "expr_stmt":  # a plain name left out is only a NameError
            to, how = node.children[:2]
            counts = how.type == "operator" and (to.type == "atom_expr" or how.value != "=")
        else:
            counts = node.type == "atom_expr"
        if counts:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002 (cosmic-ray's interface)
        """What stands there instead."""
        return parso.parse(node.get_first_leaf().prefix + "pass")  # type: ignore[no-untyped-call,unused-ignore]


def _operator(name: str) -> Any:
    return LeaveOut() if name == LEAVE_OUT else get_operator(name)()


def _hash(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def _never_run(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Annotations, and what only a type checker reads: to change them changes nothing."""
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found.append(node)
        for name in ("annotation", "returns"):
            part = getattr(node, name, None)
            if isinstance(part, ast.AST):
                found.append(part)
    return [((n.lineno, n.col_offset), (n.end_lineno or 0, n.end_col_offset or 0)) for n in found]  # type: ignore[attr-defined]


def mutants_of(path: str, text: str, seed: int) -> Iterator[tuple[str, Mutant]]:
    """(rank, mutant) for each place of a file: the lowest ranks of all files are the sample."""
    tree = get_ast(text)
    nodes = list(ast_nodes(tree))
    lines = text.splitlines()
    dead = _never_run(ast.parse(text))
    source = _hash(text)
    places: dict[tuple[Any, str], list[tuple[str, int, Any]]] = defaultdict(list)
    for name in [*operator_names(), LEAVE_OUT]:
        if name.endswith(("VariableReplacer", "VariableInserter")):
            continue  # they want the names of variables
        operator = _operator(name)
        positions = ((node, *at) for node in nodes for at in operator.mutation_positions(node))
        for occurrence, (node, start, _end) in enumerate(positions):
            if not any(first <= start <= last for first, last in dead):
                places[start, name.split("_")[0]].append((name, occurrence, node))
    met: dict[str, int] = defaultdict(int)
    for (start, family), changes in sorted(places.items(), key=lambda item: item[0]):
        where = _hash(
            path, ASTQuery(changes[0][2]).get_definition_name(), lines[start[0] - 1].strip(), family
        )
        met[where] += 1  # the same line twice in one function
        rank = _hash(seed, where, met[where])
        name, occurrence, _ = min(
            changes, key=lambda change: _hash(rank, change[0], change[1] - changes[0][1])
        )
        yield rank, Mutant(_hash(rank, name)[:8], path, start[0], name, occurrence, source)


def sample(root: Path, seed: int, count: int, kept: Path) -> list[Mutant]:
    """``count`` mutants of the model and the studies, drawn by ``seed``, in the order of being drawn.

    A change to one file leaves the draw from the others.  The draw takes a minute: it is kept in ``kept``.
    """
    files = sorted(f for folder in FOLDERS for f in (root / folder).glob("*.py"))
    texts = {f.relative_to(root).as_posix(): f.read_text("utf-8") for f in files}
    of = _hash(seed, count, *texts.values())
    if kept.exists():
        found = json.loads(kept.read_text("utf-8"))
        if found["of"] == of:
            return [Mutant(**each) for each in found["drawn"]]
    ranked = [each for path, text in texts.items() for each in mutants_of(path, text, seed)]
    in_order = (mutant for _, mutant in sorted(ranked, key=lambda each: each[0]))
    drawn = list(islice((mutant for mutant in in_order if _compiles(mutant, root)), count))
    kept.write_text(json.dumps({"of": of, "drawn": [asdict(each) for each in drawn]}), "utf-8")
    return drawn


def _compiles(mutant: Mutant, root: Path) -> bool:
    """Without a warning: ``is 0`` would be noticed by Python, not by a test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            compile(mutant.code(root), "a mutant", "exec")
        except AttributeError:  # cosmic-ray replaces no exception whose name has a dot
            return False
        except (SyntaxError, SyntaxWarning):
            return False
    return True
