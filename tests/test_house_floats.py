"""Results hang on no C library, Python version or vector unit: what the model may do with floats.

What IEEE 754 fixes, or what is exact, stands below; the rest is ``hwsim/elementary.py``.  Whole numbers may
be added anyhow, and draws of numpy's Generator decide where and when DRAM faults come: both are
lists, and an entry that is needed no longer fails as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.test_house import ROOT
from tests.test_house_model import TREES

EXACT = {  # of math
    "ceil", "comb", "floor", "frexp", "inf", "isfinite", "isinf", "isnan", "ldexp", "nextafter", "sqrt",
}  # fmt: skip
OF_ARRAYS = {"dot", "mean", "prod", "std", "sum", "var"}  # cumsum adds one by one
INEXACT = OF_ARRAYS | {  # of numpy
    "average", "convolve", "cos", "einsum", "exp", "exp2", "expm1", "float_power", "inner", "interp",
    "linalg", "log", "log10", "log1p", "log2", "matmul", "nansum", "power", "quantile", "sin", "tan",
    "tensordot", "trapezoid", "vdot",
}  # fmt: skip
OF_A_GENERATOR = {
    "binomial", "exponential", "gamma", "geometric", "lognormal", "multinomial", "normal", "poisson",
    "standard_exponential", "standard_gamma", "standard_normal",
}  # fmt: skip

GENERATOR_DRAWS = {"bad_lines/dram_faults.py", "hardware/dram/fault_sampler.py"}
WHOLE_NUMBERS = {  # what is added there
    "bad_lines/dram_faults.py _lines": "lines",
    "bad_lines/line_set.py _begin": "lines",
    "bad_lines/line_set.py go_bad": "lines",
    "bad_lines/rows.py error_row": "signals",
    "hardware/dram/address_map.py _rows": "bits of a mask",
    "hardware/dram/address_map.py line_count": "bits",
    "hardware/dram/address_map.py map_problems": "widths",
    "hardware/dram/ecc_line.py code_words": "bits of a symbol",
    "hardware/dram/gf2.py transpose": "bits of a row",
    "hardware/mce_text.py read_mce": "lines",
    "kernel/mce/printed.py _play": "records",
    "kernel/mm_types.py count": "references",
    "kernel/page_ranges.py within": "pages",
    "lost_writes/lost_write.py _stale_reads": "reads",
    "machine/sums.py replication_row": "what rows count",
    "memory/census.py _range": "allocations",
    "memory/users.py __init__": "places of tasks",
    "scenario/valid_parts.py _laid_out": "frames",
    "scenario/valid_parts.py place_pages": "pages",
    "script/names.py _range": "pages",
    "userspace/process_table.py boot": "places of tasks",
    "userspace/process_table.py restarts": "restarts",
}

SCENARIO = ROOT / "hwsim" / "scenario"
DECIDING = TREES | {
    f"scenario/{file.name}": ast.parse(file.read_text("utf-8")) for file in sorted(SCENARIO.glob("*.py"))
}


def _is_whole(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def _refused(node: ast.AST) -> str | None:
    """What is done with floats here that another machine may do otherwise."""
    match node:
        case ast.BinOp(left, ast.Pow(), right) if not (_is_whole(left) and _is_whole(right)):
            return "**"
        case ast.AugAssign(op=ast.Pow()):
            return "**"
        case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
            return "@"
        case ast.ImportFrom(module="math", names=names) if {each.name for each in names} - EXACT:
            return "math"
        case ast.ImportFrom(module="statistics" | "cmath") | ast.alias(name="statistics" | "cmath"):
            return "statistics"
        case ast.Attribute(ast.Name("math"), attr) if attr not in EXACT:
            return f"math.{attr}"
        case ast.Attribute(ast.Name("np"), attr) if attr in INEXACT:
            return f"np.{attr}"
        case ast.Call(ast.Attribute(_, attr)) if attr in OF_ARRAYS:
            return attr
        case ast.Call(ast.Attribute(_, attr)) if attr in OF_A_GENERATOR:
            return "Generator"
        case ast.Call(ast.Name("sum" | "pow" as called)):
            return called
    return None


def _found(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, str]]:
    """(innermost function, what is refused there)."""
    for node in ast.iter_child_nodes(tree):
        refused = _refused(node)
        if refused is not None:
            yield inside, refused
        yield from _found(node, node.name if isinstance(node, ast.FunctionDef) else inside)


def _places(*what: str) -> set[str]:
    return {
        f"{file} {where}"
        for file, tree in DECIDING.items()
        for where, refused in _found(tree)
        if refused in what
    }


def test_floats_are_as_they_are_everywhere() -> None:
    found = {
        f"{file} {where}: {refused}"
        for file, tree in DECIDING.items()
        for where, refused in _found(tree)
        if refused not in ("sum", "Generator")
    }
    assert found == set()


def test_sums_are_of_whole_numbers() -> None:
    assert _places("sum") == set(WHOLE_NUMBERS), "floats are added by elementary.added()"


def test_dram_faults_alone_are_drawn_by_a_generator() -> None:
    assert {place.split()[0] for place in _places("Generator")} == GENERATOR_DRAWS


@pytest.mark.parametrize(
    "text",
    [
        "x ** 2", "x **= 2", "2.0 ** -53", "pow(x, y)", "a @ b", "sum(each for each in x)", "x.sum()",
        "from math import log1p", "import math\nmath.exp(1)", "from statistics import NormalDist",
        "import statistics", "np.log1p(x)", "np.linalg.solve(a, b)", "chance.standard_normal()",
    ],
)  # fmt: skip
def test_each_of_these_is_refused(text: str) -> None:
    assert len(list(_found(ast.parse(text)))) >= 1


@pytest.mark.parametrize("text", ["2**62", "from math import sqrt", "math.inf", "np.cumsum(x)", "added(x)"])
def test_none_of_these_is_refused(text: str) -> None:
    assert list(_found(ast.parse(text))) == []
