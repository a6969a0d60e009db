"""Whatever is accepted ends: what would be stepped through for ever is refused, with the number of steps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import settings

from hwsim.scenario import ScenarioError, load
from tests.support.accepted import TooMany, limits, what_is_accepted_ends

SCENARIO = """\
name = "busy"
horizon = "30 d"
[machine]
memory = "64 MiB"
scrub = { period = "12 h", signals = "UCNA" }
on_panic = { reboot = "5 min", repair = 0.5 }
alloc = { rate = "1 / s" }
sync = "1 d"
[[errors]]
rate = "3 / d"
permanent = 0.5
[[file]]
name = "ledger"
size = "1 MiB"
[[kernel]]
kind = "slab"
size = "1 MiB"
lifetime = "1 h"
[[task]]
name = "clerk"
count = 8
children = 1
restart = "1 s"
lifetime = "1 d"
fsync = { file = "ledger", every = "4 h", reopen = "6 h", open = "50 %" }
region = [
  { kind = "anon", size = "1 MiB", swap = { period = "1 d" } },
  { kind = "shm", size = "1 MiB", swap = { period = "1 d", dirty_mapped = 0.5 }, touch = { load = "1 / h" } },
]
"""


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    path = tmp_path / "busy.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("override", "key", "what"),
    [
        ("task.0.fsync.reopen=1 us", "task[0].fsync.reopen", "8.3e+13 times that the file is opened"),
        ("machine.sync=1 us", "machine.sync", "2.6e+12 calls of sync()"),
        ("machine.scrub.period=1 us", "machine.scrub.period", "2.6e+12 sweeps"),
        ("machine.on_panic.reboot=1 us", "machine.on_panic.reboot", "2.6e+12 panics of one bad line"),
        ("machine.alloc.rate=100000000 / s", "machine.alloc.rate", "times that a bad free page is handed"),
        ("task.0.lifetime=1 us", "task[0].lifetime", "4.1e+07 ends of a process"),
        ("task.0.region.0.swap.period=1 us", "task[0].region[0].swap.period", "5.8e+14 steps of pages"),
        ("task.0.region.1.swap.period=1 us", "task[0].region[1].swap.period", "5.8e+14 steps of pages"),
        ("task.0.region.1.touch.load=1000 / s", "task[0].restart", "4.1e+07 deaths of one bad page"),
        ("task.0.children=20000", "task[0].children", "160,008 tasks in this group"),
    ],
)  # fmt: skip
def test_what_would_not_end_is_refused_with_its_steps(busy: Path, override: str, key: str, what: str) -> None:
    load(busy)
    with pytest.raises(ScenarioError) as refused:
        load(busy, [override])
    assert key in str(refused.value)
    assert what in str(refused.value)
    assert re.search(r"allowed: at most (10,000,000, such as \S+|100,000, forked)", str(refused.value))


def test_a_bad_page_that_the_kernel_frees_and_gets_again(busy: Path) -> None:
    fast = ["machine.alloc.rate=10000 / s", "machine.alloc.order=3"]
    load(busy, ["machine.alloc.rate=900 / s"])
    with pytest.raises(ScenarioError, match=r"machine\.alloc\.rate"):
        load(busy, fast)


@pytest.mark.parametrize("signals", ["UCNA", "none"])
def test_what_is_suggested_is_accepted(busy: Path, signals: str) -> None:
    more = [f"machine.scrub.signals={signals}"]
    for key in ("machine.sync", "task.0.fsync.reopen", "task.0.region.0.swap.period", "task.0.lifetime"):
        with pytest.raises(ScenarioError) as refused:
            load(busy, [*more, f"{key}=1 ns"])
        such = re.search(r"such as (.*)", str(refused.value))
        assert such is not None
        load(busy, [*more, f"{key}={such[1]}"])


def test_an_intermittent_fault_of_a_nanosecond(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "scenarios" / "dram-server.toml"
    with pytest.raises(ScenarioError, match=r"dram\.off .* lines of an intermittent fault"):
        load(path, ["dram.intermittent=0.5", "dram.on=1 ns", "dram.off=1 ns"])


@pytest.mark.parametrize("rate", ["2000000000 / s", "1" + "0" * 400 + " / s", "2 / 1 ns"])
def test_nothing_happens_more_often_than_once_a_nanosecond(busy: Path, rate: str) -> None:
    with pytest.raises(
        ScenarioError, match=r"more often than once a nanosecond\n    allowed: at most 1000000000 / s"
    ):
        load(busy, [f"task.0.region.1.touch.load={rate}"])


def test_the_limits_are_limits() -> None:
    with limits(10, 100):
        pass
    with pytest.raises(TooMany, match="100 calls"), limits(10, 100):
        [re.escape("x") for _ in range(200)]


def test_accepted_scenarios_end() -> None:
    settings(max_examples=60)(what_is_accepted_ends)()


def test_a_count_of_errors_counts_as_a_rate_of_as_many(busy: Path) -> None:
    """90,000 errors a machine, half of them permanent, whichever way it is written."""
    many = ["task.0.fsync.reopen=20 s"]
    said = []
    for errors in ("errors.0.rate=3000 / d", "errors.0.count=90000"):
        with pytest.raises(ScenarioError) as caught:
            load(busy, [errors, *many])
        said.append(str(caught.value))
    assert said[0] == said[1]
    load(busy, ["errors.0.count=1", *many])
