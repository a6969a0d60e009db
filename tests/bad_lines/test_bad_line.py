"""What comes first of the things that a bad line or a poisoned page waits for."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from math import log1p
from types import SimpleNamespace
from typing import Any

import pytest

from hwsim.bad_lines import ending
from hwsim.bad_lines.bad_line import BadLine, Candidate
from hwsim.bad_lines.in_boot import InBoot
from hwsim.bad_lines.line_record import LineRecord
from hwsim.engine import KERNEL_ACCESS, TASK_ACCESS
from hwsim.kernel import page_flags as pg
from hwsim.machine import Machine, MemoryLayout
from hwsim.rng import Slot
from hwsim.spec import Delay, RegionSpec, ScrubSpec, TaskSpec, Touch
from tests.support.worlds import NO_TIME, PFN, world

LOAD_BY_2 = Candidate(500, TASK_ACCESS | 2, "task_load", BadLine.arm)
LOAD_BY_1 = Candidate(500, TASK_ACCESS | 1, "task_load", BadLine.arm)
KERNEL = Candidate(500, KERNEL_ACCESS, "kernel_load", BadLine.arm)
LATER = Candidate(501, KERNEL_ACCESS, "freed", BadLine.arm)


def _bad_line(scrub_ns: int | None = None) -> BadLine:
    """A line of a page that nobody touches, bad from the start."""
    spec = world(scrub=ScrubSpec(scrub_ns))
    machine = Machine(spec, 0, MemoryLayout(spec))
    return machine.bad_lines.add(0, PFN, 7, True)


@pytest.mark.parametrize("times", list(permutations((LOAD_BY_2, KERNEL, LOAD_BY_1, LATER))))
def test_at_one_nanosecond_the_kernel_is_before_tasks_and_tasks_go_by_number(times: tuple[Any, ...]) -> None:
    line = _bad_line()
    line.times = list(times)
    for expected in (KERNEL, LOAD_BY_1, LOAD_BY_2, LATER):
        line.arm()
        assert line.agenda.next == expected
        line.times.remove(expected)


def test_touches_of_one_nanosecond_go_by_number_too() -> None:
    touches = [Candidate(500, TASK_ACCESS | number, "touch", BadLine.arm) for number in (3, 1, 2)]
    entries: list[Any] = [object(), object(), object()]
    line = _bad_line()
    line.times = [LOAD_BY_2]
    line.touches.to_come = dict(zip(entries, touches, strict=True))
    line.arm()
    assert line.agenda.next == touches[1]
    del line.touches.to_come[entries[1]]
    line.arm()
    assert line.agenda.next == line.times[0]


def test_of_one_number_the_read_that_was_drawn_first_is_met_before_the_overwrite() -> None:
    line = _bad_line()
    line.times = [KERNEL, KERNEL._replace(what="healed")]
    line.arm()
    assert line.agenda.next == KERNEL


@pytest.mark.parametrize("after_ns", [-1, 0, 1])
def test_the_scrubber_is_before_all_others(after_ns: int) -> None:
    line = _bad_line(scrub_ns=900_000)
    visit = line.around.scrubber.next_visit_ns(PFN, 7, 0)
    assert visit is not None
    assert visit < line.around.horizon_ns
    line.times = [KERNEL._replace(time_ns=visit + after_ns)]
    line.arm()
    waits_for_scrubber = after_ns >= 0
    assert line.visit_ns == (visit if waits_for_scrubber else None)
    assert line.agenda.next == (None if waits_for_scrubber else line.times[0])


def test_the_first_race_uses_the_uniforms_of_the_error_and_later_ones_their_own() -> None:
    """One load of the whole page a microsecond: the time is one uniform through the inverse CDF."""
    busy = RegionSpec("heap", "anon", 8, touch=(Touch(1.0, 1e6, 0.0),), lines_per_touch=64.0)
    spec = world(tasks=(TaskSpec("app", regions=(busy,)),))
    line = Machine(spec, 0, MemoryLayout(spec)).bad_lines.add(0, PFN, 7, True)
    ((time, priority, what, *_),) = line.times
    assert (what, priority) == ("task_load", TASK_ACCESS)
    assert time == int(-log1p(-line.u[Slot.RACE_TASK]) / 1e-3) + 1
    line.draw_race()
    assert line.times[0][0] != time


def test_reports_of_further_lines_have_draws_of_their_own_however_many_came_before() -> None:
    line = _bad_line()
    draws = [line.new_failure().draw(Slot.CPU)]
    for line.record.repeats in (0, 1, 100_000):  # a scrubber that comes by each minute, for ten weeks
        draws.append(line.new_failure(further=True).draw(Slot.CPU))
    assert len(set(draws)) == 4


@pytest.mark.parametrize("more", [0, pg.LOCKED])
def test_a_line_that_heals_leaves_its_free_frame_as_it_was(more: int) -> None:
    """LOCKED: a script can set any flag, and a further look would not find it again."""
    spec = world()
    machine = Machine(spec, 0, MemoryLayout(spec))
    pfn = machine.kernel.mem_map.by_name["free"].layout.first_pfn
    line = machine.bad_lines.add(0, pfn, 7, False)
    assert line.page is not None
    line.page.flags |= more
    ending.finish(line, "healed")
    assert machine.kernel.pfn_to_page(pfn, line.new_failure()).flags == pg.BUDDY | more


def test_signals_that_were_on_their_way_at_a_reboot_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was delivered is what it was, and what a task has blocked waits without an end."""
    free, blocking = SimpleNamespace(blocked=False, pending=None), SimpleNamespace(blocked=True, pending=None)
    sent = [
        SimpleNamespace(result=result, task=task)
        for result, task in (("killed", free), ("", free), ("", blocking))
    ]
    blocking.pending = sent[2]
    in_boot: Any = InBoot()
    in_boot.signals = sent
    left: Any = SimpleNamespace(
        page=None, record=LineRecord(), in_boot=in_boot,
        touches=SimpleNamespace(clear=lambda: None), disarm=lambda: None,
    )  # fmt: skip
    monkeypatch.setattr(ending, "signal_row", lambda _line, signal: signal.result)
    ending.leave_boot(left)
    assert left.record.signal_rows == ("killed", "lost", "")


def test_what_is_handled_is_the_page_of_the_frame_also_if_its_line_has_healed() -> None:
    """While the report waits for the workqueue the owner is replaced, whose clearing heals the line."""
    segment = RegionSpec("scene", "shm", 8, populate=True)
    spec = world(
        (10, "mce", {"page": {"pfn": PFN}}),
        tasks=(TaskSpec("app", regions=(segment,), restart_ns=1_000),),
        times=replace(NO_TIME, workqueue=Delay(mean_ns=50_000)),
        switches=(("pagecache_policy", "keep_poisoned"),),
        user_share=0.0,
    )
    machine = Machine(spec, 0, MemoryLayout(spec), trace=True)
    machine.engine.run(20)
    machine.processes.groups[0].members[0].exit()
    machine.run()
    found = machine.result()
    (error,), (lost,) = found.errors, found.lost_writes
    assert [name for _, name, _ in found.events].count("healed") == 1
    assert (error.outcome, error.data_lost_bytes, lost.reads_find) == ("Recovered", 4096, "EIO")
