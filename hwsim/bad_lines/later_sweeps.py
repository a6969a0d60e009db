"""Later sweeps of the scrubber over a line that has been dealt with.

The line is still bad and is reported again each time, but nothing changes: so the reports are
counted, not played, and a kernel log that somebody wants gets the lines that each of them prints.
A repeated report is taken to need as long as the report that was played, and its result line has the
PG_dirty that memory_failure() left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.kernel.handlers import ACTION_NAME, IGNORED
from hwsim.rng import Slot

if TYPE_CHECKING:
    from hwsim.bad_lines.bad_line import BadLine


def count_repeats(story: BadLine, until_ns: int) -> None:
    """Add the reports since the last one, up to ``until_ns``, to ``story.repeats``."""
    machine, report = story.machine, story.report
    signals = machine.scrubber.signals
    after = story.last_report_ns
    if story.sweeps_change_nothing:
        played = None
    elif story.handled and report is not None and signals == "SRAO" and story.line_is_bad:
        played = report
        after = max(after, report.started_ns)
    else:
        return
    count = machine.scrubber.visits_between(story.pfn, story.line, after, until_ns)
    story.repeats += count
    if signals == "UCNA":
        story.logged_only += count
    story.last_report_ns = max(until_ns, story.last_report_ns)
    if not count or not machine.printk.enabled:
        return
    times, facts = machine.kernel.times, machine.printk.facts
    checked_ns = started_ns = 0
    if signals != "UCNA":
        first = report or story.new_report()
        checked_ns = machine.check.duration_ns(times.rendezvous, first.draw(Slot.RENDEZVOUS))
        notified = times.return_to_user if machine.notified_user(first) else times.workqueue
        started_ns = checked_ns + notified.draw(first.draw(Slot.NOTIFY))
    dirty = "dirty " if story.dirty else ""
    message = "already hardware poisoned" if story.page is not None or report is None else report.message
    result = (story.pfn, dirty, message, ACTION_NAME[IGNORED])
    for _ in range(count):
        after = machine.scrubber.next_visit_ns(story.pfn, story.line, after) or until_ns
        if after + checked_ns < until_ns:
            facts.append((after + checked_ns, "logged", ()))
        if played is not None and after + started_ns < until_ns:
            facts.append((after + started_ns, "result", result))
