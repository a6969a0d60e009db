"""The figures of a study: in a notebook by name, on disk as SVG and PNG.

Every figure is a :class:`matplotlib.figure.Figure`; nothing here uses pyplot or picks a backend.
"""

from __future__ import annotations

from pathlib import Path

from hwsim.show import reading, style
from hwsim.show.bars import kills_and_recoveries
from hwsim.show.categories import detection_paths, who_was_told
from hwsim.show.shares import outcome_by_page_type
from hwsim.show.survival import time_to_kill
from hwsim.show.timeline import most_instructive, time_line

__all__ = [
    "FIGURES",
    "detection_paths",
    "kills_and_recoveries",
    "outcome_by_page_type",
    "time_line",
    "time_to_kill",
    "who_was_told",
    "write_all",
]

FIGURES = (  # of a whole study, in reading order; each is written under its own name
    kills_and_recoveries,
    outcome_by_page_type,
    time_to_kill,
    detection_paths,
    who_was_told,
)
_MOST_TIME_LINES = 4


def write_all(results: reading.Results, out_dir: str | Path) -> list[Path]:
    """Write every figure into ``out_dir`` (made if missing) and return the files, in reading order.

    The time line shows one replication, the one with the most signals, under each policy (the first
    four), so that the same errors can be compared.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for draw in FIGURES:
        if draw is not who_was_told or not results.lost_writes.empty:
            written += style.save(draw(results), folder / draw.__name__.replace("_", "-"))
    chosen = most_instructive(results)
    if chosen is None:
        return written
    replication = chosen[1]
    for policy in reading.policies(results)[:_MOST_TIME_LINES]:
        frame = reading.of_policy(results.replications, policy.number)
        if not (frame["replication"] == replication).any():
            continue
        figure = time_line(results, policy.number, replication)
        written += style.save(figure, folder / f"time-line-policy-{policy.number}")
    return written
