"""SIGBUS that has nothing to do with a poison entry: beyond the end of a file, or contents that are lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hwsim.script.step import ScriptError
from hwsim.spec import Delay, FileSpec, RegionSpec, SigbusSpec, TaskSpec, Touch
from tests.support.worlds import NO_TIME, happened, heap, outcomes, play, signals

CUT = (1_000, "truncate", {"file": "data", "pages": 0})
GROW = 500_000, "truncate", {"file": "data", "pages": 8}


def _load(at: int, verb: str = "load", region: str = "map") -> tuple[int, str, dict[str, Any]]:
    return at, verb, {"task": "app.0", "page": heap(0, region=region)}


def _world(sigbus: SigbusSpec, **more: Any) -> dict[str, Any]:
    region = RegionSpec("map", "file", 8, file="data", shared=True, populate=False)
    task = TaskSpec("app", regions=(region,), sigbus=sigbus)
    return {"tasks": (task,), "files": (FileSpec("data", 8),)} | more


def _names(sigbus: SigbusSpec, *steps: tuple[Any, ...], **more: Any) -> list[str]:
    events = [name for _, name in happened(play(CUT, *steps, **_world(sigbus, **more)))]
    return [each for each in events if each in ("killed", "exit", "handled", "disposition_reset", "merged")]


def test_without_a_handler_the_task_dies() -> None:
    result = play(CUT, _load(2_000), **_world(SigbusSpec()))
    assert outcomes(result) == ["BUS_ADRERR"]
    assert [name for _, name in happened(result)][-2:] == ["signal", "killed"]
    assert result.events[-1][2]["cause"] == "BUS_ADRERR"


@pytest.mark.parametrize("sigbus", [SigbusSpec(), SigbusSpec("exit", "exit")])
def test_no_error_has_done_it(sigbus: SigbusSpec) -> None:
    """A step of the script has: no restart is counted for it, and a step after it is a mistake."""
    world = _world(sigbus)
    world["tasks"] = (replace(world["tasks"][0], restart_ns=1_000),)
    assert play(CUT, _load(2_000), **world).row.restarts == 0
    with pytest.raises(ScriptError, match="is dead at this time"):
        play(CUT, _load(2_000), _load(2_500), **world)


@pytest.mark.parametrize("way", ["ignored", "blocked"])
def test_it_is_forced(way: str) -> None:
    assert _names(SigbusSpec(way, way), _load(2_000)) == ["disposition_reset", "killed"]


def test_masked_by_a_step_it_is_forced_too() -> None:
    mask = (1_500, "mask", {"task": "app.0"})
    assert _names(SigbusSpec("return", "return"), mask, _load(2_000)) == ["disposition_reset", "killed"]


def test_a_handler_that_returns_repeats_the_access_but_not_for_ever() -> None:
    result = play(CUT, _load(2_000), GROW, _load(600_000), **_world(SigbusSpec("return", "return")))
    assert [name for _, name in happened(result)].count("handled") == 3
    assert outcomes(result) == ["BUS_ADRERR", "zeroes"]


def test_a_handler_that_exits() -> None:
    assert _names(SigbusSpec("return", "exit"), _load(2_000)) == ["handled", "exit"]


def test_a_handler_that_maps_a_fresh_page() -> None:
    assert _names(SigbusSpec("remap", "remap"), _load(2_000)) == ["handled"]


def test_a_handler_that_touches_it_dies_of_it() -> None:
    assert _names(SigbusSpec("touch", "touch"), _load(2_000)) == ["disposition_reset", "killed"]


def test_when_the_file_has_grown_meanwhile_the_access_succeeds() -> None:
    """The handler runs for 600 us; the store is made again at its end, and is dirty then."""
    times = replace(NO_TIME, sigbus_handler=Delay(mean_ns=600_000))
    steps = (_load(2_000, "store"), GROW, (900_000, "inject", {"page": {"file": "data", "index": 0}}))
    result = play(CUT, *steps, times=times, **_world(SigbusSpec("return", "return"), early_kill=0))
    assert outcomes(result) == ["zeroes"]
    assert (result.errors[0].row, result.errors[0].data_lost_bytes) == (12, 4096)


# -- shared memory whose contents went with the swap cache ----------------------------------------------

OUT = {"page": heap(0, region="shm")}
LOST = (1_000, "swap_out", OUT), (2_000, "inject", OUT)


def _segment(sigbus: SigbusSpec, load_per_s: float = 0.0) -> dict[str, Any]:
    region = RegionSpec("shm", "shm", 8, (Touch(1.0, load_per_s, 0.0),), shared=True)
    return {"tasks": (TaskSpec("app", regions=(region,), sigbus=sigbus),)}


def test_a_segment_without_contents_by_script_and_by_chance() -> None:
    for steps, rate in (((*LOST, _load(3_000, region="shm")), 0.0), (LOST, 1e6)):
        killed = play(*steps, **_segment(SigbusSpec(), rate))
        assert signals(killed) == [(100, "SIGBUS", "BUS_ADRERR", "late", "killed")]
        lives = play(*steps, **_segment(SigbusSpec("return", "return"), rate))
        assert [row.result for row in lives.signals] == ["handled", "handled", "looping"]
        assert "killed" not in {name for _, name in happened(lives)}
