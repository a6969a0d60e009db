"""Rendezvous, bank, ring: tiny worlds with the exact times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hwsim.engine import Engine
from hwsim.hardware.machine_check_interrupt import MET, PANIC, TIMED_OUT, MachineCheckInterrupt
from hwsim.kernel import page_flags as pg
from hwsim.machine import Machine, MemoryLayout
from hwsim.record import Replication
from hwsim.spec import (
    Delay,
    ErrorSpec,
    MachineSpec,
    RegionSpec,
    ScriptStep,
    ScrubSpec,
    Spec,
    TaskSpec,
    Touch,
)
from tests.support.worlds import DATA, MEMORY, NO_TIME, P0, PFN, events_of, heap, play, run, world

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("tolerant", "duration", "outcome"),
    [(1, SECOND, MET), (1, SECOND + 1, TIMED_OUT), (0, SECOND, MET), (0, SECOND + 1, PANIC)],
)
def test_the_rendezvous_is_bounded_by_one_second(tolerant: int, duration: int, outcome: str) -> None:
    engine = Engine()
    log: list[tuple[int, str, bool]] = []
    stalls: list[int] = []
    check = MachineCheckInterrupt(engine, SECOND, tolerant)

    def done(how: str, overflowed: bool) -> None:
        log.append((engine.now_ns, how, overflowed))

    check.raise_srao(Delay(mean_ns=duration), 0.5, done, stalls.append)
    engine.run(10 * SECOND)
    assert log == [(SECOND, outcome, False)]
    assert stalls == [SECOND]
    assert check.cpu_missing == (outcome == TIMED_OUT)


@pytest.mark.parametrize(
    ("tolerant", "duration", "outcome"),
    [(1, 100, MET), (1, SECOND + 1, TIMED_OUT), (0, SECOND + 1, PANIC)],
)
def test_a_consumption_overflows_no_bank_and_reads_none_out(
    tolerant: int, duration: int, outcome: str
) -> None:
    """What a core met is in a bank of the core; a find waits in the memory controller's meanwhile."""
    engine = Engine()
    log: list[tuple[str, bool]] = []
    check = MachineCheckInterrupt(engine, SECOND, tolerant)

    def done(how: str, overflowed: bool) -> None:
        log.append((how, overflowed))

    check.raise_fatal(Delay(mean_ns=duration), 0.5, done, lambda _until_ns: None)
    taken = [check.raise_srao(Delay(mean_ns=100), 0.5, done, lambda _until_ns: None) for _ in range(2)]
    engine.run(min(duration, SECOND) + 1)
    assert (taken, log) == ([True, False], [(outcome, False)])
    engine.run(9 * SECOND)
    assert log[1:] == [(MET, True)]


def test_a_bank_holds_one_record_and_a_further_find_spoils_it() -> None:
    engine = Engine()
    log: list[tuple[int, int, bool]] = []
    check = MachineCheckInterrupt(engine, SECOND, 1)

    def raised(number: int) -> bool:
        def done(_how: str, overflowed: bool) -> None:
            log.append((engine.now_ns, number, overflowed))

        return check.raise_srao(Delay(mean_ns=100), 0.5, done, lambda _until_ns: None)

    taken = [raised(number) for number in range(3)]
    engine.run(SECOND)
    taken.append(raised(3))  # read out and cleared: the bank is as good as new
    engine.run(2 * SECOND)
    assert taken == [True, False, False, True]
    assert log == [(100, 0, True), (SECOND + 100, 3, False)]


def test_a_consumption_waits_for_the_check_before_it_and_uses_another_bank() -> None:
    engine = Engine()
    log: list[tuple[int, str, bool]] = []
    check = MachineCheckInterrupt(engine, SECOND, 1)

    def done(how: str, overflowed: bool) -> None:
        log.append((engine.now_ns, how, overflowed))

    check.raise_srao(Delay(mean_ns=100), 0.5, done, lambda _until_ns: None)
    check.raise_fatal(Delay(mean_ns=100), 0.5, done, lambda _until_ns: None)
    engine.run(SECOND)
    assert log == [(100, MET, False), (200, MET, False)]


MEET = replace(NO_TIME, rendezvous=Delay(mean_ns=100))
BAD = (100, "inject", {"page": P0, "how": "line", "permanent": True})
LOGGED = "Machine check events logged"


def long(spec: Spec, seconds: int, **machine: Any) -> Spec:
    return replace(spec, horizon_ns=seconds * SECOND, machine=replace(spec.machine, **machine))


