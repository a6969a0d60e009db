"""Which tests run which line, and how long each test takes: measured once, and again when asked to."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FOLDERS = (
    "hwsim/hardware",
    "hwsim/kernel",
    "hwsim/bad_lines",
    "hwsim/lost_writes",
    "hwsim/study",
)  # what is mutated

NEAR_FILES = 4

# Golden numbers and printed output say that something changed, not what is wrong: they do not count.
LEFT_OUT = (
    "tests/whole/test_golden.py",
    "tests/whole/test_event_counts.py::test_events_follow_errors_and_signals",
    "tests/test_house.py",
    "tests/whole/test_notebooks.py",
    "tests/whole/test_readme.py::test_every_block_runs_in_order",
)


@dataclass(frozen=True)
class Covering:
    """``seconds`` of each test that counts; ``lines``: the tests that run a line of a file."""

    seconds: dict[str, float]
    lines: dict[str, dict[int, set[str]]]

    @cached_property
    def breadth(self) -> Counter[str]:
        """How many lines each test runs."""
        return Counter(test for of in self.lines.values() for tests in of.values() for test in tests)

    def nearest(self, tests: list[str]) -> list[list[str]]:
        """``tests`` in two parts: those of the few files whose tests run least besides, and the rest.

        A change is mostly noticed by its own unit tests; importing a test file takes longer than its tests.
        """
        files: dict[str, None] = {}
        for test in sorted(tests, key=lambda test: (self.breadth[test], test)):
            if len(files) == NEAR_FILES:
                break
            files[test.partition("::")[0]] = None
        near = [test for test in tests if test.partition("::")[0] in files]
        return [near, [test for test in tests if test not in set(near)]]

    def order(self, path: str, line: int) -> tuple[list[str], list[str]]:
        """The tests that run the line and all others, the quick ones first in both."""
        met = self.lines.get(path, {})
        covering = met.get(line) or set().union(*met.values())  # a constant: what runs the file's functions
        quick_first = sorted(self.seconds, key=lambda test: (self.seconds[test], test))
        return [t for t in quick_first if t in covering], [t for t in quick_first if t not in covering]


def is_left_out(test: str) -> bool:
    """Whether a test does not count."""
    return any(test == name or test.startswith((f"{name}::", f"{name}[")) for name in LEFT_OUT)


def measure(tree: Path, work: Path, python_path: str, anew: bool) -> Covering:
    """Run all tests that count in ``tree`` under coverage, unless that was done before.

    Of a file that has changed since, no line is known any more: all tests that ran anything in it count.
    """
    kept, now = work / "covering.json", _digests(tree)
    if kept.exists() and not anew:
        found = json.loads(kept.read_text("utf-8"))
        lines = {path: {int(n): set(t) for n, t in of.items()} for path, of in found["lines"].items()}
        for path, of in lines.items():
            if found["files"].get(path) != now.get(path):
                lines[path] = {0: set().union(*of.values())}
        return Covering(found["seconds"], lines)
    _run_tests(tree, work, python_path)
    covering = _read(work)
    lists = {path: {n: sorted(t) for n, t in of.items()} for path, of in covering.lines.items()}
    text = json.dumps({"files": now, "seconds": covering.seconds, "lines": lists})
    kept.write_text(text, "utf-8")
    return covering


def _digests(tree: Path) -> dict[str, str]:
    files = sorted(f for folder in FOLDERS for f in (tree / folder).glob("*.py"))
    return {f.relative_to(tree).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def _run_tests(tree: Path, work: Path, python_path: str) -> None:
    settings = work / "coveragerc"
    settings.write_text(
        f"[run]\nsource = {','.join(FOLDERS)}\nrelative_files = true\ndata_file = {work / 'coverage.db'}\n",
        "utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-disable"]
    command += ["--ignore=tests/verification", *(f"--deselect={test}" for test in LEFT_OUT)]
    command += ["--cov", f"--cov-config={settings}", "--cov-context=test", "--cov-report="]
    command += [f"--junitxml={work / 'seconds.xml'}", "tests"]
    environment = {**os.environ, "PYTHONPATH": python_path}
    if subprocess.run(command, cwd=tree, env=environment, check=False).returncode:
        raise SystemExit("mutation: a test fails without any mutant; nothing can be said")


def _read(work: Path) -> Covering:
    from coverage import CoverageData

    seconds = {}
    written = ET.parse(work / "seconds.xml")  # noqa: S314 (pytest wrote it a moment ago)
    for case in written.iter("testcase"):
        name = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
        seconds[name] = float(case.attrib["time"])
    data = CoverageData(str(work / "coverage.db"))
    data.read()
    lines: dict[str, dict[int, set[str]]] = {}
    for path in data.measured_files():
        found: dict[int, set[str]] = defaultdict(set)
        for line, contexts in data.contexts_by_lineno(path).items():
            found[line] = {context.rpartition("|")[0] for context in contexts} & seconds.keys()
        lines[path] = dict(found)
    return Covering(seconds, lines)
