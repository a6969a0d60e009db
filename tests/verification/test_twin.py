"""The slow twin again, with ten times the replications and other seeds; see ``tests/twin/test_twin.py``."""

from __future__ import annotations

import pytest

from tests.twin.twin_worlds import WORLDS, disagreements, watch_model, watch_twin


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("early_kill", [0, 1])
def test_the_twin_agrees(world: str, early_kill: int) -> None:
    spec = WORLDS[world](early_kill, 32441)
    assert disagreements(watch_twin(spec, 9_000), watch_model(spec, 30_000)) == {}