def test_two_finds_in_one_rendezvous_are_lost_until_the_next_sweep() -> None:
    finds = [(at, "mce", {"page": {"pfn": PFN + n}}) for n, at in enumerate((100, 150, 160))]
    result = play(*finds, (5_000, "scrub", {"page": P0}), times=MEET)
    assert [row.ring_lost for row in result.errors] == [1, 1, 1]
    assert [row.poisoned_ns for row in result.errors] == [5_100, None, None]
    assert (result.reach["bank:overflow"], "ring:overflow" in result.reach) == (1, False)
    assert [line for line in result.log if line[2] == LOGGED] == [(200, 6, LOGGED), (5_100, 6, LOGGED)]


DATA_TASK: dict[str, Any] = {"tasks": (TaskSpec("app"),), "files": (DATA,)}
WRITE = (50, "write", {"task": "app.0", "file": "data", "index": 0})
FATAL: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "a task reads": ((BAD, (2_000, "load", {"task": "app.0", "page": P0})), {}),
    "the scrubber reads": ((BAD, (2_000, "scrub", {"page": P0})), {"scrub": ScrubSpec(None, "fatal")}),
    "a device reads": (
        (WRITE, BAD, (2_000, "fsync", {"task": "app.0", "file": "data"})),
        {"device_read": "fatal", **DATA_TASK},
    ),
}


@pytest.mark.parametrize("case", FATAL)
@pytest.mark.parametrize("tolerant", [0, 1, 2, 3])
def test_tolerant_3_never_panics_the_others_when_the_cpus_have_met(case: str, tolerant: int) -> None:
    steps, more = FATAL[case]
    result = play(*steps, times=MEET, tolerant=tolerant, **more)
    assert (result.errors[0].found_ns, result.row.panics) == (2_000, int(tolerant < 3))
    if tolerant < 3:
        assert result.log == [(2_100, 0, "Kernel panic - not syncing: Fatal Machine check")]
        assert (result.errors[0].end, result.row.end_ns) == ("panic", 2_100)
    else:
        assert result.log == [(2_100, 6, LOGGED)]


@pytest.mark.parametrize("case", FATAL)
def test_a_consumption_that_not_all_cpus_answer_is_the_panic_of_one(case: str) -> None:
    steps, more = FATAL[case]
    slow = replace(NO_TIME, rendezvous=Delay(mean_ns=SECOND + 1))
    result = run(long(world(*steps, times=slow, **more), 9))
    assert result.log == [
        (SECOND + 2_000, 0, "Some CPUs didn't answer in synchronization"),
        (SECOND + 2_000, 0, "Kernel panic - not syncing: Fatal machine check on current CPU"),
    ]
    first = run(long(world(*steps, times=slow, tolerant=0, **more), 9))
    text = "Kernel panic - not syncing: Timeout synchronizing machine check over CPUs"
    assert first.log == [(SECOND + 2_000, 0, text)]  # mce_timed_out() panics before it notes who is missing


def test_a_tolerated_timeout_says_nothing_until_a_later_panic() -> None:
    slow = Delay("uniform", low_ns=SECOND - 1_000, high_ns=SECOND + 1_000)
    other = {"page": {"pfn": PFN + 1}}
    bad = (2 * SECOND, "inject", {**other, "how": "line"})
    load = (3 * SECOND, "load", {"task": "app.0", "page": heap(1)})
    met: set[tuple[bool, ...]] = set()
    for seed in range(20):
        spec = world(
            (100, "mce", {"page": P0}), bad, load, times=replace(NO_TIME, rendezvous=slow), early_kill=0
        )
        result = run(replace(long(spec, 9), seed=seed))
        missing = [line for line in result.log if "didn't answer" in line[2]]
        at_panic = [line for line in result.log if "panic" in line[2]]
        assert len(at_panic) == 1
        assert all((time, level) == (at_panic[0][0], 0) for time, level, _ in missing)
        assert bool(missing) == ("rendezvous:timeout" in result.reach)
        met.add((bool(missing), "on current CPU" in at_panic[0][2]))
    assert met == {(False, False), (True, False), (True, True)}  # sticky, though the last rendezvous was met


