"""Each key of a scenario stands once: what is made of it, and what a new one takes."""

from __future__ import annotations

import dataclasses
import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from hwsim.scenario.compile import to_spec
from hwsim.scenario.json_schema import schema
from hwsim.scenario.keys import Model, default_of, form_of, spelled, tables
from hwsim.scenario.schema import ScenarioModel
from tests.support.copied_tree import ROOT, add, changed, copy_tree, python
from tools.keys import reference

TABLES = tables(ScenarioModel)
KEYS = [(path, name, info) for path, model in TABLES.items() for name, info in spelled(model).items()]
NUMBERS = ("integer", "number")
PURE_NUMBERS = {  # numbers without a unit
    "seed": "any number is as good",
    "vm.memory_failure_early_kill": "no or yes",
    "vm.memory_failure_recovery": "no or yes",
    "sigma": "of a logarithm",
    "frailty": "of a logarithm",
    "show_sigma": "of a logarithm",
    "fit_factor": "a factor",
}
ONLY_IN_FILES = {  # what a table has and its spec has not: it is computed from these, or for people
    "": {"extends", "description", "dram"},
    "machine": {"sysctl", "config", "on_panic", "alloc"},
    "dram": {
        *("ranks", "banks", "rows", "columns", "chips", "width"),
        *("fit", "fault", "fit_factor", "transient", "permanent"),
        *("scrub", "years", "trials"),  # hwsim faults
    },
    "errors": {"kind", "rate"},
    "file": {"size", "cached"},
    "task.region": {"size"},
    "kernel": {"size"},
}
OTHER_DEFAULTS = {  # keys whose default is not the spec's, and why
    ("machine.times", "kind"): "needed where a delay is a table",
    ("file", "touch"): "bands are completed by a rest that is never touched",
    ("task.region", "touch"): "bands are completed by a rest that is never touched",
    ("task.region", "shared"): "by kind",
    ("kernel", "order"): "by kind",
    ("dram", "on_die"): "by the technology of the geometry",
}


def ids(value: Any) -> str | None:
    return value if isinstance(value, str) else ""


def test_the_reference_is_made_of_the_keys() -> None:
    assert reference() == (ROOT / "docs" / "keys.md").read_text("utf-8"), "make schema"


def test_every_key_of_the_json_schema_is_in_the_reference() -> None:
    shape = schema()
    del shape["$defs"]["Step"], shape["$defs"]["Page"]  # docs/verbs.md
    del shape["$defs"]["Sysctl"]["properties"]["vm"]  # another way to write its other keys
    del shape["else"]
    keys = _schema_keys(shape)
    assert len(keys) > 100
    assert keys == set(re.findall(r"^\| `([^`]+)` \|", reference(), re.MULTILINE)) - {"at", "do"}


def _schema_keys(shape: Any) -> set[str]:
    """Every property name anywhere in a JSON Schema."""
    if isinstance(shape, list):
        return set().union(*map(_schema_keys, shape))
    if not isinstance(shape, dict):
        return set()
    own = set(shape["properties"]) if isinstance(shape.get("properties"), dict) else set()
    return own.union(*map(_schema_keys, shape.values()))


def test_every_key_says_what_it_means() -> None:
    assert [name for _, name, info in KEYS if len(info.description or "") <= 5] == []


def test_every_number_has_a_unit() -> None:
    forms = [(name, form) for _, name, info in KEYS if (form := form_of(info)) is not None]
    numbers = [(name, form.words) for name, form in forms if form.shape.get("type") in NUMBERS]
    assert len(numbers) > 25
    unit = re.compile(r"[\d.,]+ to [\d.,]+ [a-zA-Z(].*")
    assert {name for name, words in numbers if not unit.fullmatch(words)} == PURE_NUMBERS.keys()


def test_what_is_computed_is_named_here() -> None:
    found: dict[str, set[str]] = {}
    for path, model in TABLES.items():
        if issubclass(model, Model) and model.fills:
            names = {each.name for each in dataclasses.fields(model.fills)}
            own = {info.alias or name for name, info in model.model_fields.items() if name not in names}
            if own:
                found[path] = own
    assert found == ONLY_IN_FILES


