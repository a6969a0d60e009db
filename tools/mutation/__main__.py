"""``python -m tools.mutation``: change the model at one point, and see whether a test notices.

Mutants are drawn by a seed over the places of tools/mutation/covering.py.  Each meets the tests that run
its line, the quick ones first, up to the first failure; what survives meets all others.  Tests of golden
numbers and printed output do not count.  Mutants live in a copy of the tree, one at a time, at the lowest
priority.  What is known stands in ``.mutation/results.jsonl``: an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tools.mutation.covering import Covering, is_left_out, measure
from tools.mutation.judge import NOBODY, first_failure, preload
from tools.mutation.mutants import Mutant, sample

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".mutation"
ARGUED = ROOT / "docs" / "mutants.md"
SEED = 20090603
_AGES = count(1)


@dataclass
class Results:
    """What became of each mutant, a line a mutant; a later line counts."""

    path: Path

    def read(self) -> dict[str, dict[str, Any]]:
        """By key."""
        if not self.path.exists():
            return {}
        lines = self.path.read_text("utf-8").splitlines()
        return {found["key"]: found for found in map(json.loads, lines)}

    def add(self, mutant: Mutant, **found: Any) -> None:
        """Written at once."""
        row = {"key": mutant.key, "path": mutant.path, "line": mutant.line, "source": mutant.source, **found}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _copy_tree(to: Path) -> Path:
    """The files that git knows or would add, as they are now."""
    shutil.rmtree(to, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


def _test_names(tree: Path) -> list[str]:
    """All tests that count, as pytest names them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    command += ["--ignore=tests/verification", "tests"]
    environment = {**os.environ, "PYTHONPATH": _python_path(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line and not is_left_out(line)]


def _python_path(tree: Path) -> str:
    return os.pathsep.join(filter(None, [str(tree), os.environ.get("PYTHONPATH", "")]))


def _rounds(
    mutant: Mutant, covering: Covering, tests: list[str], quick_s: float
) -> list[tuple[str, list[str]]]:
    """Who is asked first, and who after that; with ``quick_s`` only the quick ones of the first."""
    first, then = covering.order(mutant.path, mutant.line)
    known = set(tests)
    if quick_s:
        first = [test for test in first if test in known and covering.seconds[test] <= quick_s]
        return [("covering", each) for each in covering.nearest(first)]
    new = [test for test in tests if test not in covering.seconds]  # written since the lines were measured
    first = [test for test in first if test in known]
    others = [*new, *(test for test in then if test in known)]
    return [*(("covering", each) for each in covering.nearest(first)), ("others", others)]


def _judge(
    mutant: Mutant, tree: Path, covering: Covering, rounds: list[tuple[str, list[str]]]
) -> dict[str, Any]:
    """Whether and by whom it was noticed."""
    code = mutant.code(tree)
    path = tree / mutant.path
    original, cpu_s = path.read_bytes(), 0.0
    path.write_text(code, "utf-8")
    os.utime(path, (next(_AGES),) * 2)  # Python tells stale bytecode by size and whole seconds
    try:
        for name, order in rounds:
            if not order:
                continue
            noticed_by, took_s = first_failure(tree, order, covering.seconds, WORK / "last.log")
            cpu_s += took_s
            if noticed_by != NOBODY:
                return {"noticed": name, "by": noticed_by, "cpu_s": round(cpu_s, 1)}
    finally:
        path.write_bytes(original)
    return {"noticed": "", "by": "", "cpu_s": round(cpu_s, 1)}


def _report(drawn: list[Mutant], known: dict[str, dict[str, Any]]) -> bool:
    """Print what came out; whether every living mutant stands in docs/mutants.md."""
    found = [known[mutant.key] for mutant in drawn if mutant.key in known]
    living = [mutant for mutant in drawn if mutant.key in known and not known[mutant.key]["noticed"]]
    argued = ARGUED.read_text("utf-8") if ARGUED.exists() else ""
    for mutant in living:
        why = "stands in docs/mutants.md" if mutant.key in argued else "LIVES"
        print(f"{mutant.key} {mutant.path}:{mutant.line} {why}\n{mutant.shown(ROOT)}")
    by = {name: sum(each["noticed"] == name for each in found) for name in ("covering", "others")}
    share = (by["covering"] + by["others"]) / len(found) if found else 0.0
    cpu_min = sum(each["cpu_s"] for each in found) / 60
    print(
        f"{len(drawn)} drawn, {len(found)} judged in {cpu_min:.0f} CPU minutes: {by['covering']} noticed by"
    )
    print(f"tests that run the line, {by['others']} by others, {len(living)} live: {share:.1%} noticed")
    return all(mutant.key in argued for mutant in living)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--count", type=int, default=400, help="how many are drawn (default: 400)")
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="TEXT", help="in files of such a path, in order"
    )
    parser.add_argument("--again", action="store_true", help="judge those again that live")
    parser.add_argument("--tests", nargs="*", default=[], metavar="FILE", help="ask only these test files")
    parser.add_argument(
        "--quick", type=float, default=0.0, metavar="S", help="ask only tests of the line that take S seconds"
    )
    parser.add_argument("--measure", action="store_true", help="find out anew which tests run which line")
    parser.add_argument("--report", action="store_true", help="judge nothing, say what is known")
    wanted = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    results = Results(WORK / "results.jsonl")
    drawn = sample(ROOT, wanted.seed, wanted.count, WORK / "drawn.json")
    chosen = [mutant for text in wanted.only for mutant in drawn if text in mutant.path]
    drawn = list(dict.fromkeys(chosen)) if wanted.only else drawn
    if wanted.report:
        return 0 if _report(drawn, results.read()) else 1
    os.nice(19)
    tree = _copy_tree(WORK / "tree")
    covering = measure(tree, WORK, _python_path(tree), wanted.measure)
    tests = list(covering.seconds) if wanted.quick else _test_names(tree)
    tests = [test for test in tests if not wanted.tests or test.partition("::")[0] in wanted.tests]
    preload()
    for number, mutant in enumerate(drawn, 1):
        before = results.read().get(mutant.key)
        if before and before["source"] == mutant.source and (before["noticed"] or not wanted.again):
            continue
        found = _judge(mutant, tree, covering, _rounds(mutant, covering, tests, wanted.quick))
        print(f"{number:4} {mutant.key} {mutant.path}:{mutant.line} {found['by'] or 'LIVES'}", flush=True)
        if found["noticed"] or not (wanted.tests or wanted.quick):
            results.add(mutant, **found)  # the silence of a few tests says nothing
    return 0 if _report(drawn, results.read()) else 1


if __name__ == "__main__":
    sys.exit(main())
