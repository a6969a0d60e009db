"""The house rules that no linter knows. The import contracts themselves are run by `make lint`."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "hwsim").rglob("*.py"))
LINES_MAX = 400
FUNCTION_LINES_MAX = 60

# A file over LINES_MAX lines stands here with the reason why it is one idea all the same.
LONG_FILES: dict[str, str] = {
    "tests/oracles/oracle_mce.py": "mce-inject and do_machine_check() of two kernels, sharing their records",
    "tests/twin/twin.py": "one machine, read in one go; what moves by itself and its memory are elsewhere",
}

# A function over FUNCTION_LINES_MAX lines, likewise.
LONG_FUNCTIONS: dict[str, str] = {}

MODEL = (
    "hardware",
    "kernel",
    "userspace",
    "bad_lines",
    "lost_writes",
    "script",
    "machine",
    "explaining",
    "memory",
    "elementary",
    "elementary_each",
    "many_draws",
    "engine",
    "rng",
    "record",
    "spec",
    "units",
)
HEAVY = ("pandas", "matplotlib", "pydantic", "scipy", "typer", "rich")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_long_files_have_a_reason() -> None:
    files = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]
    too_long = {_name(f) for f in files if len(f.read_text("utf-8").splitlines()) > LINES_MAX}
    assert too_long - set(LONG_FILES) == set(), "split the file, or say in LONG_FILES why it is one idea"
    assert set(LONG_FILES) - too_long == set(), "no longer long: remove the entry"
    assert all(reason.strip() for reason in LONG_FILES.values())


def test_long_functions_have_a_reason() -> None:
    too_long = {
        f"{_name(f)} {node.name}"
        for f in SOURCES
        for node in ast.walk(ast.parse(f.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    }
    assert too_long == set(LONG_FUNCTIONS), "take it apart, or say why it is one; no longer long: remove it"


def test_every_module_says_what_it_is() -> None:
    silent = [_name(f) for f in SOURCES if ast.get_docstring(ast.parse(f.read_text("utf-8"))) is None]
    assert silent == []


def _compares_kernel_name(node: ast.AST) -> bool:
    """`x.kernel == "v5"`, `kernel in ("v5", ...)` and the like."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    names = {
        s.attr if isinstance(s, ast.Attribute) else s.id
        for s in sides
        if isinstance(s, ast.Attribute | ast.Name)
    }
    literal = any(
        isinstance(part, ast.Constant) and isinstance(part.value, str) for s in sides for part in ast.walk(s)
    )
    return literal and not names.isdisjoint({"kernel", "kernel_version", "profile"})


def test_the_check_for_kernel_names_can_fail() -> None:
    tree = ast.parse('if spec.machine.kernel == "v5":\n    pass\nif kernel in ("v5", "v6"):\n    pass\n')
    assert sum(map(_compares_kernel_name, ast.walk(tree))) == 2


def test_a_kernel_version_is_a_profile_and_never_an_if() -> None:
    offenders = [
        f"{_name(f)}:{getattr(node, 'lineno', 0)}"
        for f in SOURCES
        if f.parent.name != "versions"
        for node in ast.walk(ast.parse(f.read_text("utf-8")))
        if _compares_kernel_name(node)
    ]
    assert offenders == [], "put the difference into the profile (hwsim/kernel/versions)"


def _is_of_a_profile(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression is a field of a profile, a switch, or a name that was given one."""
    parts = [node, *ast.walk(node)]
    return any(
        (isinstance(part, ast.Attribute) and part.attr in ("profile", "switches"))
        or (isinstance(part, ast.Name) and part.id in {"profile", "switches"} | names)
        for part in parts
    )


def _asks_a_profile(function: ast.FunctionDef) -> list[int]:
    """Lines that compare a field of a profile with a word, or go by one that is true or false."""
    names = {
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name) and _is_of_a_profile(node.value, set())
    }
    lines = []
    for node in ast.walk(function):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = [isinstance(each, ast.Constant) and isinstance(each.value, str) for each in sides]
            if any(words) and any(_is_of_a_profile(each, names) for each in sides):
                lines.append(node.lineno)
        tests: list[ast.expr] = [node.test] if isinstance(node, ast.If | ast.IfExp | ast.While) else []
        tests += node.values if isinstance(node, ast.BoolOp) else []
        for test in tests:
            field = test.operand if isinstance(test, ast.UnaryOp) else test
            if isinstance(field, ast.Attribute) and _is_of_a_profile(field.value, names):
                lines.append(test.lineno)
    return lines


@pytest.mark.parametrize(
    "body",
    [
        'if kernel.switches.eio_mode == "errseq": pass',
        'return kernel.profile.counted == "poisoned"',
        'scheme = kernel.profile.early_kill\n    return scheme != "prctl"',
        'return "failed_to_unmap" in kernel.profile.formats',
        'return machine.switches.model_dump().get("early_kill_scheme") == "prctl"',
        "if not profile.has_prctl and ready: pass",
        "return 1 if kernel.profile.rejects_non_lru else 0",
    ],
)
def test_the_check_for_fields_of_a_profile_can_fail(body: str) -> None:
    (function,) = ast.parse(f"def f(kernel, profile, machine, ready):\n    {body}\n").body
    assert isinstance(function, ast.FunctionDef)
    assert _asks_a_profile(function) != []


def test_no_body_asks_what_kernel_it_is_in() -> None:
    """What kernels or switches do differently is a function of the profile, and is called."""
    offenders = {
        f"{_name(f)}:{line}"
        for f in SOURCES
        if f.parent.name != "versions"
        for node in ast.walk(ast.parse(f.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
        for line in _asks_a_profile(node)
    }
    assert offenders == set()


@pytest.mark.parametrize("use", ["import hwsim", "import hwsim; hwsim.explain", "import hwsim.machine"])
def test_the_model_loads_without_heavy_libraries(use: str) -> None:
    """The same promise as the import contracts, kept by what really is loaded."""
    code = f"import sys\n{use}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_every_room_is_under_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(c for c in contracts if c["type"] == "layers")
    assert layers["exhaustive"], "lint-imports must refuse a file that has no place"
    pure = next(c for c in contracts if "pandas" in c.get("forbidden_modules", ()))
    assert set(pure["source_modules"]) == {f"hwsim.{name}" for name in MODEL}
    assert set(pure["forbidden_modules"]) >= set(HEAVY)


def test_version_is_told_once() -> None:
    import hwsim

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert settings["project"]["dynamic"] == ["version"]
    told = (ROOT / settings["tool"]["hatch"]["version"]["path"]).read_text("utf-8")
    assert f'__version__ = "{hwsim.__version__}"' in told.splitlines()
    assert (ROOT / "hwsim" / "py.typed").exists()
