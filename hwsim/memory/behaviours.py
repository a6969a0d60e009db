"""The behaviour of every kind of page by name, from the files that the registry names."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from hwsim.memory.kinds import KINDS, PageKind
from hwsim.memory.kinds.behaviour import Behaviour


def _of(name: str, kind: PageKind) -> Behaviour:
    found: dict[str, Behaviour] = import_module(f"hwsim.memory.kinds.{kind.module}").BEHAVIOURS
    return found[name]


BEHAVIOURS: Final = {name: _of(name, kind) for name, kind in KINDS.items()}
