"""One mutant before the tests: a process of its own runs them in order and stops at the first failure.

The process is forked from one that has imported the libraries and nothing of hwsim.  Limits are in CPU
seconds, so that a busy machine makes no difference; a test that takes many times what it takes has noticed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

NOBODY = ""  # no test failed
_ENDED = "ended"
_LIBRARIES = (
    "matplotlib.pyplot",
    "numpy",
    "pandas",
    "pydantic",
    "pytest",
    "rich.table",
    "scipy.stats",
    "simpy",
    "typer.testing",
)
_LEAST_CPU_S = 20.0
_TIMES = 10.0  # the seconds were measured under coverage, which more than doubles them
_MEMORY_BYTES = 8 << 30
_LEAST_WALL_S = 900.0  # for what waits without working; the machine may be busy


class _Watch:
    """A pytest plugin: only these tests, in this order, each within its time; who failed first."""

    def __init__(self, seconds: dict[str, float], order: list[str], tell: int) -> None:
        self.seconds = seconds
        self.rank = {test: number for number, test in enumerate(order)}
        self.tell = tell
        self.running = ""
        signal.signal(signal.SIGPROF, lambda *_: self.noticed(f"{self.running} (time)"))

    def noticed(self, test: str) -> None:
        """A test has failed: that is all that is asked."""
        os.write(self.tell, test.encode())
        os._exit(0)

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Tests that are not known yet come last; what is not in the order does not run."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self.rank), key=lambda item: self.rank[item.nodeid]
        )

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """The clock of this test starts."""
        self.running = nodeid
        limit = max(_LEAST_CPU_S, _TIMES * self.seconds.get(nodeid, 0.0))
        signal.setitimer(signal.ITIMER_PROF, limit)

    def pytest_runtest_logfinish(self) -> None:
        """The clock stops."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A failure of the test, or of what it sets up."""
        if report.failed:
            self.noticed(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        """The file cannot even be imported."""
        if report.failed:
            self.noticed(f"{report.nodeid} (import)")


def preload() -> None:
    """Import once what every child needs."""
    for library in _LIBRARIES:
        importlib.import_module(library)


def first_failure(tree: Path, order: list[str], seconds: dict[str, float], log: Path) -> tuple[str, float]:
    """(the first test that fails in ``tree``, or NOBODY; CPU seconds)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run(tree, order, seconds, log, writer)
    os.close(writer)
    wall_s = _LEAST_WALL_S + 20 * sum(seconds.get(test, 0.0) for test in order)
    try:
        ready, _, _ = select.select([reader], [], [], wall_s)
        told = os.read(reader, 4096).decode() if ready else "(stands still)"
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # and the workers that it may have started
        _, status, usage = os.wait4(child, 0)
    noticed_by = NOBODY if told == _ENDED else told or f"(died, status {status})"
    return noticed_by, usage.ru_utime + usage.ru_stime


def _run(tree: Path, order: list[str], seconds: dict[str, float], log: Path, tell: int) -> None:
    """In the child: never returns."""
    code = 1
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        here = str(Path.cwd())
        os.chdir(tree)
        sys.path[:] = [str(tree), *(p for p in sys.path if p not in ("", here))]
        os.environ["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if "site-packages" not in p)
        for name in [n for n in sys.modules if n.partition(".")[0] in ("hwsim", "tests", "tools")]:
            del sys.modules[name]
        import pytest

        files = sorted({test.partition("::")[0] for test in order})
        plugins = [_Watch(seconds, order, tell)]
        options = ["-q", "-x", "-p", "no:cacheprovider", "--benchmark-disable", "--assert=plain"]
        ended = pytest.main([*options, *files], plugins=plugins)
        if ended == 0:
            os.write(tell, _ENDED.encode())
            code = 0
    except BaseException:  # noqa: BLE001 (whatever it was stands in the log; nothing goes on in a fork)
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)
