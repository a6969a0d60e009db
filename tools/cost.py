"""``python -m tools.cost OLD NEW``: what an error costs in two commits, on the reference machine.

Events and Python calls an error are counted; both are exact for one version of Python.  CPU time is taken in
fresh processes, OLD and NEW by turns, so that a drifting computer drifts for both: the median ratio counts.
``.`` is the working tree.  Exit status: 0 within the limits, 1 not.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

MOST_EVENTS = 1.01  # times those of OLD
MOST_CALLS = 1.03
LEAST_RATIO = 0.97  # CPU time of OLD / of NEW


def count() -> dict[str, float]:
    """Events and calls an error, in the tree on PYTHONPATH."""
    from benchmarks.worlds import reference
    from hwsim.machine import Machine, MemoryLayout, run_replication

    calls = 0

    def seen(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    spec = reference()
    run_replication(reference(days=5), 0)  # what is made once is not counted
    gc.disable()
    sys.setprofile(seen)
    errors = run_replication(spec, 0).row.errors
    sys.setprofile(None)
    machine = Machine(spec, 0, MemoryLayout(spec))
    machine.run()
    return {"errors": errors, "events": machine.engine.scheduled / errors, "calls": calls / errors}


def seconds() -> dict[str, float]:
    """CPU seconds of one replication, in the tree on PYTHONPATH."""
    from benchmarks.worlds import reference
    from hwsim.machine import run_replication

    spec = reference()
    run_replication(reference(days=5), 0)
    gc.collect()
    gc.disable()
    start = time.process_time()
    run_replication(spec, 0)
    return {"cpu_s": time.process_time() - start}


def _measured(tree: Path, what: str) -> dict[str, float]:
    command = [sys.executable, "-P", str(Path(__file__).resolve()), what]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    """The command."""
    from tools.same_bytes import checked_out

    parser = argparse.ArgumentParser(prog="python -m tools.cost", description=__doc__)
    parser.add_argument("old", metavar="OLD", help="a commit")
    parser.add_argument("new", metavar="NEW", nargs="?", default=".", help="a commit (default: working tree)")
    parser.add_argument(
        "--pairs", type=int, default=9, metavar="N", help="runs of each (default: 9; 0: count)"
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cost-") as name:
        trees = [checked_out(wanted.old, Path(name) / "old"), checked_out(wanted.new, Path(name) / "new")]
        old, new = (_measured(tree, "count") for tree in trees)
        pairs = [[_measured(tree, "seconds")["cpu_s"] for tree in trees] for _ in range(wanted.pairs)]
    kept = True
    for what, most in (("events", MOST_EVENTS), ("calls", MOST_CALLS)):
        times = new[what] / old[what]
        kept = kept and times <= most
        print(
            f"{what} an error: {old[what]:.3f} -> {new[what]:.3f}, {times - 1:+.2%} (at most {most - 1:+.0%})"
        )
    if pairs:
        ratios = sorted(before / after for before, after in pairs)
        kept = kept and median(ratios) >= LEAST_RATIO
        before, after = (median(each) for each in zip(*pairs, strict=True))
        print(f"CPU: {before:.3f} s -> {after:.3f} s, ratio {median(ratios):.3f} (at least {LEAST_RATIO})")
        print("ratios:", *(f"{each:.3f}" for each in ratios))
    print(f"{new['errors']:,.0f} errors: {'within the limits' if kept else 'TOO DEAR'}")
    return 0 if kept else 1


if __name__ == "__main__":
    if sys.argv[1:] in (["count"], ["seconds"]):
        print(json.dumps(count() if sys.argv[1] == "count" else seconds()))
    else:
        sys.exit(main())
