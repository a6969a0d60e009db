"""Later sweeps of the scrubber over a line that has been dealt with.

The line is still bad and is found again each time, but nothing changes: so the finds are
counted, not played, and a kernel log that somebody wants gets the lines that each of them prints.
A repeated find is taken to need as long as the one that was played, and its result line has the
PG_dirty that memory_failure() left behind.
"""

from __future__ import annotations

from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.states import HANDLED
from hwsim.kernel.mm.me_handlers import ACTION_NAME, IGNORED
from hwsim.rng import Slot


def count_sweeps(line: BadLine, until_ns: int) -> None:
    """Add the finds since the last one, up to ``until_ns``, to ``line.record.repeats``."""
    around, failure = line.around, line.in_boot.failure
    kernel, scrubber, delivery = around.kernel, around.scrubber, around.delivery
    after = line.last_found_ns
    if line.sweeps_change_nothing:
        played = None
    elif line.state == HANDLED and failure is not None and scrubber.signals == "SRAO" and line.line_is_bad:
        played = failure
        after = max(after, failure.started_ns)
    else:
        return
    count = scrubber.visits_between(line.pfn, line.number_in_page, after, until_ns)
    line.record.repeats += count
    if scrubber.signals == "UCNA":
        line.record.logged_only += count
    line.last_found_ns = max(until_ns, line.last_found_ns)
    if not count or not kernel.log.enabled:
        return
    times, facts = kernel.times, kernel.log.facts
    checked_ns = started_ns = 0
    if scrubber.signals != "UCNA":
        first = failure or line.new_failure()
        checked_ns = delivery.interrupt.duration_ns(times.rendezvous, first.draw(Slot.RENDEZVOUS))
        notified = times.return_to_user if delivery.notified_user(first) else times.workqueue
        started_ns = checked_ns + notified.draw(first.draw(Slot.NOTIFY))
    dirty = "dirty " if line.in_boot.dirty else ""
    message = "already hardware poisoned" if line.page is not None or failure is None else failure.message
    result = (line.pfn, dirty, message, ACTION_NAME[IGNORED])
    for _ in range(count):
        after = scrubber.next_visit_ns(line.pfn, line.number_in_page, after) or until_ns
        if after + checked_ns < until_ns:
            facts.append((after + checked_ns, "logged", ()))
        if played is not None and after + started_ns < until_ns:
            facts.append((after + started_ns, "result", result))
