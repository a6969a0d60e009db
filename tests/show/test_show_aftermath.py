"""Survival curves, shares of categories and the map of memory: the numbers behind the pictures."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from hwsim.kernel.page_flags import BUDDY, LRU
from hwsim.machine.snapshot import Mark, Run, Snapshot, snapshot
from hwsim.memory.kinds import KINDS
from hwsim.show import plots, style
from hwsim.show.categories import _share
from hwsim.show.memory_map import CLASSES, cells, memory_map
from hwsim.show.survival import Times, at_risk, survival, times_to_kill
from hwsim.spec import MachineSpec, RegionSpec, ScriptStep, ScrubSpec, Spec, TaskSpec
from tests.support.show_results import results
from tests.support.worlds import PFN, line, world


def _times(pairs: list[tuple[float, bool]]) -> Times:
    time = np.array([each[0] for each in pairs])
    return Times(time, np.array([each[1] for each in pairs]), np.zeros(len(pairs), dtype=np.int64), 1)


def test_kaplan_meier_by_hand() -> None:
    """Five errors: deaths at 1, 3, 3, censored at 2 and 5: 4/5, then (4/5) (1/3)."""
    at, alive = survival(_times([(1, True), (2, False), (3, True), (3, True), (5, False)]))
    assert at.tolist() == [1, 3]
    assert alive.tolist() == pytest.approx([4 / 5, 4 / 15])


def test_kaplan_meier_as_scipy_has_it() -> None:
    draw = np.random.Generator(np.random.Philox(3))
    time, died = np.ceil(draw.exponential(20, 300)), draw.random(300) < 0.6
    at, alive = survival(_times(list(zip(time, died, strict=True))))
    sample = stats.CensoredData(uncensored=time[died], right=time[~died])
    wanted = stats.ecdf(sample).sf
    assert alive == pytest.approx(wanted.evaluate(at))


def test_a_weight_of_two_is_two_errors() -> None:
    once = _times([(1, True), (2, True), (3, False)])
    twice = _times([(1, True), (1, True), (2, True), (3, False)])
    assert survival(once, np.array([2.0, 1.0, 1.0]))[1].tolist() == pytest.approx(survival(twice)[1].tolist())


def test_who_is_at_risk() -> None:
    assert [at_risk(_times([(1, True), (2, False), (3, True)]), after) for after in (1, 2, 3, 4)] == [
        3,
        2,
        1,
        0,
    ]


def test_times_run_from_the_find_to_the_first_death_or_the_end() -> None:
    data = results(10)
    sample = times_to_kill(data, 1)
    errors = data.errors[(data.errors["policy"] == 1) & data.errors["found_ns"].notna()]
    errors = errors[errors["mappers"] > 0]
    assert sample.time_ns.size == len(errors)
    signals = data.signals[(data.signals["policy"] == 1) & (data.signals["result"] == "killed")]
    assert sample.died.sum() == signals.groupby(["replication", "error"]).ngroups > 0
    assert (sample.time_ns > 0).all()


def test_shares_of_one_policy_sum_to_one() -> None:
    data = results(20)
    lost = data.lost_writes[data.lost_writes["policy"] == 0]
    names = ("writer", "bystander", "later_session", "nobody")
    shares = [_share(lost, "told", name, range(20)) for name in names]
    assert sum(share.value or 0.0 for share in shares) == pytest.approx(1.0)
    assert shares[0].value == (lost["told"] == "writer").mean()


def test_a_study_without_lost_writes_says_so() -> None:
    figure = plots.who_was_told(results(3, kinds=["anon"]))
    assert "no lost writes" in " ".join(text.get_text() for text in figure.axes[0].texts)


# -- the map ---------------------------------------------------------------------------------------


def test_a_cell_is_what_most_of_it_is() -> None:
    runs = (Run(0, 30, "reserved", "kernel:reserved"), Run(30, 50, "anon", "a"), Run(80, 20, "free", "free"))
    flags = np.full(100, LRU, np.uint32)
    found = cells(Snapshot("x", 0, 100, runs, (), flags), 5)
    assert [CLASSES[each][0] for each in found] == ["kernel", *["anonymous"] * 3, "free"]
    flags[40:60] = BUDDY  # the task has never touched them
    found = cells(Snapshot("x", 0, 100, runs, (), flags), 5)
    assert [CLASSES[each][0] for each in found] == ["kernel", "anonymous", "free", "anonymous", "free"]


def test_a_terabyte_takes_no_second_array_of_pages() -> None:
    pages = 1 << 28
    flags = np.broadcast_to(np.uint32(LRU), pages)  # four bytes for all of them
    tracemalloc.start()
    found = cells(Snapshot("x", 0, pages, (Run(0, pages, "anon", "a"),), (), flags), 6144)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < pages / 4  # bytes
    assert found.size == 6144
    assert set(found.tolist()) == {CLASSES.index(KINDS["anon"].shown)}


def test_a_snapshot_sees_what_the_kernel_knows_and_what_it_does_not() -> None:
    steps = line(1_000), (2_000, "scrub", {"page": {"pfn": PFN}}), (3_000, "inject", {"page": {"free": 5}})
    spec = world(*steps)
    assert snapshot(spec, 0, 500).marks == ()
    assert snapshot(spec, 0, 1_500).marks == (Mark(PFN, "latent"),)
    last = snapshot(spec, 0)
    assert [mark.state for mark in last.marks] == ["isolated", "isolated"]
    assert sum(run.pages for run in last.runs) == last.pages == spec.machine.memory_pages


def test_the_memory_of_the_dead_is_free() -> None:
    step = ScriptStep(1_000, "exit", {"task": "app.0"}, "script[0]")
    task = TaskSpec("app", regions=(RegionSpec("heap", "anon", 64),))
    spec = Spec("x", 10_000, 1, 1, MachineSpec(128, scrub=ScrubSpec(None)), (), (), (task,), (), (step,))
    before, after = (snapshot(spec, 0, at) for at in (500, 5_000))
    kinds = [next(run.kind for run in each.runs if run.name == "app.0/heap") for each in (before, after)]
    assert kinds == ["anon", "free"]
    assert (before.flags[:64] & LRU).all()
    assert (after.flags[:64] == BUDDY).all()


def test_the_map_is_the_same_every_time(tmp_path) -> None:
    picture = snapshot(world(line(1_000)), 0)
    first, second = (style.save(memory_map(picture), tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
