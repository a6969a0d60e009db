"""Results that cannot lie: a file gives the numbers that it was given, or it says that it is damaged."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from hwsim.study import integrity, sums
from hwsim.study.conduct import conduct, variants
from hwsim.study.errors import StoreError, StudyError
from hwsim.study.integrity import ranges
from hwsim.study.jobs import Job
from hwsim.study.manifest import manifest, under
from hwsim.study.opening import checked, open_store, read_store
from hwsim.study.replay import compare, spec_of
from hwsim.study.replicate import finished
from hwsim.study.results import open_results
from tests.support import rows
from tests.support.study_fake import FAKE, Each, FakeScenario, fake_replication

BOTH = variants({"vm.memory_failure_early_kill": (0, 1)})
PAGE = 4096
COORDINATES = dict.fromkeys(("dimm", "rank", "chip", "bank", "row", "column"), 0)


def never(*args, **kwargs):
    raise AssertionError("ran again")


def study(out, one=fake_replication, **kwargs):
    return conduct(FakeScenario(), BOTH, out=out, runner=Each(one), **kwargs)


def numbers(results):
    tables = ("replications", "errors", "signals", "lost_writes", "faults")
    found = [results._store.rows(table, results._below) for table in tables]
    return [*found, results.failures, results.reach, results.policy_list, results.manifest]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A finished file: its bytes and its numbers."""
    out = tmp_path_factory.mktemp("sound") / "study.sqlite"
    return out, out.read_bytes() if out.exists() else b"", numbers(study(out))


@pytest.fixture
def good(sound, tmp_path):
    """A copy of the finished file, its bytes and its numbers."""
    out = tmp_path / "study.sqlite"
    shutil.copy(sound[0], out)
    return out, out.read_bytes(), sound[2]


def told_or_the_same(out, data, right):
    """Continue a file of these bytes; whether it was refused.  It is never changed."""
    out.write_bytes(data)
    try:
        results = study(out, one=never)
        assert numbers(results) == right
    except StoreError:
        assert out.read_bytes() == data
        return True
    return False


def test_every_flipped_bit_is_told_or_without_effect(good):
    out, data, right = good
    draw = random.Random(2009)
    places = [*range(100), *(draw.randrange(100, len(data)) for _ in range(200))]
    refused = 0
    for place in places:
        bad = bytearray(data)
        bad[place] ^= 1 << draw.randrange(8)
        refused += told_or_the_same(out, bytes(bad), right)
    assert refused > 50, "many bits of a file are of no effect, but not so many"


@pytest.mark.parametrize("missing", [1, 100, PAGE, 2 * PAGE])
def test_a_file_that_ends_too_early_is_told(good, missing):
    out, data, _ = good
    out.write_bytes(data[:-missing])
    for use in (study, read_store, checked):
        with pytest.raises(StoreError, match=f"{missing} bytes? (is|are) missing at its end"):
            use(out)


def test_a_file_of_which_nothing_is_left_is_not_said_to_be_mended(good):
    out, data, _ = good
    out.write_bytes(data[:300])
    for use in (study, read_store, checked):
        with pytest.raises(StoreError, match="nothing in it can be read; run the study again into another"):
            use(out)
    with pytest.raises(StoreError, match="nothing in it can be read"):
        study(out, repair=True)


def test_bytes_behind_the_end_are_told(good):
    out, data, _ = good
    out.write_bytes(data + b"more")
    with pytest.raises(StoreError, match="bytes follow its end"):
        read_store(out)


def without(data, page):
    return data[: (page - 1) * PAGE] + bytes(PAGE) + data[page * PAGE :]


def test_pages_of_zeroes_and_pages_that_changed_places(good):
    out, data, right = good
    pages = len(data) // PAGE
    refused = 0
    for number in range(pages):
        refused += told_or_the_same(out, without(data, number + 1), right)
        parts = [data[i : i + PAGE] for i in range(0, len(data), PAGE)]
        other = (number + 5) % (pages - 1) + 1  # the first page is the header
        parts[number], parts[other] = parts[other], parts[number]
        refused += told_or_the_same(out, b"".join(parts), right)
    assert refused >= 2 * pages - 2