def test_defaults_are_those_of_the_spec() -> None:
    other = set()
    for path, model in TABLES.items():
        defaults = {
            each.name: each.default for each in dataclasses.fields(getattr(model, "fills", None) or NONE)
        }
        for name, info in model.model_fields.items():
            default = defaults.get(name, dataclasses.MISSING)
            if (
                default is not dataclasses.MISSING
                and info.default_factory is None
                and info.default != default
            ):
                other.add((re.sub(r"^machine\.times\..*", "machine.times", path), info.alias or name))
    assert other == set(OTHER_DEFAULTS)


@dataclasses.dataclass
class NONE:
    """A spec without fields."""


LEAST = {
    "name": "least",
    "horizon": "1 h",
    "machine": {"memory": "1 GiB", "times": {}},
    "dram": {"fault": [{"mode": "row"}]},
    "errors": [{"kind": "dram"}, {"count": 1, "where": {"kind": "anon"}}],
    "file": [{"name": "f", "size": "1 MiB", "touch": [{}]}],
    "task": [
        {
            "name": "t",
            "fsync": {"file": "f", "every": "1 s"},
            "sigbus": {},
            "region": [{"kind": "anon", "size": "1 MiB", "touch": {}, "swap": {"period": "1 h"}}],
        }
    ],
    "kernel": [{"kind": "slab", "size": "1 MiB"}],
}


def _written(path: str, info: FieldInfo) -> bool:
    """Whether a default can be written: one of a list or of a distribution that takes other keys cannot."""
    return default_of(info) not in (None, []) and not path.startswith("machine.times.")


@pytest.mark.parametrize(("path", "name", "info"), [key for key in KEYS if _written(key[0], key[2])], ids=ids)
def test_a_default_that_is_written_changes_nothing(path: str, name: str, info: FieldInfo) -> None:
    data = deepcopy(LEAST)
    for table in _at(data, path):
        table.setdefault(name, default_of(info))
    assert data != LEAST
    assert to_spec(ScenarioModel.model_validate(data)) == to_spec(ScenarioModel.model_validate(LEAST))


def _at(data: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """The tables at a path: all of an array, made where there is none."""
    found = [data]
    for part in path.split(".") if path else []:
        inner = [each.setdefault(part, {}) for each in found]
        found = [each for one in inner for each in (one if isinstance(one, list) else [one])]
    return found


PARTS = ("hwsim", "docs", "scenarios", "tools")
SPEC = ("hwsim/spec.py", "    device_read: str =", "    fan_ns: int = 2_000_000_000  # the fans have stopped")
TABLE = (
    "hwsim/scenario/schema_machine.py",
    "    corrected: Corrected =",
    '    fan_ns: Duration = key("the fans have stopped for so long", "fan")',
)
USED = """
import json
from pathlib import Path
from hwsim.scenario import ScenarioError, load, schema_json
from tools.keys import reference
Path("scenarios", "hwsim.schema.json").write_text(schema_json(), "utf-8")
Path("docs", "keys.md").write_text(reference(), "utf-8")
told = []
for wrong in ("machine.fan=3", "machine.fann=3 s", "fan=3 s"):
    try:
        load("scenarios/desktop.toml", [wrong])
    except ScenarioError as error:
        told.append(str(error))
specs = [load("scenarios/desktop.toml", each).spec for each in ([], ["machine.fan=7 s"])]
print(json.dumps([told, [spec.machine.fan_ns for spec in specs]]))
"""


def test_a_new_key_is_a_field_of_the_spec_and_one_of_a_table(tmp_path: Path) -> None:
    """... and what ``make schema`` renews."""
    copy_tree(tmp_path, *PARTS)
    for file, before, line in (SPEC, TABLE):
        add(tmp_path / file, f"{line}\n", before=before)
    (unit, nearby, whole), values = json.loads(python(tmp_path, "-c", USED))
    assert values == [2 * 10**9, 7 * 10**9]
    assert "machine.fan = 3: a duration needs a unit" in unit
    assert "did you mean: fan\n" in nearby
    assert "did you mean: machine.fan\n" in whole
    shape = json.loads((tmp_path / "scenarios/hwsim.schema.json").read_text("utf-8"))
    assert shape["$defs"]["Machine"]["properties"]["fan"]["default"] == "2 s"
    row = '| `fan` | a duration | `"2 s"` | the fans have stopped for so long |'
    assert row in (tmp_path / "docs/keys.md").read_text("utf-8")
    assert changed(tmp_path, *PARTS) == {SPEC[0], TABLE[0], "docs/keys.md", "scenarios/hwsim.schema.json"}
