"""Each shipped scenario, and its accelerated form, still comes to the same whole numbers."""

from __future__ import annotations

import json

import pytest

from tests.whole.golden import ACCELERATED, ERRORS, FOLDER, KEPT, summary


@pytest.mark.parametrize("name", KEPT)
def test_the_summary_is_the_same(name: str) -> None:
    kept = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    found = summary(name)
    changed = [
        f"{policy} {part} {key}: {kept[policy][part].get(key)} -> {now}"
        for policy, parts in found.items()
        for part, values in parts.items()
        for key, now in values.items()
        if kept[policy][part].get(key) != now
    ]
    assert changed == [], "results changed: make golden renews; say so in CHANGELOG"
    assert found == kept


def test_there_is_one_for_each() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(KEPT)


@pytest.mark.parametrize("name", [name for name in KEPT if name not in {*ACCELERATED, "aftermath", "drill"}])
def test_it_speaks_for_enough_errors(name: str) -> None:
    kept = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    assert all(policy["sums"]["errors"] >= ERRORS for policy in kept.values())
