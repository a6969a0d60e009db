"""Running, pooling and resuming: the same results whatever the workers, the batches and the breaks."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Generator
from functools import partial

import pytest

from hwsim.study import conduct as conducting
from hwsim.study.conduct import conduct, variants
from hwsim.study.errors import StudyError
from hwsim.study.jobs import Done, Failure, Job
from hwsim.study.manifest import Policy
from hwsim.study.pool import run_jobs
from hwsim.study.replay import replay
from hwsim.study.replicate import finished, pack, unpack
from hwsim.study.results import open_results
from tests.support.study_fake import DYING, FAILING, FAKE, SLOW, Each, FakeScenario, fake_replication

BOTH = variants({"vm.memory_failure_early_kill": (0, 1)})
ONE = [Policy("fake box")]


def bytes_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_pack_and_unpack_are_inverse():
    done = finished(1, fake_replication(FakeScenario().spec, 4)._replace(settled="no error"))
    assert unpack(pack(done)) == done
    assert (done.policy, done.replication, done.settled) == (1, 4, "no error")


def test_what_is_stored_is_plain_integers_where_the_model_has_numpy_ones():
    import numpy as np

    result = fake_replication(FakeScenario().spec, 4)
    odd = result._replace(row=result.row._replace(kills=np.int64(5), panics=True))
    ((row,), *_) = finished(0, odd).tables
    assert row == (0, *odd.row)
    assert set(map(type, row)) == {int}


def test_a_fraction_is_not_stored():
    result = fake_replication(FakeScenario().spec, 4)
    with pytest.raises(TypeError):
        finished(0, result._replace(row=result.row._replace(downtime_ns=1.5)))


def test_two_workers_give_the_same_in_the_same_order():
    specs = [FakeScenario().spec]
    jobs = [Job(0, index) for index in (*range(20, 40), *range(5))]
    alone = list(run_jobs(specs, jobs, workers=1, runner=FAKE))
    two = list(run_jobs(specs, jobs, workers=2, runner=SLOW))
    assert two == alone
    assert [done.replication for done in two] == [job.replication for job in jobs]


def test_a_failing_replication_is_a_row_and_not_the_end():
    found = list(run_jobs([FakeScenario().spec], [Job(0, i) for i in range(5)], runner=FAILING))
    assert [type(one) for one in found] == [Done, Done, Done, Failure, Done]
    failure = found[3]
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.message) == ("RuntimeError", "the third is bad")
    assert failure.place.startswith("support/study_fake.py:")


def test_a_dying_worker_fails_only_its_replication():
    jobs = [Job(0, i) for i in range(24, 34)]
    slow_start = [Job(0, i) for i in range(24)]
    found = list(run_jobs([FakeScenario().spec], slow_start + jobs, workers=2, runner=DYING))
    assert [one.replication for one in found] == list(range(34))
    assert [one.replication for one in found if isinstance(one, Failure)] == [30]


def large_replication(spec, index, base=None, trace=False):
    """A result that takes a while to go through a pipe."""
    return fake_replication(spec, index)._replace(reach={"x" * 8_000_000: 1})  # a pipe holds 65,536


def test_workers_stopped_half_way_through_a_result_do_not_hang():
    """The reader stops after some outcomes, while others are on their way, and is not held up."""
    jobs = [Job(0, number) for number in range(40)]
    for taken in (4, 5, 6):
        outcomes = run_jobs([FakeScenario().spec], jobs, workers=2, runner=Each(large_replication))
        assert all(isinstance(next(outcomes), Done) for _ in range(taken))
        assert isinstance(outcomes, Generator)
        outcomes.close()


def test_workers_below_one_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        list(run_jobs([FakeScenario().spec], [Job(0, 0)], workers=0, runner=FAKE))


def test_same_study_same_bytes_whatever_the_batches(tmp_path, monkeypatch):
    one, two = tmp_path / "one.sqlite", tmp_path / "two.sqlite"
    conduct(FakeScenario(), BOTH, out=one, runner=FAKE)
    monkeypatch.setattr(conducting, "BATCH_ROWS", 1)
    conduct(FakeScenario(), BOTH, out=two, workers=2, runner=SLOW)
    assert bytes_of(one) == bytes_of(two)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.sqlite", "two.sqlite"]


def test_running_again_does_nothing(tmp_path):
    out = tmp_path / "study.sqlite"
    conduct(FakeScenario(), ONE, out=out, runner=FAKE)
    before = bytes_of(out)

    def never(*args, **kwargs):
        raise AssertionError("ran again")

    results = conduct(FakeScenario(), ONE, out=out, runner=Each(never))
    assert bytes_of(out) == before
    assert len(results.replications) == 12


def test_more_replications_are_added_to_those_there(tmp_path):
    out = tmp_path / "study.sqlite"
    conduct(FakeScenario(), ONE, repeat=5, out=out, runner=FAKE)
    ran = []

    def counting(spec, index, base=None, trace=False):
        ran.append(index)
        return fake_replication(spec, index)

    results = conduct(FakeScenario(), ONE, repeat=9, out=out, runner=Each(counting))
    assert ran == [5, 6, 7, 8]
    whole = conduct(FakeScenario(), ONE, repeat=9, runner=FAKE)
    assert results.replications.equals(whole.replications)
    assert results.errors.equals(whole.errors)
    assert results.signals.equals(whole.signals)
    assert results.reach == whole.reach
    assert open_results(out).manifest["repeat"] == 9


def settled_replication(spec, index, base=None, trace=False):
    """Every third is settled without being played."""
    return fake_replication(spec, index)._replace(settled="" if index % 3 else "no error")


def test_how_machines_were_settled_is_counted_once_and_adds_up(tmp_path):
    out = tmp_path / "study.sqlite"
    runner = Each(settled_replication)
    assert conduct(FakeScenario(), BOTH, repeat=5, out=out, runner=runner).settled == [
        {"played": 3, "no error": 2},
        {"played": 3, "no error": 2},
    ]

    def meddling(spec, index, base=None, trace=False):
        if index == 7 and spec.machine.early_kill == 0:
            conduct(FakeScenario(), BOTH, repeat=10, out=out, runner=runner)
        return settled_replication(spec, index)

    both = conduct(FakeScenario(), BOTH, repeat=10, out=out, runner=Each(meddling))
    assert both.settled == open_results(out).settled == [{"played": 6, "no error": 4}] * 2


def test_fewer_replications_show_only_those(tmp_path):
    out = tmp_path / "study.sqlite"
    conduct(FakeScenario(), ONE, repeat=9, out=out, runner=FAKE)
    few = conduct(FakeScenario(), ONE, repeat=4, out=out, runner=FAKE)
    assert few.replications["replication"].tolist() == [0, 1, 2, 3]
    assert len(open_results(out).replications) == 9


def test_a_break_keeps_what_is_finished_and_the_rest_is_added(tmp_path):
    out = tmp_path / "study.sqlite"

    def broken(spec, index, base=None, trace=False):
        if index == 7:
            raise KeyboardInterrupt
        return fake_replication(spec, index)

    with pytest.raises(KeyboardInterrupt):
        conduct(FakeScenario(), BOTH, out=out, runner=Each(broken))
    kept = open_results(out)
    assert kept.replications.groupby("policy").size().tolist() == [7, 7]
    results = conduct(FakeScenario(), BOTH, out=out, runner=FAKE)
    whole = conduct(FakeScenario(), BOTH, runner=FAKE)
    assert results.errors.equals(whole.errors)
    assert results.signals.equals(whole.signals)


def test_failures_are_kept_and_tried_again(tmp_path):
    out = tmp_path / "study.sqlite"
    results = conduct(FakeScenario(), ONE, out=out, runner=FAILING)
    assert [f.replication for f in results.failures] == [3]
    assert len(results.replications) == 11
    again = conduct(FakeScenario(), ONE, out=out, runner=FAKE)
    assert again.failures == []
    assert len(again.replications) == 12


def test_two_runs_into_one_file_do_no_harm(tmp_path):
    out = tmp_path / "study.sqlite"

    def meddling(spec, index, base=None, trace=False):
        if index == 5:
            conduct(FakeScenario(), ONE, out=out, runner=FAKE)
        return fake_replication(spec, index)

    results = conduct(FakeScenario(), ONE, out=out, runner=Each(meddling))
    whole = conduct(FakeScenario(), ONE, runner=FAKE)
    assert results.signals.equals(whole.signals)
    assert results.reach == whole.reach


def test_the_documented_dtypes_hold_even_for_empty_tables(tmp_path):
    results = conduct(FakeScenario(), ONE, runner=FAKE)
    empty = conduct(FakeScenario(), ONE, repeat=1, runner=Each(quiet_replication))
    for table in ("replications", "errors", "signals"):
        assert getattr(results, table).dtypes.equals(getattr(empty, table).dtypes)
    assert results.errors["found_ns"].dtype == "Int64"
    assert results.errors["onset_ns"].dtype == "int64"
    assert results.errors["found"].dtype == "string"
    assert empty.errors.empty
    assert list(results.policies.columns) == ["policy", "label", "overrides"]


def quiet_replication(spec, index, base=None, trace=False):
    return fake_replication(spec, index)._replace(errors=[], signals=[])


def test_the_tables_are_plain_sqlite(tmp_path):
    out = tmp_path / "study.sqlite"
    conduct(FakeScenario(), BOTH, out=out, runner=FAKE)
    with sqlite3.connect(out) as connection:
        kinds = connection.execute("SELECT DISTINCT typeof(pfn), typeof(found), typeof(killed) FROM errors")
        assert kinds.fetchall() == [("integer", "text", "integer")]
        labels = connection.execute("SELECT label, overrides FROM policies ORDER BY policy").fetchall()
    connection.close()
    assert labels[1] == ("vm.memory_failure_early_kill=1", '["vm.memory_failure_early_kill=1"]')


def test_progress_counts_what_was_there_before(tmp_path):
    out = tmp_path / "study.sqlite"
    conduct(FakeScenario(), ONE, repeat=5, out=out, runner=FAKE)
    told: list[tuple[int, int]] = []
    conduct(
        FakeScenario(),
        ONE,
        repeat=9,
        out=out,
        runner=FAKE,
        progress=lambda finished, asked: told.append((finished, asked)),
    )
    assert told[0] == (5, 9)
    assert told[-1] == (9, 9)


def test_no_replication_at_all_is_refused():
    with pytest.raises(StudyError, match="repeat: 0 is not possible"):
        conduct(FakeScenario(), ONE, repeat=0, runner=FAKE)


def test_replay_gives_the_same_row_with_its_log(tmp_path, monkeypatch):
    out = tmp_path / "study.sqlite"
    results = conduct(FakeScenario(), BOTH, out=out, runner=FAKE)
    monkeypatch.setattr("hwsim.study.replay.spec_of", lambda results, policy, replication: spec_under(policy))
    found = replay(out, 3, 1, player=partial(fake_replication, trace=True))
    stored = results.replications.query("policy == 1 and replication == 3").iloc[0].tolist()
    assert list(found.row) == stored[1:]
    assert found.log


def spec_under(policy):
    return FakeScenario().with_overrides(list(BOTH[policy].overrides)).spec


def test_an_unknown_policy_names_those_there(tmp_path):
    results = conduct(FakeScenario(), BOTH, runner=FAKE)
    with pytest.raises(StudyError, match=r"policy: 2 is not in these results(.|\n)*1  vm.memory_failure"):
        replay(results, 0, 2, player=partial(fake_replication, trace=True))
