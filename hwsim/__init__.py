"""hwsim: what the kernel's memory failure handling does to a machine, simulated.

>>> import hwsim
>>> study = hwsim.compare("scenarios/database-server.toml", repeat=200)  # doctest: +SKIP
>>> study.row("kills").differences[1]  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hwsim.version import __version__

__all__ = [
    "Results",
    "Scenario",
    "ScenarioError",
    "__version__",
    "census",
    "compare",
    "explain",
    "load",
    "open_results",
    "plot",
    "replay",
    "run",
]

if TYPE_CHECKING:
    from hwsim.explaining.explain import explain
    from hwsim.scenario.load import Scenario
    from hwsim.scenario.problems import ScenarioError
    from hwsim.show.plots import write_all as plot
    from hwsim.study.census import census
    from hwsim.study.conduct import run
    from hwsim.study.pair import compare
    from hwsim.study.rehearsal import load
    from hwsim.study.replay import replay
    from hwsim.study.results import Results, open_results

# Where each public name lives.  No module directly below the package may bear one of these names: once
# imported, it would hide the function.  They are imported when first used: the command line must start fast,
# and the model must not drag in pandas.
_HOMES = {
    "Results": ("hwsim.study.results", "Results"),
    "Scenario": ("hwsim.scenario", "Scenario"),
    "ScenarioError": ("hwsim.scenario", "ScenarioError"),
    "census": ("hwsim.study.census", "census"),
    "compare": ("hwsim.study.pair", "compare"),
    "explain": ("hwsim.explaining.explain", "explain"),
    "load": ("hwsim.study.rehearsal", "load"),
    "open_results": ("hwsim.study.results", "open_results"),
    "plot": ("hwsim.show.plots", "write_all"),
    "replay": ("hwsim.study.replay", "replay"),
    "run": ("hwsim.study.conduct", "run"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hwsim' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
