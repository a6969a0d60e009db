"""The fault sampler on FaultSim's stock case: DIMMs a second, their number, and the plain way beside it.

The budget is 2e7 DIMMs a second on one core; FaultSim v0.1 alpha made 2.3e5 and its edition of 2019 1.3e5,
measured on two shared cores.  What is asserted is a ratio to the plain way on the same machine.
"""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import pytest

from hwsim.hardware.dram.fault_sampler import sample_faults
from tests.hardware.test_faults import JAGUAR, plainly

TRIALS = 40_000_000
PLAIN_TRIALS = 20_000
AT_LEAST_TIMES = 200


@pytest.mark.parametrize("ecc", ["secded", "chipkill"])
def test_dimms_a_second(ecc: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = replace(JAGUAR, ecc=ecc)
    rates, plain_rates = [], []
    for _ in range(5):
        begin = time.process_time()
        counts = sample_faults(model, TRIALS, 1)
        rates.append(TRIALS / (time.process_time() - begin))
        assert counts.trials == TRIALS
        begin = time.process_time()
        plainly(model, PLAIN_TRIALS, 1)
        plain_rates.append(PLAIN_TRIALS / (time.process_time() - begin))
    ratio = median(fast / plain for fast, plain in zip(rates, plain_rates, strict=True))
    with capsys.disabled():
        print(
            f"\n{ecc}: {median(rates):.3g} DIMMs a CPU second over {TRIALS:,} DIMMs; "
            f"one at a time {median(plain_rates):.3g} over {PLAIN_TRIALS:,}: {ratio:.0f} times"
        )
    assert ratio > AT_LEAST_TIMES
