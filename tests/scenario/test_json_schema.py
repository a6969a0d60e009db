"""The JSON Schema of scenarios, judged by a validator that is not ours."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from hwsim.scenario.json_schema import schema
from hwsim.scenario.problems import show_path
from hwsim.scenario.schema import ScenarioModel
from hwsim.scenario.sources import flat
from tests.whole.shipped import SCENARIOS

BAD = sorted((SCENARIOS / "bad").glob("*.toml"))
SHIPPED = sorted([*SCENARIOS.glob("*.toml"), *(SCENARIOS / "faults").glob("*.toml")])
NOT_OF_SHAPE = {  # bad files that the schema takes, and why
    "binary": "not TOML",
    "latin": "not TOML",
    "not-toml": "not TOML",
    "results": "not TOML",
    "extends-itself": "what another file says",
    "memory-too-small": "a sum over tables",
    "places": "products of rates and sizes, and names of other tables",
    "regions": "which keys go together, and sizes that must be multiples",
}
SIZES = {  # texts of the right form: a regular expression does not count
    ("regions", "task[0].region[5].size"),  # 6 KiB
    ("shapes", "machine.hidden"),  # 1 KiB
    ("shapes", "machine.user_share"),  # 150 %
}
GOOD = {"name": "x", "horizon": "1 h", "machine": {"memory": "64 MiB"}}


@cache
def judge() -> Draft202012Validator:
    return Draft202012Validator(schema())


def refused(data: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Where the schema refuses something."""
    return [tuple(error.absolute_path) for error in judge().iter_errors(data)]


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_takes_every_shipped_scenario(path: Path) -> None:
    assert refused(tomllib.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_it_refuses_what_is_wrong_in_shape(path: Path) -> None:
    """A bad file, and in it each mistake that shows in one table."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        assert NOT_OF_SHAPE[path.stem] == "not TOML"
        return
    found = refused(data)
    assert bool(found) == (path.stem not in NOT_OF_SHAPE)
    for place in _mistakes_of_shape(data):
        if (path.stem, show_path(place)) not in SIZES:
            assert any(place[: len(each)] == each for each in found if each or len(place) == 1), place


def _mistakes_of_shape(data: dict[str, Any]) -> list[tuple[Any, ...]]:
    if "machine" in data and isinstance(data["machine"].get("sysctl"), dict):
        data["machine"]["sysctl"] = flat(data["machine"]["sysctl"])  # as it is read
    try:
        ScenarioModel.model_validate(data)
    except ValidationError as error:
        told = error.errors(include_url=False)
        return [each["loc"] for each in told if "extends" not in data or each["type"] != "missing"]
    return []


@pytest.mark.parametrize(
    "table",
    [
        {"machine": {"cpus": 2}},
        {"machine": {"times": {"unmap": {"mean": "2 us"}}}},
        {"seed": 3},
    ],
)
def test_a_file_that_extends_may_lack_what_the_other_has(table: dict[str, Any]) -> None:
    assert refused({"extends": "base.toml", **table}) == []
    assert refused(table)


@pytest.mark.parametrize(
    ("stream", "good"),
    [
        ({"rate": "3 / GiB / day"}, True),
        ({"rate": "3 / day / GiB"}, True),
        ({"rate": " Never "}, True),
        ({"rate": "1e-3/2 weeks"}, True),
        ({"rate": "3 / GiB / day / GiB"}, False),
        ({"rate": "3 / fortnight"}, False),
        ({"count": 3}, True),
        ({"count": 3, "rate": "3 / day"}, False),
        ({"kind": "dram"}, True),
        ({"kind": "dram", "count": 3}, False),
        ({"kind": "uncorrected"}, False),
        ({"count": 3, "where": {"kind": "anon"}}, True),
        ({"count": 3, "where": {}}, False),
        ({"count": 3, "where": {"kind": "anon", "region": "free"}}, False),
    ],
)
def test_streams_of_errors(stream: dict[str, Any], good: bool) -> None:
    assert (refused({**GOOD, "errors": [stream]}) == []) is good
