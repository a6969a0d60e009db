"""Time, ties and the half-open horizon."""

from __future__ import annotations

from functools import partial

import pytest

from hwsim import engine as eng
from hwsim.engine import Agenda, Bell, Engine, Sleeper


def test_ties_go_by_class_then_by_id_not_by_order_of_scheduling() -> None:
    engine = Engine()
    log: list[tuple[int, int]] = []

    def note(priority: int, _event: object) -> None:
        log.append((engine.now_ns, priority))

    classes = [
        eng.SCRIPT_STEP,
        eng.TASK_ACCESS | 7,
        eng.TASK_ACCESS | 3,
        eng.KERNEL_ACCESS,
        eng.SIGNAL_DELIVERY,
        eng.HANDLER_STEP,
        eng.MACHINE_CHECK,
        eng.SCRUB_VISIT,
        eng.FAULT_ONSET,
    ]
    for priority in classes:
        engine.at(5, priority, partial(note, priority))
    engine.run(10)
    assert log == [(5, priority) for priority in sorted(classes)]


def test_the_horizon_does_not_happen() -> None:
    engine, log = Engine(), []
    for time in (1, 2, 3):
        engine.at(time, eng.FAULT_ONSET, lambda _event: log.append(engine.now_ns))
    engine.run(3)
    assert log == [1, 2]
    assert isinstance(engine.now_ns, int)


def test_stop_ends_the_run_after_the_current_event() -> None:
    engine, log = Engine(), []
    engine.at(1, eng.MACHINE_CHECK, lambda _event: engine.stop())
    engine.at(2, eng.MACHINE_CHECK, lambda _event: log.append("too late"))
    engine.run(10)
    assert log == []
    assert engine.now_ns == 1


def test_a_process_sleeps_until_it_is_woken_and_only_once() -> None:
    engine, log = Engine(), []
    bell = Bell(engine)

    def sleeper():
        yield bell
        log.append(engine.now_ns)
        yield engine.wait(4, eng.HANDLER_STEP)
        log.append(engine.now_ns)

    engine.process(sleeper())
    bell.ring(3, eng.HANDLER_STEP)
    with pytest.raises(RuntimeError, match="rung twice"):
        bell.ring(1, eng.HANDLER_STEP)
    engine.run(100)
    assert log == [3, 7]


def test_an_agenda_lets_the_earliest_happen_and_forgets_what_went_away() -> None:
    engine, log = Engine(), []
    agenda: Agenda[tuple[int, int, str]] = Agenda(
        engine, 100, lambda due: log.append((engine.now_ns, due[2]))
    )
    agenda.expect((5, eng.TASK_ACCESS, "went away"))
    agenda.expect((7, eng.TASK_ACCESS, "later"))  # the callback at 5 only stands again
    assert engine.pending == 1
    engine.run(6)
    assert (log, engine.pending) == ([], 1)
    engine.run(8)
    agenda.expect((50, eng.TASK_ACCESS, "overtaken"))
    agenda.expect((20, eng.TASK_ACCESS, "earlier"))
    engine.run(60)
    agenda.expect((100, eng.TASK_ACCESS, "at the horizon"))
    agenda.expect(None)
    assert (log, engine.pending) == ([(7, "later"), (20, "earlier")], 0)


def test_a_process_that_fails_ends_the_run() -> None:
    engine = Engine()

    def fails():
        yield engine.wait(1, eng.HANDLER_STEP)
        raise ValueError("a fault of the model")

    engine.process(fails())
    with pytest.raises(ValueError, match="a fault of the model"):
        engine.run(10)


class _Dreamer(Sleeper):
    """Notes when it wakes, and naps once after each ten."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.woken: list[int] = []

    def life(self):
        while True:
            now = self.engine.now_ns
            self.woken.append(now)
            yield self.sleep_until(now + 2, eng.SCRUB_VISIT) if now % 10 == 0 else self.sleep()


def test_a_sleeper_starts_when_it_is_first_woken_and_wakes_at_the_earliest_time() -> None:
    engine = Engine()
    dreamer = _Dreamer(engine)
    assert engine.pending == 0
    for time in (7, 9, 5):  # nine is later than seven, and five makes seven ring for nobody
        dreamer.wake_at(time, eng.SCRUB_VISIT)
    engine.run(20)
    assert (dreamer.woken, dreamer.wakes_ns) == ([5], None)
    dreamer.wake_at(20, eng.SCRUB_VISIT)
    engine.run(30)
    assert dreamer.woken == [5, 20, 22]
    dreamer.wake_at(40, eng.SCRUB_VISIT)
    dreamer.tear_down()
    engine.run(50)
    assert dreamer.woken == [5, 20, 22]


class _Waiter(Sleeper):
    """Waits for a time of its own, as a handler does for a page lock."""

    def life(self) -> eng.Steps:
        yield self.engine.wait(10, eng.HANDLER_STEP)
        raise AssertionError("woken after its boot")


def test_what_still_wakes_a_process_whose_boot_is_over_does_nothing() -> None:
    engine = Engine()
    waiter = _Waiter(engine)
    waiter.wake_at(1, eng.HANDLER_STEP)
    engine.run(5)
    waiter.tear_down()
    engine.run(20)


def test_what_is_put_off_is_done_before_the_next_event_as_of_then() -> None:
    engine, log = Engine(), []

    def note(what: str) -> None:
        log.append((what, engine.now_ns))

    engine.at(3, eng.FAULT_ONSET, lambda _event: engine.put_off(partial(note, "owed")))
    engine.at(7, eng.FAULT_ONSET, lambda _event: note("event"))
    engine.run(5)
    assert log == []  # nobody could see it yet
    engine.run(10)
    assert log == [("owed", 3), ("event", 7)]
    assert engine.now_ns == 10


def test_who_looks_from_outside_has_it_done() -> None:
    engine, log = Engine(), []
    engine.at(3, eng.FAULT_ONSET, lambda _event: engine.put_off(lambda: log.append(engine.now_ns)))
    engine.run(10)
    engine.catch_up()
    engine.catch_up()
    assert (log, engine.now_ns) == ([3], 10)


def test_an_agenda_that_stands_for_nothing_any_more_lets_it_wait() -> None:
    engine, log = Engine(), []
    agenda = Agenda[tuple[int, int]](engine, 100, lambda due: log.append(due[0]))
    agenda.expect((5, eng.FAULT_ONSET))
    agenda.expect(None)
    engine.at(3, eng.FAULT_ONSET, lambda _event: engine.put_off(lambda: log.append(engine.now_ns)))
    engine.run(10)
    assert log == []
    agenda.expect((12, eng.FAULT_ONSET))
    engine.run(20)
    assert log == [3, 12]
