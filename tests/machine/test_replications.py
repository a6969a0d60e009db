"""Machines played one by one, many at once, and without any shortcut leave the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwsim.machine import Machine, MemoryLayout, run_replication, run_replications
from hwsim.spec import ErrorSpec, FileSpec, MachineSpec, ScrubSpec, Spec, Touch

DAY_NS = 86_400_000_000_000
RARE = Spec(
    "rare",
    30 * DAY_NS,
    7,
    1,
    MachineSpec(memory_pages=1 << 20, scrub=ScrubSpec(period_ns=DAY_NS)),
    errors=(ErrorSpec(1 / (30 * 86_400)),),
    files=(FileSpec("data", 1 << 19, touch=(Touch(1.0, 1e-5),)),),
)
NUMBERS = [5, 3, 4, *range(20, 40)]


@pytest.mark.parametrize("base", [None, MemoryLayout(RARE)])
def test_many_at_once_are_each_by_itself_in_the_order_asked_for(base: MemoryLayout | None) -> None:
    each = [run_replication(RARE, index) for index in NUMBERS]
    together = list(run_replications(RARE, NUMBERS, base))
    assert [found._replace(settled="") for found in together] == [one._replace(settled="") for one in each]
    assert {found.settled for found in each} == {"", "no error"}
    assert {found.settled for found in together} > {"", "no error"}


def test_without_the_screen_all_are_played_and_come_to_the_same() -> None:
    settled = list(run_replications(RARE, NUMBERS))
    played = list(run_replications(RARE, NUMBERS, screen=False))
    assert played == [run_replication(RARE, index, screen=False) for index in NUMBERS]
    assert {found.settled for found in played} == {""}
    assert [found._replace(settled="") for found in settled] == played


def test_a_traced_machine_is_played() -> None:
    index = next(i for i in NUMBERS if run_replication(RARE, i).settled)
    assert run_replication(RARE, index, trace=True).settled == ""


def test_those_before_a_machine_that_fails_have_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(machine: Machine, as_it_was=Machine.run) -> None:
        if machine.index == 4:
            raise RuntimeError
        as_it_was(machine)

    monkeypatch.setattr(Machine, "run", run)
    busy = replace(RARE, errors=(ErrorSpec(count=2),))  # of which none is settled otherwise
    arrived = run_replications(busy, NUMBERS)
    assert [next(arrived).row.replication for _ in range(2)] == [5, 3]
    with pytest.raises(RuntimeError):
        next(arrived)
