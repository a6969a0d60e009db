"""Verbs that make errors and let them be found: inject, mce, mce_inject, scrub, madvise(MADV_HWPOISON)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from simpy import Event

from hwsim.bad_lines import discovery
from hwsim.hardware.mce_text import read_mce
from hwsim.kernel.do_machine_check import HANDLING
from hwsim.kernel.mce_printed import play_text
from hwsim.kernel.mce_raise import Played
from hwsim.kernel.memory_failure import memory_failure
from hwsim.kernel.mm_types import INJECTOR
from hwsim.kernel.ports import Halted
from hwsim.script.step import ScriptError, Step

if TYPE_CHECKING:
    from hwsim.bad_lines.bad_line import BadLine
    from hwsim.machine import Machine

_BY_SCRIPT = -1  # stands for the number of an [[errors]] table
TRAP_DEBUGFS, TRAP_MADVISE = 18, 0


def numbers_used(step: Step) -> int:
    """How many error numbers the step takes, whether it is done or skipped."""
    if step.spec.verb == "madvise":
        return int(step.args["pages"]) if step.args["advice"] == "hwpoison" else 0
    if step.spec.verb == "mce_inject":
        fate = _play(step).fate
        return 0 if fate.panic else len(fate.queued_pfns)
    return 1 if step.spec.verb in ("inject", "mce") else 0


def inject(step: Step) -> None:
    """A bad line that waits, or what the debugfs injector does: poison without a bad line."""
    machine, pfn = step.machine, step.pfn()
    if step.args.get("how", "poison") == "line":
        machine.add_error(_BY_SCRIPT, pfn, step.args.get("line", 0), step.args.get("permanent", False))
        return
    step.kernel.printk("inject", pfn)
    start_injector(step, iter([software_story(step, pfn)]), TRAP_DEBUGFS)


def software_story(step: Step, pfn: int) -> BadLine:
    """The story of a page that a software injector is about to poison."""
    machine = step.machine
    story = machine.live_story(pfn)
    if story is None:
        story = machine.add_error(_BY_SCRIPT, pfn, step.args.get("line", 0), False, line_is_bad=False)
    else:
        machine.error_count += 1
        story.repeats += story.found_ns is not None
    discovery.note_found(story, "injected")
    return story


def start_injector(step: Step, stories: Iterator[BadLine | Event], trapno: int) -> None:
    """Call memory_failure() for one page after the other, in process context.

    A page is asked for when the one before it is done; the first is part of the step, unless it has to be
    waited for.
    """
    kernel = step.kernel
    ref = int(trapno == TRAP_MADVISE and kernel.profile.madvise_holds_page)
    first = list(islice(stories, 1))

    def run() -> Generator[Any, Any, None]:
        try:
            for story in chain(first, stories):
                if isinstance(story, Event):
                    yield story
                    continue
                report = story.new_failure()
                report.context = "injector"
                page = story.page if ref else None
                if page is not None:
                    page.get(INJECTOR)
                yield from memory_failure(kernel, story.pfn, trapno, report, ref)
                if page is not None:
                    page.put(INJECTOR)
                for watcher in kernel.handler_watchers:
                    watcher.done(report)
        except Halted:
            return
        except ScriptError as error:
            step.machine.script.refuse(error)

    kernel.engine.process(run())


def mce(step: Step) -> None:
    """A machine check for the page, now; its line is bad from now on if it was not."""
    _report(step.machine, step.pfn())


def mce_inject(step: Step) -> None:
    """Machine checks in mce-inject's format, now: the machine's fate is that of do_machine_check().

    Pages it queues are reported as the verb mce does; whom a SIGBUS to the current task hits is not known,
    so it is an event of the log and nothing more.
    """
    machine, played = step.machine, _play(step)
    fate = played.fate
    for each in played.records:
        severity, reason = each.grade
        facts = {"cpu": each.record.cpu, "bank": each.record.bank}
        machine.kernel.event("mce_record", severity=severity.name, reason=reason, **facts)
    if fate.panic:
        step.result("panic", reason=fate.reason)
        machine.panic(fate.message or "")
        return
    for signal in fate.signals:
        machine.kernel.event("signal_current", cpu=signal.cpu, signal=signal.signal)
    step.result("goes on", queued=list(fate.queued_pfns))
    for pfn in fate.queued_pfns:
        _report(machine, pfn)


def _play(step: Step) -> Played:
    machine = step.machine
    kernel = machine.kernel.profile.machine_checks
    text = read_mce(step.args["text"], step.spec.where, banks=HANDLING[kernel].banks)
    spec = machine.spec.machine
    return play_text(text, kernel, tolerant=spec.tolerant, cpus=spec.cpus)[0]


def _report(machine: Machine, pfn: int) -> None:
    story = machine.live_story(pfn)
    is_fitted = pfn < machine.spec.machine.memory_pages + machine.spec.machine.hidden_pages
    if story is None:
        story = machine.add_error(_BY_SCRIPT, pfn, 0, False, line_is_bad=is_fitted)
    else:
        machine.error_count += 1
        story.line_is_bad = is_fitted
    discovery.report_check(story)


def scrub(step: Step) -> None:
    """The patrol scrubber reads every line of the page."""
    story = step.machine.live_story(step.pfn())
    if story is None or not story.line_is_bad:
        step.result("no bad line")
        return
    step.result("found")
    discovery.scrub_visit(story)


VERBS: dict[str, Callable[[Step], None]] = {
    "inject": inject,
    "mce": mce,
    "mce_inject": mce_inject,
    "scrub": scrub,
}
