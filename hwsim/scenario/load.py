"""Load a scenario: read, extend, override, check everything, compile."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwsim.scenario import overrides as override
from hwsim.scenario.compile import to_spec
from hwsim.scenario.problems import Problem, ScenarioError
from hwsim.scenario.schema_dram import Dram
from hwsim.scenario.sources import Document, read
from hwsim.scenario.validate import Rehearse, validate
from hwsim.spec import Spec

UNEVENTFUL = "nothing can happen in it: there is no error with a rate or a count, and no script"


@dataclass(frozen=True)
class Scenario:
    """A checked scenario: each file was read once, and ``spec``, which runs, is compiled from that."""

    path: Path
    spec: Spec
    overrides: tuple[str, ...] = ()
    dram: Dram | None = None
    _document: Document = field(default_factory=lambda: Document({}, []), repr=False, compare=False)
    _rehearse: Rehearse | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.spec.name

    @property
    def data(self) -> dict[str, Any]:
        """The file after extends and overrides; a copy, since what was checked does not change."""
        return deepcopy(self._document.data)

    @property
    def only_dimms(self) -> bool:
        """Whether it is made for the hardware stage alone: DIMMs, and nothing that happens to a machine."""
        return self.dram is not None and not self.spec.errors and not self.spec.script

    @property
    def uneventful(self) -> bool:
        """Whether nothing can happen in it on any machine."""
        end_ns = self.spec.horizon_ns
        return not self.spec.script and not any(
            (error.count is not None or error.rate_per_s > 0)
            and error.start_ns < (end_ns if error.end_ns is None else min(error.end_ns, end_ns))
            for error in self.spec.errors
        )

    @property
    def model_version(self) -> int:
        """The version of the model with this scenario's kernel."""
        return model_version(self.spec)

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides the results: the compiled input and the model's version for its kernel.

        The number of replications is left out, so that a study can be continued with more.
        """
        facts = dataclasses.asdict(self.spec)
        del facts["repeat"]
        text = json.dumps([self.model_version, facts], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def with_overrides(self, overrides: Sequence[str]) -> Scenario:
        """The same scenario with more ``key=value`` overrides."""
        if isinstance(overrides, str):
            overrides = [overrides]
        return _finish(self.path, self._document, overrides, self.overrides, self._rehearse)


def model_version(spec: Spec) -> int:
    """The version of the model with the kernel that ``spec`` runs: another kernel's does not matter."""
    from hwsim.kernel.versions.boot import profile_of  # with the model; a scenario is checked without it

    return profile_of(spec.machine.kernel).model_version


def load(path: str | Path, overrides: Sequence[str] = (), *, rehearse: Rehearse | None = None) -> Scenario:
    """The scenario in a file; raises :class:`ScenarioError` with every problem found.

    ``rehearse`` plays the script, here and after each change of the scenario; without it only what is
    written in the file is checked.
    """
    if isinstance(overrides, str):
        overrides = [overrides]
    return _finish(Path(path), read(path), overrides, (), rehearse)


def _finish(
    path: Path,
    document: Document,
    overrides: Sequence[str],
    before: tuple[str, ...],
    rehearse: Rehearse | None,
) -> Scenario:
    wrong: list[Problem] = []
    if overrides:
        document, wrong = override.attempt(document, overrides)
    model, problems = validate(document, rehearse)
    if model is None or wrong:
        raise ScenarioError([*problems, *wrong])
    return Scenario(path, to_spec(model), (*before, *overrides), model.dram, document, rehearse)
