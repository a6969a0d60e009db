"""``census``: the memory of a scenario's machine as a table, and what memory_failure() would do to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from hwsim import units
from hwsim.explaining.question import unknown
from hwsim.explaining.side_by_side import profiles
from hwsim.explaining.verdicts import Verdict, described, messages, verdicts
from hwsim.machine.census import machine_census
from hwsim.study.conduct import prepared
from hwsim.study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.machine.snapshot import Snapshot
    from hwsim.scenario import Scenario


class ClassRow(NamedTuple):
    """Pages (of 4 KiB) of one memory in one state.

    ``memory`` as in "postgres/heap" or "file:tables"; ``state``: page flags by name (page-flags.h, without
    PG_), and words for what else memory_failure() asks, such as "mapped".  ``pages`` is the mean number over
    all machines by the law; between ``low`` and ``high`` are 95 % of them; ``drawn`` is the number in the
    machine that was drawn.  ``verdicts``: by kernel, all that can become of such a page.
    """

    memory: str
    kind: str
    state: tuple[str, ...]
    pages: float
    low: float
    high: float
    drawn: int
    verdicts: dict[str, tuple[Verdict, ...]]


@dataclass(frozen=True)
class Census:
    """A machine ``time_ns`` after its boot, when nothing has happened to it.

    ``by_row``: of each kernel, the pages of the machine that was drawn (``replication`` of ``seed``) by the
    row of error_states that they match.  ``messages`` has the words of the rows.
    """

    name: str
    memory_pages: int
    time_ns: int
    seed: int
    replication: int
    classes: tuple[ClassRow, ...]
    by_row: dict[str, dict[int, int]]
    messages: dict[str, dict[int, str]]
    snapshot: Snapshot

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each :class:`ClassRow`, kernel and verdict, with their fields as columns.

        ``chance`` is that of the verdict, so ``pages * chance`` adds up to the memory under each kernel.
        ``bytes`` are of ``pages``.  Counts are float64, ``drawn`` and ``row`` int64, all else text.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "memory": each.memory,
                "kind": each.kind,
                "state": " ".join(each.state),
                "pages": each.pages,
                "low": each.low,
                "high": each.high,
                "drawn": each.drawn,
                "bytes": each.pages * units.PAGE_BYTES,
                "kernel": kernel,
                **verdict._asdict(),
            }
            for each in self.classes
            for kernel, found in each.verdicts.items()
            for verdict in found
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "scenario": self.name,
            "memory_pages": self.memory_pages,
            "time_ns": self.time_ns,
            "seed": self.seed,
            "replication": self.replication,
            "level": 0.95,  # of low and high
            "method": "law: binomial, over the clocks of the files",
            "classes": [
                {
                    **each._asdict(),
                    "bytes": each.pages * units.PAGE_BYTES,
                    "verdicts": {name: [v._asdict() for v in found] for name, found in each.verdicts.items()},
                }
                for each in self.classes
            ],
            "rows": {
                kernel: [
                    {"row": row, "message": self.messages[kernel][row], "drawn": pages}
                    for row, pages in rows.items()
                ]
                for kernel, rows in self.by_row.items()
            },
        }


def census(
    scenario: Scenario | str | os.PathLike[str],
    *,
    at: str | None = None,
    kernels: Sequence[str] = (),
    replication: int = 0,
    seed: int | None = None,
    overrides: Sequence[str] = (),
) -> Census:
    """The pages of a scenario's machine by class, state and row, and what each kernel would do to them.

    ``at``: how long after the boot, as "30 d"; default: the middle of the run.  ``kernels``: names of
    profiles; default: all.  ``replication``: the machine that is drawn.  No error falls and no script is
    played before.  Raises :class:`StudyError` with every mistake of these, and ``ScenarioError``
    with those of the file.
    """
    found = prepared(scenario, seed=seed, overrides=overrides)
    spec = found.spec
    known = [each["name"] for each in profiles()]
    names = tuple(dict.fromkeys(kernels)) or tuple(known)
    problems = [unknown("kernel", name, known) for name in names if name not in known]
    time_ns = _moment(at, spec.horizon_ns, problems)
    if replication < 0:
        problems.append(f"replication: {replication} is not possible; they are counted from 0")
    if problems:
        raise StudyError("\n".join(problems))
    counted = machine_census(spec, replication, time_ns, names)
    classes = [
        ClassRow(
            each.name,
            each.kind,
            described(each.page.state),
            each.pages,
            each.low,
            each.high,
            each.drawn,
            {name: verdicts(spec.machine, name, each.page) for name in names},
        )
        for each in counted.counts
    ]
    return Census(
        spec.name,
        counted.snapshot.pages,
        time_ns,
        spec.seed,
        replication,
        tuple(classes),
        counted.by_row,
        {name: messages(name) for name in names},
        counted.snapshot,
    )


def _moment(at: str | None, horizon_ns: int, problems: list[str]) -> int:
    if at is None:
        return horizon_ns // 2
    try:
        time_ns = units.parse_duration(at)
    except units.UnitError as error:
        problems.append(f"at: {at}: {error.message}; allowed: {error.allowed}")
        return 0
    if time_ns > horizon_ns:
        problems.append(
            f"at: {at}: allowed: up to {units.format_duration(horizon_ns)}, the horizon of the run"
        )
    return time_ns