def test_with_tolerant_3_a_busy_line_is_read_again_but_not_for_ever() -> None:
    """Events follow faults, not memory accesses: 50 reads a second for an hour are some reads."""
    busy = RegionSpec("heap", "anon", 8, touch=(Touch(1.0, load_per_s=50.0),), lines_per_touch=64.0)
    spec = long(world(BAD, tasks=(TaskSpec("app", regions=(busy,)),), tolerant=3, times=MEET), 3_600)
    result = run(spec)
    assert result.reach["consumed:task_load"] == 16
    times = [time for time, event, _ in result.events if event == "consumed"]
    assert len(set(times)) == 16
    assert times[-1] < 2 * SECOND
    assert events_of(spec) < 100
    assert (result.row.panics, result.errors[0].end) == (0, "reachable")


def test_the_scrubber_still_finds_a_line_that_has_been_read_sixteen_times() -> None:
    busy = RegionSpec("heap", "anon", 8, touch=(Touch(1.0, load_per_s=50.0),), lines_per_touch=64.0)
    machine: dict[str, Any] = {"tolerant": 3, "scrub": ScrubSpec(20 * SECOND, "SRAO")}
    spec = long(world(BAD, tasks=(TaskSpec("app", regions=(busy,)),), times=MEET), 60, **machine)
    result = run(spec)
    assert result.reach["consumed:task_load"] == 16
    assert (result.errors[0].found, result.errors[0].outcome) == ("task_load", "Recovered")


def test_sweeps_that_change_nothing_are_counted_when_the_platform_is_fatal_and_tolerated() -> None:
    spec = long(world(BAD, tolerant=3, times=MEET), 10, scrub=ScrubSpec(SECOND, "fatal"))
    result = run(spec)
    assert (result.errors[0].repeats, result.row.panics) == (9, 0)
    assert events_of(spec) < 20


