"""Answers known beforehand: shares and counts in closed form, sums, pairing, the heap after set-up."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from scipy.stats import binomtest, chisquare, poisson

from hwsim.machine import Machine, MemoryLayout, run_replication
from hwsim.record import Replication
from hwsim.spec import (
    ErrorSpec,
    FileSpec,
    FsyncSpec,
    MachineSpec,
    Place,
    RegionSpec,
    ScrubSpec,
    Spec,
    TaskSpec,
    Touch,
)
from hwsim.units import DURATION_UNITS_NS
from tests.support.closed_forms import (
    ALPHA,
    beyond_the_census,
    error_counts,
    killed_before_exit,
    killed_before_the_end,
    lost_in_the_ring,
    read_before_scrub,
    told_first,
)
from tests.support.every_kind import EVERY_KIND

S, H, D = (DURATION_UNITS_NS[unit] for unit in ("s", "h", "d"))
ENDS = {"isolated", "reachable", "healed", "panic", "latent", "rebooted", "replaced", "duplicate"}


def office(early_kill: int, errors: tuple[ErrorSpec, ...], **changes) -> Spec:
    """A machine with a bit of everything that moves, and the default times."""
    heap = RegionSpec("heap", "anon", 300, (Touch(0.3, 1e-3, 1e-3), Touch(0.3, 1e-5, 1e-5), Touch(0.4)))
    segment = RegionSpec("segment", "shm", 300, (Touch(0.5, 1e-4, 1e-5), Touch(0.5)))
    text = RegionSpec("map", "file", 100, (Touch(1.0, 1e-4, 1e-5),), file="data", populate=False)
    machine = MachineSpec(2_000, early_kill=early_kill, scrub=ScrubSpec(6 * H))
    spec = Spec(
        "office",
        4 * D,
        14,
        1,
        machine,
        errors,
        files=(FileSpec("data", 400, touch=(Touch(0.5, 1e-5, 1e-5), Touch(0.5))),),
        tasks=(
            TaskSpec(
                "db", 2, regions=(heap, segment, text), restart_ns=10 * S, fsync=FsyncSpec("data", 5 * S)
            ),
            TaskSpec("web", 1, 2, regions=(replace(heap, pages=60),), group_death=True, restart_ns=10 * S),
            TaskSpec("job", 2, regions=(replace(heap, pages=60),), lifetime_ns=6 * H, restart_ns=10 * S),
        ),
    )
    return replace(spec, **changes)


MANY = (ErrorSpec(8 / 86_400), ErrorSpec(1 / 86_400, burst_pages=3, permanent=1.0))


def both(index: int, errors: tuple[ErrorSpec, ...], **changes) -> list[Replication]:
    return [run_replication(office(policy, errors, **changes), index) for policy in (0, 1)]


@pytest.mark.parametrize("rate_period", [0.3, 2.0])
def test_read_before_scrub(rate_period: float) -> None:
    read, errors, expected = read_before_scrub(40, rate_period)
    assert errors > 2_000
    assert binomtest(read, errors, expected).pvalue > ALPHA


def test_late_kill_against_exit() -> None:
    late, entries, expected = killed_before_exit(20, 0.02, 0.01)
    assert entries > 1_000
    assert binomtest(late, entries, expected).pvalue > ALPHA


@pytest.mark.parametrize(("touch_per_s", "exit_per_s"), [(0.01, 0.0), (0.001, 0.0), (0.02, 0.01)])
def test_late_kill_against_exit_and_the_end_of_the_run(touch_per_s: float, exit_per_s: float) -> None:
    kills = killed_before_the_end(30, touch_per_s, exit_per_s)
    assert kills.mapped > 600
    assert binomtest(kills.late, kills.mapped, kills.late_share).pvalue > ALPHA
    assert kills.late == kills.early[0]  # the same touches
    assert sum(kills.early) == kills.mapped
    if exit_per_s:
        expected = [kills.mapped * share for share in kills.early_shares]
        assert chisquare(kills.early, expected).pvalue > ALPHA
    else:
        assert kills.early[2] == 0  # who runs for ever touches the page one day


@pytest.mark.parametrize(("writer_s", "other_s"), [(30, 30), (10, 40), (40, 10)])
def test_of_two_callers_of_fsync_the_first_is_told(writer_s: int, other_s: int) -> None:
    writer, told, expected = told_first(600, writer_s, other_s)
    assert told > 500
    assert binomtest(writer, told, expected).pvalue > ALPHA


MICRO = 1_000


def test_a_burst_at_once_leaves_fifteen() -> None:
    assert lost_in_the_ring([MICRO] * 20, 5 * MICRO, 100 * MICRO) == [15, 16, 17, 18, 19]


def test_who_wakes_makes_room_for_one() -> None:
    """Fifteen at 1 us, three at 7 us: one of these fits if the work item took an entry before, or then."""
    arrivals = [MICRO] * 15 + [7 * MICRO] * 3
    assert lost_in_the_ring(arrivals, 5 * MICRO, 100 * MICRO) == [16, 17]
    assert lost_in_the_ring(arrivals, 6 * MICRO, 100 * MICRO) == [16, 17]  # a handler step comes first
    assert lost_in_the_ring(arrivals, 7 * MICRO, 100 * MICRO) == [15, 16, 17]


def test_a_ring_with_one_server_loses_what_comes_too_fast() -> None:
    """Checks at 10, 20 ... 400 us, 100 us each, woken after 5.

    Taken at 15, 115, 215 and 315.  Ten of them come in between, so the ring holds 15 after the one of 170;
    180 to 210 are lost, 220 fits into the place freed at 215, 320 into that of 315.
    """
    arrivals = [10 * MICRO * (number + 1) for number in range(40)]
    lost = [*range(180, 211, 10), *range(230, 311, 10), *range(330, 401, 10)]
    assert lost_in_the_ring(arrivals, 5 * MICRO, 100 * MICRO) == [time // 10 - 1 for time in lost]


def test_a_ring_with_two_servers_loses_less() -> None:
    """The same in user mode: 10 is taken at 15, and 20 by the work item at 25, then one more each 100 us.

    The ring holds 15 after the one of 190; room comes at 215 and 225, and at 315 and 325.
    """
    arrivals = [10 * MICRO * (number + 1) for number in range(40)]
    lost = [200, 210, *range(240, 311, 10), *range(340, 401, 10)]
    found = lost_in_the_ring(arrivals, 5 * MICRO, 100 * MICRO, user_share=1.0)
    assert found == [time // 10 - 1 for time in lost]


def test_errors_come_as_a_poisson_process() -> None:
    expected, replications = 3.0, 2_000
    counts = error_counts(replications, expected)
    seen = [counts[n] for n in range(8)] + [sum(counts[n] for n in counts if n >= 8)]
    theory = [poisson.pmf(n, expected) for n in range(8)] + [poisson.sf(7, expected)]
    assert chisquare(seen, [replications * p for p in theory]).pvalue > ALPHA


def test_both_policies_meet_the_same_errors() -> None:
    compared = 0
    for index in range(12):
        late, early = both(index, MANY)
        end = min(late.row.end_ns, early.row.end_ns)
        places = [
            [(row.onset_ns, row.pfn, row.line, row.permanent) for row in run.errors if row.onset_ns < end]
            for run in (late, early)
        ]
        assert places[0] == places[1]
        compared += len(places[0])
    assert compared > 300


def test_the_touch_that_early_kill_prevents_is_the_touch_that_kills_late() -> None:
    """One error: to the nanosecond the same touch, drawn and not guessed; default times, not zero."""
    compared = censored = 0
    for index in range(1_500):
        late, early = both(index, (ErrorSpec(1 / 86_400, Place("kind", "anon"), end_ns=D),))
        if len(late.errors) != 1:
            continue
        ends = {row.pid: row for row in late.signals if row.result == "killed"}
        for row in early.signals:
            if row.code != "BUS_MCEERR_AO" or row.result != "killed" or row.innocent:
                continue
            died = ends.get(row.pid)
            if row.needless == "no":
                assert died is not None
                assert row.would_touch_ns is not None
                if died.cause == "group_death":  # a relative touched the page before
                    assert died.time_ns < row.would_touch_ns
                else:
                    assert (died.code, died.time_ns) == ("BUS_MCEERR_AR", row.would_touch_ns)
                    compared += 1
            else:
                assert died is None or died.cause == "group_death"
                censored += 1
    assert compared > 150
    assert censored > 20


def test_same_seed_same_bytes() -> None:
    spec = office(1, MANY)
    plan = MemoryLayout(spec)
    first = [repr(run_replication(spec, index, trace=True)).encode() for index in range(4)]
    again = [repr(run_replication(spec, index, plan, trace=True)).encode() for index in reversed(range(4))]
    assert first == again[::-1]
    assert len(set(first)) == 4
    other = replace(spec, seed=spec.seed + 1)
    assert repr(run_replication(other, 0, trace=True)).encode() not in first


@pytest.mark.parametrize("reboot_ns", [None, 300 * S])
@pytest.mark.parametrize("early_kill", [0, 1])
def test_every_error_has_one_end(early_kill: int, reboot_ns: int | None) -> None:
    met: Counter[str] = Counter()
    for index in range(20):
        spec = office(early_kill, MANY)
        spec = replace(spec, machine=replace(spec.machine, reboot_ns=reboot_ns))
        run = run_replication(spec, index)
        ends = Counter(row.end for row in run.errors)
        assert run.row.errors == len(run.errors) == ends.total()
        assert [row.error for row in run.errors] == list(range(len(run.errors)))
        assert all(row.onset_ns <= row.end_ns <= run.row.end_ns for row in run.errors)
        met += ends
    assert met.keys() <= ENDS
    assert {"isolated", "healed", "panic", "latent"} <= met.keys()


def test_after_set_up_only_the_next_arrivals_wait() -> None:
    """No timer of fsync, flusher, scrubber, tasks' lives: those are computed when a page waits for them."""
    spec = office(1, (*MANY, ErrorSpec(1.0), ErrorSpec(0.0)))
    machine = Machine(spec, 0, MemoryLayout(spec))
    assert machine.engine.pending == 3
    assert Machine(replace(spec, errors=()), 0, MemoryLayout(spec)).engine.pending == 0


@pytest.mark.parametrize(("kernel", "early_kill"), [("v5", 1), ("2.6.32", 0)])
def test_machines_fare_as_the_census_says(kernel: str, early_kill: int) -> None:
    """Pages of every kind, by row, outcome and who is signalled at once; false alarm ALPHA each."""
    machine = replace(EVERY_KIND.machine, kernel=kernel, early_kill=early_kill)
    outcomes, beyond = beyond_the_census(replace(EVERY_KIND, machine=machine), 500)
    assert outcomes > 20
    assert beyond == []