def test_an_old_log_beside_a_file_is_told_or_without_effect(good):
    """A file was copied back without its log, or the log of another moment lies beside it."""
    out, data, right = good
    log = out.with_name("study.sqlite-wal")
    asked = manifest(under(FakeScenario(), BOTH), BOTH, FakeScenario().data, 12)
    with open_store(out, {**asked, "repeat": 20}, BOTH) as store:
        store.begin()
        store.add([finished(0, fake_replication(FakeScenario().spec, 15))])
        old = log.read_bytes()
        running = out.read_bytes()
    for main in (data, running):
        log.write_bytes(old)
        out.write_bytes(main)
        with contextlib.suppress(StoreError):
            found = numbers(study(out, one=never))
            assert found[:6] == right[:6], "of the replications that were asked for"
        log.unlink(missing_ok=True)


def change(out, *queries):
    with sqlite3.connect(out) as connection:
        for query in queries:
            connection.execute(query)
    connection.close()


def rerun(out, **kwargs):
    """Repair a file; the replications that were run for it."""
    ran = []

    def counting(spec, index, base=None, trace=False):
        ran.append((spec.machine.early_kill, index))
        return fake_replication(spec, index)

    return study(out, one=counting, repair=True, **kwargs), ran


def test_damaged_replications_are_named_and_run_again(good):
    out, _, right = good
    with sqlite3.connect(out) as connection:
        ((first,),) = connection.execute("SELECT replication FROM signals WHERE rowid = 1").fetchall()
    connection.close()
    change(
        out,
        "UPDATE errors SET pfn = pfn + 1 WHERE policy = 1 AND replication IN (3, 7, 8) AND error = 0",
        "DELETE FROM signals WHERE rowid = 1",
        f"INSERT INTO faults VALUES {(0, *rows.fault(replication=99, **COORDINATES))}",
    )
    damaged = out.read_bytes()
    with pytest.raises(StoreError) as caught:
        study(out, one=never)
    said = str(caught.value)
    assert "policy 0, not as written: replication 99\n" in said
    assert f"policy 1, not as written: replication {first}, 3, 7 to 8\n" in said
    assert "as written: 20 replications" in said
    assert out.read_bytes() == damaged
    results, ran = rerun(out)
    assert numbers(results) == right
    assert sorted(ran) == [(1, first), (1, 3), (1, 7), (1, 8)]
    assert "20 replications in it are kept" in results.repaired
    assert out.with_name("study.sqlite.damaged").read_bytes() == damaged
    assert sorted(p.name for p in out.parent.iterdir()) == ["study.sqlite", "study.sqlite.damaged"]
    assert "24 of 24 replications finished" in checked(out)


def root_of(out, table):
    with sqlite3.connect(out) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
    connection.close()
    return root


def test_what_is_sound_of_a_broken_file_is_kept(good):
    out, data, right = good
    at = (root_of(out, "errors") - 1) * PAGE
    out.write_bytes(without(data, int.from_bytes(data[at + 8 : at + 12])))  # right-most page below the root
    with pytest.raises(StoreError, match="malformed"):
        checked(out)
    results, ran = rerun(out)
    assert numbers(results) == right
    assert 0 < len(ran) < 24


def test_replications_of_which_no_row_can_be_read_are_named_too(good):
    out, data, right = good
    out.write_bytes(without(without(data, root_of(out, "replications")), root_of(out, "errors")))
    with pytest.raises(StoreError, match=r"policy 0, .* 0 to 11\n  policy 1, .* 0 to 11\n"):
        checked(out)
    results, ran = rerun(out)
    assert (numbers(results), len(ran)) == (right, 24)


