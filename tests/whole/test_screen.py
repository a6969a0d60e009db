"""What the screen settles is, byte for byte, what the machine would have come to.

The long form, with more variants, seeds and machines, is ``python -m tools.same_bytes . --no-screen``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from hwsim.kernel.versions import KERNELS
from hwsim.machine import MemoryLayout, run_replications
from hwsim.scenario.load import load
from hwsim.spec import Spec
from tests.whole.shipped import NAMES, SCENARIOS, SCRIPTED

PLAYED = ("error-storm", *SCRIPTED)  # many errors a machine, or a script: nothing is settled
MACHINES = 4
SEEDS = 1, 20090603


def _variants(name: str) -> Iterator[Spec]:
    """Both kernels, seeds and policies."""
    for kernel in KERNELS:
        spec = load(SCENARIOS / f"{name}.toml", [f"machine.kernel={kernel}"]).spec
        for seed, policy in product(SEEDS, (0, 1)):
            yield replace(spec, seed=seed, machine=replace(spec.machine, early_kill=policy))


@pytest.mark.parametrize("name", NAMES)
def test_with_and_without_the_screen_all_rows_are_the_same(name: str) -> None:
    settled: Counter[str] = Counter()
    for spec in _variants(name):
        plan = MemoryLayout(spec)
        played = list(run_replications(spec, range(MACHINES), plan, screen=False))
        for found, whole in zip(run_replications(spec, range(MACHINES), plan), played, strict=True):
            assert found._replace(settled="") == whole
            settled[found.settled] += 1
    if name in PLAYED:
        assert settled.keys() == {""}
    if name == "database-server":
        assert settled[""] <= settled.total() / 2
