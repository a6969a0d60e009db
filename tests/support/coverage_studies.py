"""Many small studies of one scenario whose answer is known: how often do the intervals contain it?

Single tasks that never touch their pages again hold half of the memory, the other half is free, and the
scrubber sweeps once a period.  With early kill every find in a task's page kills exactly one task (it
starts again at once), with late kill none; errors are a Poisson process, so a machine of horizon T and sweep
P finds rate x (T - P / 2) errors on average, and half of them kill.
"""

from __future__ import annotations

from typing import NamedTuple

from hwsim.machine import MemoryLayout, run_replication
from hwsim.spec import ErrorSpec, MachineSpec, RegionSpec, ScrubSpec, Spec, TaskSpec, Touch
from hwsim.study.estimate import Estimate, mean, paired_difference, paired_ratio_difference, ratio
from tests.support.worlds import NO_TIME

DAY_NS = 86_400_000_000_000
HORIZON_NS, SWEEP_NS, RATE_PER_S = 20 * DAY_NS, 2 * DAY_NS, 0.2 / 86_400
PAGES = 1 << 16
TRUTH = {
    "kills per machine": RATE_PER_S * 1e-9 * (HORIZON_NS - SWEEP_NS / 2) / 2,
    "kills per detected error": 0.5,
}


def spec(early_kill: int) -> Spec:
    """The machine: 8 tasks of 4096 pages, and as many free pages."""
    region = RegionSpec("heap", "anon", PAGES // 16, (Touch(1.0),))
    machine = MachineSpec(PAGES, early_kill=early_kill, scrub=ScrubSpec(SWEEP_NS), times=NO_TIME)
    task = TaskSpec("task", count=8, regions=(region,), restart_ns=1)
    return Spec("known", HORIZON_NS, 77, 1, machine, (ErrorSpec(RATE_PER_S, permanent=0.0),), (), (task,))


class Machine(NamedTuple):
    """One replication: kills and detected errors under late and early kill."""

    kills: tuple[float, float]
    detected: tuple[float, float]


def pool(first: int, count: int) -> list[Machine]:
    """Replications ``first`` to ``first + count`` under both policies."""
    specs = spec(0), spec(1)
    plans = MemoryLayout(specs[0]), MemoryLayout(specs[1])
    found = []
    for index in range(first, first + count):
        late, early = (run_replication(s, index, p).row for s, p in zip(specs, plans, strict=True))
        found.append(
            Machine((float(late.kills), float(early.kills)), (float(late.detected), float(early.detected)))
        )
    return found


def intervals(study: list[Machine]) -> dict[str, list[Estimate]]:
    """What compare says of a study: for each quantity the early value and the paired difference."""
    kills = [list(column) for column in zip(*(machine.kills for machine in study), strict=True)]
    detected = [list(column) for column in zip(*(machine.detected for machine in study), strict=True)]
    pairs = (kills[0], detected[0]), (kills[1], detected[1])
    return {
        "kills per machine": [mean(kills[1]), paired_difference(*kills)],
        "kills per detected error": [ratio(kills[1], detected[1]), paired_ratio_difference(*pairs)],
    }


def covered(machines: list[Machine], size: int) -> dict[tuple[str, int], tuple[int, int]]:
    """(studies whose interval contains the truth, studies with an interval) for each estimate."""
    counts = {(name, which): [0, 0] for name in TRUTH for which in (0, 1)}
    for start in range(0, len(machines) - size + 1, size):
        for name, estimates in intervals(machines[start : start + size]).items():
            for which, estimate in enumerate(estimates):
                if estimate.low is not None and estimate.high is not None:
                    counts[name, which][1] += 1
                    counts[name, which][0] += estimate.low <= TRUTH[name] <= estimate.high
    return {key: (hits, of) for key, (hits, of) in counts.items()}