@pytest.mark.parametrize(
    ("query", "again"),
    [
        ("UPDATE manifest SET value = '[1]' WHERE key = 'command'", 0),
        ("DELETE FROM manifest WHERE key = 'scenario'", 0),
        ("UPDATE policies SET label = 'x'", 0),
        ("UPDATE sums SET digest = NULL WHERE name = 'digests'", 24),
        ("UPDATE reach SET times = times + 1 WHERE policy = 0", 24),
        ("DELETE FROM digests WHERE replication = 4", 24),
        ("UPDATE digests SET replication = 77 WHERE policy = 1 AND replication = 4", 24),
        ("DELETE FROM sums", 24),
    ],
)
def test_a_damaged_table_is_named_and_mended(good, query, again):
    out, _, right = good
    change(out, query)
    table = "digests" if "= 'digests'" in query else query.replace("FROM ", "").split()[1]
    with pytest.raises(StoreError, match=f"table {table}: "):
        study(out, one=never)
    results, ran = rerun(out)
    assert len(ran) == again
    assert numbers(results) == right


def test_a_sound_file_is_not_repaired(good):
    out, data, _ = good
    results, ran = rerun(out)
    assert (results.repaired, ran, out.read_bytes()) == ("", [], data)


def test_another_study_is_not_repaired(good):
    out, _, _ = good
    change(out, "UPDATE errors SET pfn = 1 WHERE replication = 3")
    before = out.read_bytes()
    with pytest.raises(StoreError, match="another study"):
        conduct(FakeScenario().with_overrides(["seed=2"]), BOTH, out=out, runner=FAKE, repair=True)
    assert out.read_bytes() == before


def test_a_second_damage_is_kept_beside_the_first(good):
    out, _, _ = good
    for _ in range(2):
        change(out, "UPDATE errors SET pfn = pfn + 1 WHERE replication = 3")
        rerun(out)
    assert {p.name for p in out.parent.iterdir()} == {
        "study.sqlite", "study.sqlite.damaged", "study.sqlite.damaged2",
    }  # fmt: skip


def test_a_replication_run_again_must_be_what_it_was(good):
    """Another numpy, or another machine: what is put into the hole would be of another kind."""
    out, _, _ = good
    change(out, "UPDATE errors SET pfn = pfn + 1 WHERE policy = 0 AND replication = 3")

    def other(spec, index, base=None, trace=False):
        result = fake_replication(spec, index)
        return result._replace(row=result.row._replace(kills=result.row.kills + 1))

    with pytest.raises(StoreError, match="replication 3 of policy 0, run again, is not what it was"):
        study(out, one=other, repair=True)


def test_an_interrupted_repair_goes_on(good):
    out, _, right = good
    change(out, "UPDATE errors SET pfn = pfn + 1 WHERE policy = 0 AND replication IN (3, 4)")

    def interrupted(spec, index, base=None, trace=False):
        if index == 4:
            raise KeyboardInterrupt
        return fake_replication(spec, index)

    with pytest.raises(KeyboardInterrupt):
        study(out, one=interrupted, repair=True)
    assert "23 of 24 replications finished" in checked(out)
    assert numbers(study(out)) == right


@pytest.mark.parametrize(
    ("table", "query", "said"),
    [
        ("policies", "UPDATE policies SET overrides = '[1, 2]'", "list of overrides"),
        ("policies", "UPDATE policies SET policy = policy + 5 WHERE policy = 1", "number 1"),
        (
            "failures",
            "INSERT INTO failures VALUES (0, 'x', 'A', 'b', '')",
            "replication = 'x' is not",
        ),
        ("reach", "UPDATE reach SET times = 'often'", "times = "),
        ("manifest", "UPDATE manifest SET value = 'true' WHERE key = 'repeat'", "repeat missing or wrong"),
    ],
)
def test_values_of_another_type_are_damage_even_if_the_sums_agree(good, table, query, said):
    out, _, _ = good
    with sqlite3.connect(out) as connection:
        connection.execute(query)
        sums.renew(connection, table)
    connection.close()
    with pytest.raises(StoreError, match=said):
        numbers(open_results(out))