def test_every_logged_check_says_so_twice_a_minute_at_most() -> None:
    result = run(long(world(BAD), 130, scrub=ScrubSpec(SECOND, "UCNA")))
    row = result.errors[0]
    assert (row.logged_only, row.repeats, row.poisoned_ns) == (130, 129, None)
    assert result.reach["found:logged_only"] == 1  # the others are counted, not played
    first = row.found_ns or 0
    ticks = [(time - first) // SECOND for time, _, text in result.log if not text.startswith("Injecting")]
    assert ticks == [0, 1, 61, 62, 122, 123]
    assert {text for _, _, text in result.log[1:]} == {LOGGED}  # no handler was asked


def test_a_recoverable_check_is_logged_before_the_handler_speaks() -> None:
    result = play((100, "mce", {"page": P0}), times=MEET)
    assert result.log[0] == (200, 6, LOGGED)
    assert [text for _, _, text in result.log].count(LOGGED) == 1


def test_a_repeated_report_prints_after_its_own_rendezvous_and_queue() -> None:
    times = replace(NO_TIME, rendezvous=Delay(mean_ns=10_000_000), workqueue=Delay(mean_ns=5_000_000))
    spec = long(world(BAD, times=times, user_share=0.0), 4, scrub=ScrubSpec(SECOND, "SRAO"))
    result = run(spec)
    row = result.errors[0]
    assert (row.repeats, row.found_ns is not None) == (3, True)
    already = [time for time, _, text in result.log if "already" in text]
    assert already == [(row.found_ns or 0) + n * SECOND + 15_000_000 for n in (1, 2, 3)]
    assert all("dirty" in text for _, _, text in result.log if "already" in text)
    logged = [time for time, _, text in result.log if text == LOGGED]
    assert logged == [(row.found_ns or 0) + n * SECOND + 10_000_000 for n in (0, 1)]


def test_the_dirty_of_a_repeated_report_is_what_the_handler_left() -> None:
    """The flag that the page has at the end of the run says nothing of the sweeps before."""
    spec = long(world(BAD), 4, scrub=ScrubSpec(SECOND, "SRAO"))
    machine = Machine(spec, 0, MemoryLayout(spec), trace=True)
    machine.run()
    page = machine.bad_lines.all[0].page
    assert page is not None
    page.flags &= ~pg.DIRTY
    texts = [text for _, _, text in machine.result().log if "already" in text]
    assert len(texts) == 3
    assert all("dirty" in text for text in texts)


def _storm(pages: int, lock_ns: int) -> Machine:
    """Neighbouring free pages that go bad at once, one CPU, a handler that is slow to get the lock."""
    times = replace(NO_TIME, lock_wait=Delay(mean_ns=lock_ns))
    machine = MachineSpec(
        memory_pages=1 << 10, cpus=1, scrub=ScrubSpec(period_ns=SECOND << 10), times=times, user_share=0.0
    )
    from hwsim.spec import KernelPoolSpec

    spec = Spec(
        "storm", (SECOND << 10) - 1, 3, 1, machine, pools=(KernelPoolSpec("slab", 1 << 10),),
    )  # fmt: skip
    made = Machine(spec, 0, MemoryLayout(spec), trace=True)
    for page in range(pages):
        made.bad_lines.add(0, 100 + page, 5, True)
    return made


def test_the_ring_holds_fifteen_and_drops_the_next_without_a_word() -> None:
    """One page a second is found; the first memory_failure() holds the worker for ever: 1 + 15 fit."""
    machine = _storm(20, lock_ns=SECOND << 11)
    machine.run()
    result = machine.result()
    assert len(result.errors) == 20
    assert sum(row.poisoned_ns is not None for row in result.errors) <= 1
    assert sum(row.ring_lost for row in result.errors) == 4
    assert result.reach["ring:overflow"] == 4
    assert not any("overflow" in text for _, _, text in result.log)


def _bad_lines(lines: tuple[int, ...], rendezvous_ns: int, seconds: int = 3) -> Replication:
    """Several bad lines of one page; the scrubber takes 2 us from line to line, a second for a sweep."""
    bad = [(1_000 + line, "inject", {"page": P0, "how": "line", "line": line}) for line in lines]
    times = replace(NO_TIME, rendezvous=Delay(mean_ns=rendezvous_ns))
    return run(long(world(*bad, times=times), seconds, scrub=ScrubSpec(SECOND, "SRAO")))


def test_a_sweep_goes_on_over_the_page_and_reports_its_other_lines() -> None:
    result = _bad_lines((3, 10, 60), rendezvous_ns=1_000, seconds=1)
    first = result.errors[0]
    checks = [time - (first.found_ns or 0) for time, name, _ in result.events if name == "machine_check"]
    line_ns = SECOND / (MEMORY * 64)
    assert checks == pytest.approx([0, 7 * line_ns, 57 * line_ns], abs=1)
    assert (first.outcome, first.repeats, first.ring_lost) == ("Recovered", 2, 0)
    assert [row.end for row in result.errors] == ["isolated", "duplicate", "duplicate"]
    already = [text for _, _, text in result.log if "already hardware poisoned" in text]
    assert len(already) == 2


def test_a_sweep_that_a_reboot_interrupts_reports_nothing_to_the_new_kernel() -> None:
    """The scrubber is at the second line 114 us after the first; the machine goes down in between."""
    found_ns = _bad_lines((3, 60), rendezvous_ns=1_000, seconds=1).errors[0].found_ns or 0
    line = {"page": P0, "how": "line", "permanent": True}
    bad = [(1_000 + n, "inject", {**line, "line": n}) for n in (3, 60)]
    spec = world(*bad, (found_ns + 50_000, "reboot", {}), reboot_ns=10_000)
    result = run(long(spec, 1, scrub=ScrubSpec(SECOND, "SRAO")))
    names = [name for _, name, _ in result.events]
    assert (result.errors[0].found_ns, result.errors[0].repeats, names.count("machine_check")) == (
        found_ns,
        0,
        1,
    )
    assert "found:further line" not in result.reach


def test_a_second_line_spoils_the_find_that_has_not_been_read_out() -> None:
    """Both records are lost, sweep after sweep: the page is never handled."""
    result = _bad_lines((3, 4), rendezvous_ns=100_000)
    first = result.errors[0]
    assert (first.poisoned_ns, first.outcome, first.end) == (None, "", "reachable")
    assert first.ring_lost == result.reach["bank:overflow"] >= 2
    alone = _bad_lines((3,), rendezvous_ns=100_000).errors[0]
    assert (alone.outcome, alone.ring_lost) == ("Recovered", 0)


def test_a_third_line_may_be_reported_when_the_first_two_were_lost() -> None:
    result = _bad_lines((3, 4, 60), rendezvous_ns=50_000, seconds=1)
    assert (result.errors[0].outcome, result.errors[0].ring_lost) == ("Recovered", 1)


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
    assert Machine(spec, 0, MemoryLayout(spec)).engine.pending == 2


def test_after_set_up_every_script_step_stands_in_the_heap_and_nothing_else() -> None:
    steps = tuple(ScriptStep(time, "sync", {}, "script") for time in (10, 20, 30))
    spec = Spec("steps", SECOND, 1, 1, MachineSpec(memory_pages=1 << 10), (ErrorSpec(5.0),), script=steps)
    assert Machine(spec, 0, MemoryLayout(spec)).engine.pending == 1 + len(steps)
