"""Who hears of a lost write by the calls that come by chance: exact times, and no call for nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hwsim.lost_writes.lost_write import LostWrite
from hwsim.record import Replication
from hwsim.spec import FileSpec, FsyncSpec, Spec, TaskSpec
from tests.support.worlds import P0, events_of, on_file, run, world


def asked(fsync: FsyncSpec, at: int, *steps: Any, **switches: str) -> Replication:
    return run(asking(fsync, at, *steps, **switches))


def asking(fsync: FsyncSpec, at: int, *steps: Any, **switches: str) -> Spec:
    """Two tasks ask about a file on NFS; the page that one has written is lost 100 ns later."""
    return world(
        on_file(at, "write", index=0),
        (at + 100, "inject", {"page": P0}),
        *steps,
        tasks=(TaskSpec("app", count=2, fsync=fsync),),
        files=(FileSpec("data", 8, filesystem="nfs"),),
        switches=tuple(switches.items()),
    )


def told(result: Replication) -> list[Any]:
    """(time_ns, by, who was told or that it was swallowed)."""
    return [
        (time, facts["by"], facts.get("task", event))
        for time, event, facts in result.events
        if event in ("told", "swallowed")
    ]


ASKS = FsyncSpec("data", 20_000)
CLOSES = FsyncSpec("data", 300_000, reopen_ns=100_000, open_share=0.5)
DEAF = FsyncSpec("data", 300_000, reopen_ns=100_000, open_share=0.5, checks=False)
FIRST, SECOND = (5_330, "fsync", "app.0"), (19_390, "fsync", "app.1")


@pytest.mark.parametrize(
    ("mode", "heard", "events"),
    [("as_flag", [FIRST], 5), ("errseq", [FIRST, SECOND], 6), ("sticky", [FIRST, SECOND], 6)],
)
def test_once_all_know_who_can_nobody_asks_any_more(mode: str, heard: list[Any], events: int) -> None:
    """The horizon leaves time for fifty calls of each."""
    spec = asking(ASKS, 500, eio_mode=mode)
    assert (told(run(spec)), events_of(spec)) == (heard, events)


def test_who_dies_before_it_asks_leaves_the_error_to_the_next() -> None:
    result = asked(ASKS, 500, (3_000, "exit", {"task": "app.0"}), close_reports="none")
    assert told(result) == [SECOND]


@pytest.mark.parametrize(
    ("fsync", "mode", "reports", "heard"),
    [
        (CLOSES, "as_flag", "nfs", [(479_956, "close", "app.0")]),
        (CLOSES, "errseq", "nfs", [(479_956, "close", "app.0"), (490_858, "close", "app.1")]),
        (CLOSES, "as_flag", "none", [(590_858, "fsync", "app.1")]),
        (DEAF, "as_flag", "nfs", [(479_956, "unchecked", "swallowed")]),
        (DEAF, "errseq", "nfs", []),
    ],
)
def test_a_session_ends_with_a_close_that_may_answer(
    fsync: FsyncSpec, mode: str, reports: str, heard: list[Any]
) -> None:
    assert told(asked(fsync, 460_000, eio_mode=mode, close_reports=reports)) == heard


def test_old_data_is_read_from_the_first_time_on_that_the_marker_is_dropped() -> None:
    engine = SimpleNamespace(now_ns=5)
    lost = LostWrite.__new__(LostWrite)
    lost.line = SimpleNamespace(around=SimpleNamespace(engine=engine))  # type: ignore[assignment]
    lost.reads_find, lost.stale_from_ns = "EIO", None
    lost.marker_dropped()
    engine.now_ns = 9
    lost.marker_dropped()
    assert lost.stale_from_ns == 5
    lost.reads_find, lost.stale_from_ns = "the page", None
    lost.marker_dropped()
    assert lost.stale_from_ns is None
