"""What one boot made of an error, as facts: its report, its pages and its tasks go with its kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hwsim.kernel.handlers import ACTION_NAME

if TYPE_CHECKING:
    from hwsim.bad_lines.bad_line import BadLine


class Treatment(NamedTuple):
    """What memory_failure() made of the page in one boot; the columns of ErrorRow of the same names."""

    poisoned_ns: int | None
    contained_ns: int | None
    row: int
    message: str
    outcome: str
    context: str
    mappers: int
    isolated_pages: int


def treatment(line: BadLine) -> Treatment:
    """What the boot that runs has made of the error so far."""
    report = line.report
    if report is None:
        return Treatment(None, line.contained_ns, 0, "", "", "", line.mappers, line.isolated_pages)
    return Treatment(
        report.poisoned_ns,
        line.contained_ns,
        report.row,
        report.message,
        ACTION_NAME[report.outcome],
        report.context,
        line.mappers,
        line.isolated_pages,
    )