@pytest.mark.parametrize(
    ("table", "change_to", "said"),
    [
        ("errors", "pfn = 'somewhere'", "errors: pfn = 'somewhere' is not a whole number|TEXT value in"),
        ("errors", "pfn = 1.0", "errors: pfn = 1.0 is not a whole number"),
        ("errors", "pfn = '17'", "errors: pfn = '17' is not a whole number|TEXT value in errors.pfn"),
        ("signals", "task = 5.5", "task = 5.5 is not a text|NUMERIC value in signals.task"),
    ],
)
def test_a_number_is_a_number_and_a_text_a_text(good, table, change_to, said):
    """Newer versions of SQLite tell it in their own quick check, reading the rows does it everywhere."""
    out, _, _ = good
    # As another program may write it: SQLite itself turns '17' into 17 in a column of whole numbers.
    with sqlite3.connect(out) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        loose = sql.replace('"pfn" INTEGER', '"pfn" BLOB').replace('"task" TEXT', '"task" BLOB')
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (loose, table))
    connection.close()
    change(out, f"UPDATE {table} SET {change_to} WHERE replication = 3")
    with sqlite3.connect(out) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (sql, table))
    connection.close()
    with pytest.raises(StoreError, match=said):
        numbers(open_results(out))


def test_a_replay_looks_at_its_replication(good):
    out, _, _ = good
    change(out, "UPDATE errors SET pfn = pfn + 1 WHERE policy = 1 AND replication = 3")
    with pytest.raises(StudyError, match="replication 3 of policy 1"):
        spec_of(open_results(out), 1, 3)


def test_a_replay_that_differs_from_what_is_stored_is_refused(good):
    out, _, _ = good
    results = open_results(out)
    same = fake_replication(FakeScenario().spec, 3)
    compare(results, 0, same)
    compare(results, 0, fake_replication(FakeScenario().spec, 33))  # not stored: nothing to compare with
    with pytest.raises(StudyError, match="replication 3 of policy 0, played again, is not what is stored"):
        compare(results, 0, same._replace(row=same.row._replace(kills=77)))


def test_two_first_starts_make_one_file(tmp_path):
    """Both see that there is no file; one makes it, the other finds it made."""
    asked = manifest(under(FakeScenario(), BOTH), BOTH, FakeScenario().data, 12)

    def start(out):
        open_store(out, asked, BOTH).close()

    for number in range(5):
        out = tmp_path / f"{number}.sqlite"
        with ThreadPoolExecutor(4) as pool:
            for made in [pool.submit(start, out) for _ in range(4)]:
                made.result()
        assert "0 of 24 replications finished, 0 failed; every row is as it was written" in checked(out)


def test_digests_do_not_depend_on_the_batches(tmp_path, monkeypatch):
    one, two = tmp_path / "one.sqlite", tmp_path / "two.sqlite"
    study(one)
    monkeypatch.setattr("hwsim.study.conduct.BATCH_ROWS", 1)
    study(two)
    assert one.read_bytes() == two.read_bytes()


def test_the_digest_of_a_replication_is_of_its_study():
    store = open_store(None, manifest(under(FakeScenario(), BOTH), BOTH, FakeScenario().data, 12), BOTH)
    store.add([finished(0, fake_replication(FakeScenario().spec, 1))])
    ((job, tables),) = store.replications()
    assert job == Job(0, 1)
    assert integrity.sound(store.connection, store.study_hash, job, tables)
    assert not integrity.sound(store.connection, "another study", job, tables)


def test_numbers_are_told_in_ranges():
    assert ranges([3, 7, 8, 9, 12]) == "3, 7 to 9, 12"
    assert ranges(range(0, 60, 2)) == "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22 and 18 more"
