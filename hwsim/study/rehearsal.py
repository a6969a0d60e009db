"""Load a scenario with its script rehearsed: played once on a machine without chance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hwsim.record import StepMistake
from hwsim.scenario import Scenario
from hwsim.scenario import load as read
from hwsim.spec import Spec


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Scenario:
    """The scenario in a file; raises :class:`hwsim.ScenarioError` with every mistake found.

    A script is played to its last step without chance, whatever the scenario says, and so again whenever an
    override changes the scenario: a step that cannot be done is a mistake with file, line and key.
    """
    return read(Path(path), overrides, rehearse=rehearse)


def rehearse(spec: Spec) -> list[StepMistake]:
    """What is impossible in the script of ``spec``."""
    # Only a scenario that has a script waits for the model to be imported.
    from hwsim.machine import rehearse as play

    return play(spec)
