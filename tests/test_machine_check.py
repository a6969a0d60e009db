"""Scrubber arithmetic, rendezvous, ring: tiny worlds with the exact times."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.engine import Engine
from hwsim.hardware.machine_check import GRADED, PANIC, TIMED_OUT, MachineCheck
from hwsim.hardware.scrubber import Scrubber
from hwsim.machine import Machine, Plan
from hwsim.spec import Delay, ErrorSpec, MachineSpec, Place, ScrubSpec, Spec, TimesSpec

NO_TIME = TimesSpec(*[Delay()] * len(TimesSpec.__dataclass_fields__))
SECOND = 1_000_000_000


def test_the_scrubber_visits_each_line_once_a_sweep_in_order_of_address() -> None:
    scrubber = Scrubber(ScrubSpec(period_ns=6400), 1, 0.0)  # 64 lines, one every 100 ns
    assert [scrubber.next_visit_ns(0, line, -1) for line in (0, 1, 63)] == [0, 100, 6300]
    assert scrubber.next_visit_ns(0, 1, 100) == 6500  # strictly after
    assert scrubber.visits_between(0, 1, 100, 6500) == 0
    assert scrubber.visits_between(0, 1, 100, 6501) == 1
    assert scrubber.visits_between(0, 1, 0, 6400 * 10) == 10


@given(
    st.integers(1, 10**6),
    st.integers(0, 63),
    st.floats(0, 0.999),
    st.integers(0, 10**15),
    st.integers(10**3, 10**14),
)
def test_the_next_visit_is_after_now_and_within_a_period(
    pages: int, line: int, phase: float, now: int, period: int
) -> None:
    scrubber = Scrubber(ScrubSpec(period_ns=period), pages, phase)
    visit = scrubber.next_visit_ns(pages - 1, line, now)
    assert visit is not None
    assert now < visit <= now + period


def test_no_scrubber_no_visit() -> None:
    scrubber = Scrubber(ScrubSpec(period_ns=None), 4, 0.5)
    assert scrubber.next_visit_ns(0, 0, 0) is None
    assert scrubber.visits_between(0, 0, 0, 10**18) == 0


@pytest.mark.parametrize(
    ("tolerant", "duration", "outcome"),
    [(1, SECOND, GRADED), (1, SECOND + 1, TIMED_OUT), (0, SECOND, GRADED), (0, SECOND + 1, PANIC)],
)
def test_the_rendezvous_is_bounded_by_one_second(tolerant: int, duration: int, outcome: str) -> None:
    engine = Engine()
    log: list[tuple[int, str]] = []
    stalls: list[int] = []
    check = MachineCheck(engine, SECOND, tolerant)
    check.raise_srao(Delay(mean_ns=duration), 0.5, lambda how: log.append((engine.now, how)), stalls.append)
    engine.run(10 * SECOND)
    assert log == [(SECOND, outcome)]
    assert stalls == [SECOND]


def test_a_bank_holds_one_record_while_a_check_is_handled() -> None:
    engine = Engine()
    log: list[tuple[int, int]] = []
    check = MachineCheck(engine, SECOND, 1)

    def raised(number: int) -> bool:
        def done(_how: str) -> None:
            log.append((engine.now, number))

        return check.raise_srao(Delay(mean_ns=100), 0.5, done, lambda _until_ns: None)

    taken = [raised(number) for number in range(3)]
    engine.run(SECOND)
    assert taken == [True, True, False]
    assert log == [(100, 0), (200, 1)]


def _storm(pages: int, lock_ns: int) -> Machine:
    """Neighbouring free pages that go bad at once, one CPU, a handler that is slow to get the lock."""
    times = replace(NO_TIME, lock_wait=Delay(mean_ns=lock_ns))
    machine = MachineSpec(
        memory_pages=1 << 10, cpus=1, scrub=ScrubSpec(period_ns=SECOND << 10), times=times, user_share=0.0
    )
    from hwsim.spec import KernelPoolSpec

    spec = Spec(
        "storm",
        (SECOND << 10) - 1,
        3,
        1,
        machine,
        errors=(ErrorSpec(1.0, Place("pfns", pfns=(100,)), burst_pages=pages, end_ns=40 * SECOND),),
        pools=(KernelPoolSpec("slab", 1 << 10),),
    )
    return Machine(spec, 0, Plan(spec), trace=True)


def test_the_ring_holds_fifteen_and_drops_the_next_without_a_word() -> None:
    """One page a second is found; the first memory_failure() holds the worker for ever: 1 + 15 fit."""
    machine = _storm(20, lock_ns=SECOND << 11)
    machine.run()
    result = machine.result()
    first_sweep = [row for row in result.errors if row.end != "duplicate"]
    assert len(first_sweep) == 20
    assert sum(row.poisoned_ns is not None for row in first_sweep) <= 1
    assert sum(row.ring_lost for row in first_sweep) == 4
    assert result.reach["ring:overflow"] == 4
    assert not any("overflow" in text for _, _, text in result.log)


def test_after_set_up_the_heap_holds_only_the_next_arrivals() -> None:
    """Law 1: no standing timers, whatever runs on the machine."""
    from hwsim.spec import FileSpec, FsyncSpec, RegionSpec, TaskSpec, Touch

    region = RegionSpec("heap", "anon", 1000, touch=(Touch(1.0, 1000.0, 1000.0),))
    spec = Spec(
        "busy",
        SECOND,
        1,
        1,
        MachineSpec(memory_pages=1 << 20, cpus=16),
        errors=(ErrorSpec(5.0), ErrorSpec(7.0)),
        files=(FileSpec("f", 1000),),
        tasks=(TaskSpec("t", 24, 2, regions=(region,), fsync=FsyncSpec("f", 1000), lifetime_ns=10**9),),
    )
    assert Machine(spec, 0, Plan(spec)).engine.pending == 2
