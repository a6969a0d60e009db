"""Exact steps instead of, or beside, chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwsim.machine import Machine
    from hwsim.spec import ScriptStep


class Script:
    def __init__(self, machine: Machine, steps: tuple[ScriptStep, ...]) -> None:
        self.machine = machine
