"""What becomes of the only error of a machine, when that follows from what its page is.

Machines that are alike in a :class:`Case` go through the same and differ in their times alone, so one of
them is played and tells it for all.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from hwsim.record import Replication

REACHED: Final = "reached"


class Case(NamedTuple):
    """All that the course of an error depends on, but for times that change nothing."""

    fate: str  # what happens to the line first
    then: str  # after memory_failure() and before the horizon: the frame is renewed, REACHED in use, or ''
    family: int  # of regions
    flags: int
    row: int  # of error_states, which those flags match
    references: int
    from_user: bool  # the machine check has interrupted user space
    waits: bool  # for the page lock
    touched: bool  # a task touches the page between its find and its end
    reboots: bool  # before the horizon


class Course(NamedTuple):
    """The machine that was played, and of the times in the row of its error the places and what they are."""

    played: Replication
    instants: tuple[tuple[int, str], ...]
