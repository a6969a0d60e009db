"""Machines whose DRAM faults ruin no line: field by field what the whole machine would have left."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from hwsim.hardware.dram.fit_tables import FIXED
from hwsim.machine import Machine, MemoryLayout, run_replication
from hwsim.machine.harmless import harmless
from hwsim.record import Replication
from hwsim.spec import CorrectedSpec, DramSpec, ErrorSpec, ScriptStep, Spec
from tests.bad_lines.test_dram_faults import BASE, DAY, HOUR, world


def played(spec: Spec, index: int, layout: MemoryLayout) -> Replication:
    machine = Machine(spec, index, layout)
    machine.run()
    return machine.result()


def dram(*modes: str, ecc: str = "secded", **more: object) -> DramSpec:
    rates = tuple((mode, 1.0, 1.0, 0.3) for mode in modes or FIXED)
    return replace(BASE, rates=rates, ecc=ecc, frailty=0.5, **more)


SPECS = {
    "secded": world(dram("bit", "word", "column"), per_s=2e-5),
    "single bits": world(dram("bit"), per_s=3e-4, load=1e-3, corrected=CorrectedSpec(mcelog_ns=HOUR)),
    "sddc": world(dram(ecc="sddc"), per_s=2e-5, corrected=CorrectedSpec("poll")),
    "in windows": world(dram("bit", "row", ecc="chipkill", intermittent=0.5), per_s=3e-4, load=1e-3),
    "spared": world(dram("row", "bit", ecc="chipkill", row_sparing=3, show=0.5), per_s=3e-4, load=1e-3),
    "mirrored": world(dram(mirror=True), per_s=5e-5),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_what_no_kernel_has_to_see_is_what_the_machine_leaves(spec: Spec) -> None:
    layout, seen = MemoryLayout(spec), Counter[bool]()
    for index in range(30):
        found, whole = harmless(spec, index, layout), played(spec, index, layout)
        assert (found is None) == (whole.row.errors > 0)
        assert found is None or found._replace(settled=whole.settled) == whole
        seen[found is None] += bool(whole.faults)
    assert seen[False] >= 3, "some have faults and no error"


def test_other_errors_are_for_the_machine() -> None:
    """They end the attempt, whether they are alone or come beside faults; so does a script."""
    faults = world(dram("bit"), per_s=1e-6)
    layout = MemoryLayout(faults)
    assert harmless(faults, 0, layout) is not None
    for others in (
        replace(faults, errors=(ErrorSpec(),)),
        replace(faults, errors=(*faults.errors, ErrorSpec(count=1))),
        replace(faults, script=(ScriptStep("reboot", 5),)),
    ):
        assert harmless(others, 0, layout) is None


def test_a_traced_machine_is_played() -> None:
    spec = replace(SPECS["single bits"], horizon_ns=10 * DAY)
    traced = run_replication(spec, 0, trace=True)
    assert traced.settled == ""
    assert traced._replace(log=[], events=[], settled="no line ruined") == run_replication(spec, 0)
