"""What a machine has before a kernel is booted on it, and keeps over all its boots."""

from __future__ import annotations

from typing import TypeVar

from hwsim.bad_lines.bad_lines import BadLines
from hwsim.bad_lines.discovery import scrub_visit
from hwsim.engine import Engine
from hwsim.hardware.patrol_scrubber import PatrolScrubber
from hwsim.rng import Draws, NoChance, Slot
from hwsim.spec import Spec

SCRUBBER = -1  # the name of its draw, which belongs to no error

Lines = TypeVar("Lines", bound=BadLines)


def power_on(lines: type[Lines], spec: Spec, index: int) -> Lines:
    """Bad lines, none yet, around which there are the clock, the chance and the scrubber of a machine."""
    engine = Engine()
    draws = (Draws if spec.machine.chance else NoChance)(spec.seed, index)
    frames = spec.machine.memory_pages + spec.machine.hidden_pages
    phase = draws.extra(SCRUBBER, Slot.PHASE)
    scrubber = PatrolScrubber(engine, spec.machine.scrub, frames, phase, scrub_visit)
    return lines(index, spec, engine, draws, scrubber)
