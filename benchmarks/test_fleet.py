"""Fleets at field rates: machines without an arrival, found together.

The budget is 2 us for a machine without an arrival, and one draw more with a frailty of its own.  What is
asserted is a ratio to the plain way on the same computer.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sized
from dataclasses import replace
from statistics import median

import pytest

from hwsim.machine.quiet import quiet, uneventful
from hwsim.spec import DramSpec, ErrorSpec, Spec
from tests.support.worlds import world

YEAR_NS = 31_536_000_000_000_000
TOGETHER, ALONE = 4_096, 1_000  # the first: as many as a study asks for at once
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
    """CPU time of each machine, with the collector off, as in a study."""
    gc.disable()
    try:
        begin = time.process_time()
        assert work()
        return (time.process_time() - begin) / machines * 1e6
    finally:
        gc.enable()


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
    assert ratio >= 4.0
