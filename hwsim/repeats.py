"""Later sweeps of the scrubber over a line that has been dealt with.

The line is still bad and is reported again each time, but nothing changes: so the reports are
counted, not played, and a kernel log that somebody wants gets the line that each of them prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.kernel import page_flags as pg
from hwsim.kernel.handlers import ACTION_NAME, IGNORED

if TYPE_CHECKING:
    from hwsim.page_story import PageStory


def count_repeats(story: PageStory, until_ns: int) -> None:
    """Add the reports since the last one, up to ``until_ns``, to ``story.repeats``."""
    machine, report = story.machine, story.report
    scrubber = machine.scrubber
    if scrubber.signals == "UCNA" and story.logged_only:
        story.repeats += scrubber.visits_between(story.pfn, story.line, story.last_report_ns, until_ns)
        story.last_report_ns = max(until_ns, story.last_report_ns)
        return
    if not story.handled or report is None or scrubber.signals != "SRAO" or not story.line_is_bad:
        return
    after = max(story.last_report_ns, report.started_ns)
    count = scrubber.visits_between(story.pfn, story.line, after, until_ns)
    story.repeats += count
    story.last_report_ns = max(until_ns, story.last_report_ns)
    if not count or not machine.printk.enabled:
        return
    page = story.page
    dirty = "dirty " if page is not None and page.flags & pg.DIRTY else ""
    message = report.message if page is None else "already hardware poisoned"
    facts = (story.pfn, dirty, message, ACTION_NAME[IGNORED])
    for _ in range(count):
        after = scrubber.next_visit_ns(story.pfn, story.line, after) or until_ns
        machine.printk.facts.append((after, machine.kernel.result_format, facts))
