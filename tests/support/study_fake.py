"""A stand-in for the model and for scenarios: quick, pure, with plausible rows."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hwsim.record import Replication
from hwsim.spec import MachineSpec, Spec
from hwsim.study import conduct, replay, replicate
from tests.support import rows

DAY_NS = 86_400_000_000_000
FOUND = ("scrub", "task_load", "kernel_load", "none")


def fake_replication(spec: Spec, index: int, base: Any = None, trace: bool = False) -> Replication:
    """Errors depend on (seed, index) only; with early_kill=1 mapped scrub finds kill at once."""
    draw = random.Random(f"{spec.seed}/{index}")
    early = spec.machine.early_kill == 1
    errors, signals = [], []
    for number in range(draw.randrange(1, 9)):
        onset = draw.randrange(spec.horizon_ns // 2)
        found = draw.choice(FOUND)
        mapped, touched = draw.random() < 0.6, draw.random() < 0.3
        found_ns = None if found == "none" else onset + draw.randrange(DAY_NS)
        dies = found == "scrub" and mapped and (early or touched)
        panic = found in ("task_load", "kernel_load") and draw.random() < 0.2
        end = "latent" if found == "none" else "panic" if panic else "isolated"
        errors.append(
            rows.error(
                replication=index,
                error=number,
                onset_ns=onset,
                pfn=draw.randrange(1 << 22),
                line=draw.randrange(64),
                permanent=int(draw.random() < 0.5),
                kind="anon" if mapped else "free",
                region="db/heap" if mapped else "free",
                found=found,
                found_ns=found_ns,
                poisoned_ns=None if found_ns is None or panic else found_ns + 100,
                contained_ns=None if found_ns is None or panic else found_ns + 900,
                row=13 if found_ns is not None else 0,
                message="LRU" if found_ns is not None else "",
                outcome="Recovered" if found_ns is not None and not panic else "",
                context="workqueue" if found_ns is not None else "",
                mappers=int(mapped),
                killed=int(dies),
                data_lost_bytes=4096 * dies,
                capacity_lost_bytes=4096 * (found_ns is not None),
                end=end,
                end_ns=spec.horizon_ns,
                panic_ns=found_ns if panic else None,
                panics=int(panic),
                panic_boot=0 if panic else None,
                panic_kind="anon" if panic else "",
                panic_region="db/heap" if panic else "",
            )
        )
        if dies:
            assert found_ns is not None
            signals.append(
                rows.signal(
                    replication=index,
                    error=number,
                    time_ns=found_ns + 500,
                    task="db.0",
                    pid=100,
                    signal="SIGBUS",
                    code="BUS_MCEERR_AO" if early else "BUS_MCEERR_AR",
                    cause="early" if early else "late",
                    result="killed",
                    done_ns=found_ns + 700,
                    needless=("no" if touched else "yes") if early else "",
                    kind="anon",
                    region="db/heap",
                )
            )
    kills = len(signals)
    panics = sum(e.end == "panic" for e in errors)
    detected = sum(e.found != "none" for e in errors)
    row = rows.machine(
        replication=index,
        end_ns=spec.horizon_ns,
        errors=len(errors),
        detected=detected,
        handled=detected - panics,
        recovered=detected - panics,
        kills_early=kills if early else 0,
        kills_late=0 if early else kills,
        kills=kills,
        needless_kills=sum(s.needless == "yes" for s in signals),
        panics=panics,
        downtime_ns=panics * 300_000_000_000,
        bad_pages=detected,
        poisoned_pages=detected,
        data_lost_bytes=sum(e.data_lost_bytes for e in errors),
        capacity_lost_bytes=sum(e.capacity_lost_bytes for e in errors),
        restarts=kills,
    )
    log = [(1_500_000_000, 3, "MCE 0x1234: something")] if trace else []
    events: list[tuple[int, str, dict[str, Any]]] = [(7, "onset", {"pfn": 1})] if trace else []
    reach = {"exit:table": detected, "row:13": detected}
    return Replication(row, errors, signals, [], reach, log, events, "BadPages:              4 kB\n", [])


def slow_replication(spec: Spec, index: int, base: Any = None, trace: bool = False) -> Replication:
    time.sleep(0.02)
    return fake_replication(spec, index, base, trace)


def failing_replication(spec: Spec, index: int, base: Any = None, trace: bool = False) -> Replication:
    if index == 3:
        raise RuntimeError("the third is bad")
    return fake_replication(spec, index, base, trace)


def dying_replication(spec: Spec, index: int, base: Any = None, trace: bool = False) -> Replication:
    """As slow as it takes to reach the workers, and number 30 kills its process."""
    time.sleep(0.01)
    if index == 30:
        os.kill(os.getpid(), signal.SIGKILL)
    return fake_replication(spec, index, base, trace)


class Each:
    """A runner of a study from what makes one replication."""

    def __init__(self, one: Callable[[Spec, int], Replication]) -> None:
        self.one = one

    def __call__(self, spec: Spec, indices: Sequence[int]) -> Iterator[Replication]:
        return (self.one(spec, index) for index in indices)


def stand_in(one: Callable[..., Replication], put: Callable[[Any, str, Any], None] = setattr) -> None:
    """What makes one replication takes the place of the model, for studies and for replays."""
    put(conduct, "Model", lambda screen: Each(one))
    for module in (replay, replicate):
        put(module, "traced", partial(one, trace=True))


FAKE, SLOW = Each(fake_replication), Each(slow_replication)
FAILING, DYING = Each(failing_replication), Each(dying_replication)


@dataclass(frozen=True)
class FakeScenario:
    """What a study asks of a scenario."""

    name: str = "fake box"
    data: dict[str, Any] = field(
        default_factory=lambda: {"name": "fake box", "seed": 1, "repeat": 12, "machine": {"memory": "16 GiB"}}
    )
    spec: Spec = field(default_factory=lambda: Spec("fake box", 90 * DAY_NS, 1, 12, MachineSpec(1 << 22)))

    @property
    def hash(self) -> str:
        free = ("repeat", "description")
        return repr(sorted((key, value) for key, value in self.data.items() if key not in free))

    only_dimms = False

    @property
    def model_version(self) -> int:
        return 1

    def with_overrides(self, overrides: list[str]) -> FakeScenario:
        found = self
        for text in overrides:
            key, _, value = text.partition("=")
            found = replace(found, data={**found.data, key: value})
            if key == "seed":
                found = replace(found, spec=replace(found.spec, seed=int(value)))
            elif key == "vm.memory_failure_early_kill":
                machine = replace(found.spec.machine, early_kill=int(value))
                found = replace(found, spec=replace(found.spec, machine=machine))
        return found
