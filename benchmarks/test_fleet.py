"""Fleets at field rates: machines without an arrival found together, machines whose faults ruin no line.

The budget is 2 us for a machine without an arrival, and one draw more with a frailty of its own.  What is
asserted are ratios to the plain way on the same computer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from dataclasses import replace
from statistics import median

import pytest

from hwsim.machine import Machine, MemoryLayout
from hwsim.machine.harmless import harmless
from hwsim.machine.quiet import quiet, uneventful
from hwsim.record import Replication
from hwsim.spec import DramSpec, ErrorSpec, Spec
from tests.support.worlds import world

YEAR_NS = 31_536_000_000_000_000
TOGETHER, ALONE = 20_000, 1_000
RATES = (
    ("bit", 14.2, 18.6, None),
    ("column", 1.4, 5.6, None),
    ("row", 0.2, 8.2, None),
    ("bank", 0.8, 10.0, None),
)


def fleet(frailty: float) -> Spec:
    """A machine of 16 DIMMs, for a year."""
    dram = DramSpec("ddr4-2socket", rates=RATES, ecc="chipkill", frailty=frailty)
    return replace(world(), errors=(ErrorSpec(2.2e-9, dram=dram),), horizon_ns=YEAR_NS)


def cpu_us(work: Callable[[], Sized], machines: int) -> float:
    begin = time.process_time()
    assert work()
    return (time.process_time() - begin) / machines * 1e6


@pytest.mark.parametrize("frailty", [0.0, 1.0])
def test_machines_without_an_arrival(frailty: float, capsys: pytest.CaptureFixture[str]) -> None:
    spec = fleet(frailty)
    pairs = [
        (
            cpu_us(lambda: quiet(spec, range(TOGETHER)), TOGETHER),
            cpu_us(lambda: [uneventful(spec, index) for index in range(ALONE)], ALONE),
        )
        for _ in range(7)
    ]
    ratio = median(alone / together for together, alone in pairs)
    together, alone = map(min, zip(*pairs, strict=True))
    with capsys.disabled():
        print(
            f"\na machine without an arrival, frailty {frailty}: {together:.2f} us of {TOGETHER:,} together, "
            f"{alone:.1f} us one by one, {ratio:.1f} times"
        )
    assert ratio >= 5.0


def test_machines_whose_faults_ruin_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    spec = fleet(1.0)
    layout, nothing = MemoryLayout(spec), quiet(spec, range(ALONE))
    busy = [index for index in range(ALONE) if index not in nothing]

    def play(index: int) -> Replication:
        machine = Machine(spec, index, layout)
        machine.run()
        return machine.result()

    pairs = [
        (
            cpu_us(lambda: [harmless(spec, index, layout) for index in busy], len(busy)),
            cpu_us(lambda: [play(index) for index in busy], len(busy)),
        )
        for _ in range(7)
    ]
    light, whole = map(min, zip(*pairs, strict=True))
    with capsys.disabled():
        print(f"\na machine with DRAM faults: {light:.0f} us, {whole:.0f} us with a kernel")
    assert median(whole / light for light, whole in pairs) >= 1.0
