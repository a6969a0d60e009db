"""The lines of a whole bank: what a fault of a million of them costs, until its panic and replacement."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_PLAYED = """
import json, resource, time
from hwsim.machine import Machine, MemoryLayout
from hwsim.study.conduct import prepared

limits = ["dram.max_lines={limit}"] if {limit} else []
overrides = ['dram.fault=[{{ mode = "bank", permanent = 0.6 }}]', *limits]
spec = prepared("scenarios/row-fault.toml", overrides=overrides).spec
begin = time.process_time()
machine = Machine(spec, 3, MemoryLayout(spec))
machine.run()
result = machine.result()
seconds = time.process_time() - begin
fault = next(each for each in result.faults if each.outcome == "UE")
megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
print(json.dumps({{
    "seconds": seconds, "mb": megabytes, "panics": result.row.panics, "ruined": fault.ruined,
    "end": fault.end, "rows": len(result.errors), "lines": len(machine.bad_lines.all),
}}))
"""


@pytest.mark.parametrize(("limit", "lines"), [(1_000_000, 970_512), (None, 16_777_216)], ids=["10^6", "all"])
def test_a_bank_of_lines(limit: int | None, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own: 1 GB, 5 CPU seconds; only what is met becomes an object."""
    done = subprocess.run(
        [sys.executable, "-c", _PLAYED.format(limit=limit)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    with capsys.disabled():
        print(
            f"\na bank of {found['ruined']:,} lines: {found['seconds']:.2f} CPU s, {found['mb']:.0f} MB, "
            f"{found['lines']:,} lines became objects, {found['rows']:,} rows"
        )
    assert (found["ruined"], found["panics"], found["end"]) == (lines, 1, "replaced")
    assert found["lines"] < lines / 1000
    assert found["mb"] <= 1000
    assert found["seconds"] <= 5.0
