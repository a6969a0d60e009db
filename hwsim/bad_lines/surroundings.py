"""What a bad line can reach of the machine that it is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hwsim.engine import Engine
from hwsim.hardware.patrol_scrubber import PatrolScrubber, Scrubbed
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mce.delivery import Delivery
from hwsim.rng import Draws
from hwsim.spec import MachineSpec

Line = TypeVar("Line", bound=Scrubbed)


@dataclass(slots=True, eq=False)
class Surroundings(Generic[Line]):
    """The clock, the chance and the hardware of one machine, and the kernel that runs on it.

    Life: made at power-on -> each boot puts its ``kernel`` and its ``delivery`` here, and counts on.
    ``draw_race(line)`` fills in who would meet the line when.  ``open`` are the lines that may go on, by
    error, ``by_pfn`` those that stand for a frame.
    """

    replication: int
    spec: MachineSpec
    horizon_ns: int
    engine: Engine
    draws: Draws
    scrubber: PatrolScrubber[Line]
    draw_race: Callable[[Line], None]
    kernel: Kernel = field(init=False)
    delivery: Delivery = field(init=False)
    boot: int = -1  # number of the boot, from 0
    allocations_per_ns: float = 0.0  # of one free page
    open: dict[int, Line] = field(default_factory=dict)
    by_pfn: dict[int, Line] = field(default_factory=dict)
