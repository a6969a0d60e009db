"""Load a scenario: read, extend, override, check everything, compile."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwsim.scenario import overrides as override
from hwsim.scenario.compile import to_spec
from hwsim.scenario.problems import Problem, ScenarioError
from hwsim.scenario.schema_dram import Dram
from hwsim.scenario.sources import Document, read
from hwsim.scenario.validate import validate
from hwsim.spec import Spec

MODEL_VERSION = 5  # goes up when the same input may give other results


@dataclass(frozen=True)
class Scenario:
    """A checked scenario.  ``data`` is the file after extends and overrides; ``spec`` is what runs."""

    path: Path
    data: dict[str, Any]
    spec: Spec
    overrides: tuple[str, ...] = ()
    dram: Dram | None = None
    _document: Document = field(default_factory=lambda: Document({}, []), repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.spec.name

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides the results: the compiled input and the model's version.

        The number of replications is left out, so that a study can be continued with more.
        """
        facts = dataclasses.asdict(self.spec)
        del facts["repeat"]
        text = json.dumps([MODEL_VERSION, facts], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def with_overrides(self, overrides: Sequence[str]) -> Scenario:
        """The same scenario with more ``key=value`` overrides."""
        if isinstance(overrides, str):
            overrides = [overrides]
        return _finish(self.path, self._document, overrides, self.overrides)


def load(path: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """The scenario in a file; raises :class:`ScenarioError` with every problem found."""
    if isinstance(overrides, str):
        overrides = [overrides]
    return _finish(Path(path), read(path), overrides)


def _finish(
    path: Path, document: Document, overrides: Sequence[str], before: tuple[str, ...] = ()
) -> Scenario:
    wrong: list[Problem] = []
    if overrides:
        document, wrong = override.attempt(document, overrides)
    model, problems = validate(document)
    if model is None or wrong:
        raise ScenarioError([*problems, *wrong])
    return Scenario(path, document.data, to_spec(model), (*before, *overrides), model.dram, document)
