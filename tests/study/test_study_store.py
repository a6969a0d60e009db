"""The results file: never harm what is there, always say how to go on."""

from __future__ import annotations

import sqlite3

import pytest

from hwsim.study import integrity, opening
from hwsim.study import store as storing
from hwsim.study.conduct import conduct, variants
from hwsim.study.errors import StoreError
from hwsim.study.manifest import Policy
from hwsim.study.results import open_results
from hwsim.study.schema import FORMAT
from tests.support.study_fake import FAKE, Each, FakeScenario, fake_replication

ONE = [Policy("fake box")]


def attempt(out, scenario=None, policies=ONE):
    return conduct(scenario or FakeScenario(), policies, out=out, runner=FAKE)


def refused(out, **kwargs):
    with pytest.raises(StoreError) as caught:
        attempt(out, **kwargs)
    return str(caught.value)


def test_a_folder(tmp_path):
    assert "this is a folder; name a file" in refused(tmp_path)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "plain").write_text("x")
    assert "is not a folder" in refused(tmp_path / "plain" / "study.sqlite")


def test_a_text_file_stays_as_it_is(tmp_path):
    out = tmp_path / "notes.txt"
    out.write_text("my notes " * 40)
    assert "not an SQLite database" in refused(out)
    assert out.read_text() == "my notes " * 40


def test_a_foreign_database_stays_as_it_is(tmp_path):
    out = tmp_path / "photos.db"
    connection = sqlite3.connect(out)
    connection.execute("CREATE TABLE photos (name TEXT)")
    connection.commit()
    connection.close()
    before = out.read_bytes()
    assert "made by another program" in refused(out)
    assert out.read_bytes() == before


def test_a_device_is_no_results_file():
    assert "not an ordinary file" in refused("/dev/null")


def test_a_file_of_another_format_version(tmp_path):
    out = tmp_path / "study.sqlite"
    attempt(out)
    with sqlite3.connect(out) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert f"format 99, this one reads format {FORMAT}" in refused(out)


def test_another_scenario_is_told_apart_and_the_way_on_is_named(tmp_path):
    out = tmp_path / "study.sqlite"
    attempt(out)
    before = out.read_bytes()
    text = refused(out, scenario=FakeScenario().with_overrides(["seed=2"]))
    assert "seed: 1 in the file, " in text
    assert "another file with --out" in text
    assert out.read_bytes() == before


def test_other_policies_are_told_apart(tmp_path):
    out = tmp_path / "study.sqlite"
    attempt(out)
    text = refused(out, policies=variants({"vm.memory_failure_early_kill": (0, 1)}))
    assert "policies: fake box in the file, vm.memory_failure_early_kill=0, " in text


def test_a_new_description_is_the_same_study(tmp_path):
    out = tmp_path / "study.sqlite"
    attempt(out)
    assert len(attempt(out, scenario=FakeScenario().with_overrides(["description=more"])).replications) == 12


def test_a_locked_file(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "LOCK_WAIT_S", 0.01)
    out = tmp_path / "study.sqlite"
    attempt(out)
    other = sqlite3.connect(out, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert "locked by another program" in refused(out)
    with pytest.raises(StoreError, match="locked by another program"):
        open_results(out)
    other.execute("ROLLBACK")
    other.close()
    assert len(open_results(out).replications) == 12


def test_a_full_disk_keeps_whole_replications(tmp_path, monkeypatch):
    monkeypatch.setattr("hwsim.study.conduct.BATCH_ROWS", 1)
    out = tmp_path / "study.sqlite"
    begin = storing.Store.begin

    def small(self):
        begin(self)
        pages = self.connection.execute("PRAGMA page_count").fetchone()[0]
        self.connection.execute(f"PRAGMA max_page_count = {pages + 6}")

    monkeypatch.setattr(storing.Store, "begin", small)
    with pytest.raises(StoreError, match="disk is full"):
        conduct(FakeScenario(), ONE, repeat=2000, out=out, runner=FAKE)
    monkeypatch.undo()
    kept = open_results(out)
    counts = kept.errors.groupby("replication").size()
    assert len(kept.replications) > 0
    assert kept.replications.set_index("replication")["errors"].equals(counts.astype("int64"))
    whole = conduct(FakeScenario(), ONE, repeat=100, out=out, runner=FAKE)
    assert len(whole.replications) == 100


def test_a_damaged_file(tmp_path):
    out = tmp_path / "study.sqlite"
    attempt(out)
    content = out.read_bytes()
    out.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(StoreError, match="damaged"):
        _ = open_results(out).errors


def test_reading_what_is_not_there_names_a_neighbour(tmp_path):
    attempt(tmp_path / "early-kill.sqlite")
    with pytest.raises(StoreError, match=r"no such file; did you mean .*early-kill\.sqlite"):
        open_results(tmp_path / "earlykill.sqlite")


def test_reading_an_empty_file(tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(StoreError, match="empty"):
        open_results(tmp_path / "empty")


def test_reading_leaves_no_files_behind(tmp_path):
    out = tmp_path / "study.sqlite"
    attempt(out)
    _ = open_results(out).errors
    assert [p.name for p in tmp_path.iterdir()] == ["study.sqlite"]


def test_a_write_that_fails_takes_back_the_whole_batch(tmp_path):
    out = tmp_path / "study.sqlite"

    def twice(spec, index, base=None, trace=False):
        result = fake_replication(spec, index)
        return result._replace(errors=[*result.errors, result.errors[0]]) if index == 2 else result

    with pytest.raises(StoreError, match="UNIQUE"):
        conduct(FakeScenario(), ONE, out=out, runner=Each(twice))
    assert len(open_results(out).errors) == 0


def test_more_replications_leave_the_command_that_asked_for_them(tmp_path):
    out = tmp_path / "study.sqlite"
    for repeat in (5, 9, 7):
        conduct(FakeScenario(), ONE, repeat=repeat, out=out, runner=FAKE, command=[str(repeat)])
    manifest = open_results(out).manifest
    assert (manifest["repeat"], manifest["command"]) == (9, ["9"])


def test_an_interrupt_leaves_one_file(tmp_path):
    out = tmp_path / "study.sqlite"

    def until_seven(spec, index, base=None, trace=False):
        if index == 7:
            raise KeyboardInterrupt
        return fake_replication(spec, index)

    with pytest.raises(KeyboardInterrupt):
        conduct(FakeScenario(), ONE, out=out, runner=Each(until_seven))
    assert len(open_results(out).replications) == 7
    assert [p.name for p in tmp_path.iterdir()] == ["study.sqlite"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("attempt to write a readonly database", "write-protected?"),
        ("unable to open database file", "write-protected?"),
        ("database is locked", "locked by another program"),
        ("database or disk is full", "the disk is full"),
        ("disk I/O error", "What was finished before is kept"),
    ],
)
def test_what_sqlite_says_is_said_in_the_users_words(text, said):
    assert said in str(storing.explained(sqlite3.OperationalError(text), None))


def test_a_file_is_checked_in_one_state(tmp_path, monkeypatch):
    """Whoever writes meanwhile changes nothing of what is read."""
    out = tmp_path / "study.sqlite"
    attempt(out)
    states = []
    whole = integrity.whole

    def seen(store, study_hash):
        states.append(store.connection.in_transaction)
        return whole(store, study_hash)

    monkeypatch.setattr(integrity, "whole", seen)
    opening.checked(out)
    assert states == [True]
