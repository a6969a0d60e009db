"""Verbs that make errors and let them be found: inject, mce, mce_inject, scrub, madvise(MADV_HWPOISON)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice

from simpy import Event

from hwsim.bad_lines import discovery
from hwsim.bad_lines.bad_line import BadLine
from hwsim.engine import Steps
from hwsim.hardware.mce_text import read_mce
from hwsim.kernel.mce.inject import Played
from hwsim.kernel.mce.printed import play_text
from hwsim.kernel.mm_types import INJECTOR
from hwsim.kernel.ports import Halted
from hwsim.record import Context, Found
from hwsim.script.pages import pfn_of
from hwsim.script.step import ScriptError, Step

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
    pfn = pfn_of(step)
    if step.args["how"] == "line":
        step.bad_lines.add(_BY_SCRIPT, pfn, step.args["line"], step.args["permanent"])
        return
    step.kernel.printk("inject", pfn)
    start_injector(step, iter([line_to_poison(step, pfn)]), TRAP_DEBUGFS)


def line_to_poison(step: Step, pfn: int) -> BadLine:
    """What stands for a page that a software injector is about to poison."""
    bad_lines = step.bad_lines
    line = bad_lines.live(pfn)
    if line is None:
        line = bad_lines.add(_BY_SCRIPT, pfn, step.args.get("line", 0), False, line_is_bad=False)
    else:
        bad_lines.error_count += 1
        line.record.repeats += line.record.found_ns is not None
    discovery.note_found(line, Found.INJECTED)
    return line


def start_injector(step: Step, lines: Iterator[BadLine | Event], trapno: int) -> None:
    """Call memory_failure() for one page after the other, in process context.

    A page is asked for when the one before it is done; the first is part of the step, unless it has to be
    waited for.
    """
    kernel = step.kernel
    ref = kernel.profile.madvise_ref if trapno == TRAP_MADVISE else 0
    first = list(islice(lines, 1))

    def run() -> Steps:
        try:
            for line in chain(first, lines):
                if isinstance(line, Event):
                    yield line
                    continue
                failure = line.new_failure()
                failure.context = Context.INJECTOR
                page = line.page if ref else None
                if page is not None:
                    page.get(INJECTOR)
                yield from kernel.profile.memory_failure(kernel, line.pfn, trapno, failure, ref)
                if page is not None:
                    page.put(INJECTOR)
                for watcher in kernel.handler_watchers:
                    watcher.done(failure)
        except Halted:
            return
        except ScriptError as error:
            step.refuse(error)

    kernel.engine.process(run())


def mce(step: Step) -> None:
    """A machine check for the page, now; its line is bad from now on if it was not."""
    _report(step, pfn_of(step))


def mce_inject(step: Step) -> None:
    """Machine checks in mce-inject's format, now: the machine's fate is that of do_machine_check().

    Pages it queues are reported as the verb mce does; whom a SIGBUS to the current task hits is not known,
    so it is an event of the log and nothing more.
    """
    kernel, played = step.kernel, _play(step)
    fate = played.fate
    for each in played.records:
        severity, reason = each.grade
        facts = {"cpu": each.record.cpu, "bank": each.record.bank}
        kernel.event("mce_record", severity=severity.name, reason=reason, **facts)
    if fate.panic:
        step.result("panic", reason=fate.reason)
        kernel.panic(fate.message or "", None, "")
        return
    for signal in fate.signals:
        kernel.event("signal_current", cpu=signal.cpu, signal=signal.signal)
    step.result("goes on", queued=list(fate.queued_pfns))
    for pfn in fate.queued_pfns:
        _report(step, pfn)


def _play(step: Step) -> Played:
    handling, spec = step.kernel.profile.machine_checks, step.kernel.spec
    text = read_mce(step.args["text"], step.spec.where, banks=handling.banks)
    return play_text(text, handling, tolerant=spec.tolerant, cpus=spec.cpus)[0]


def _report(step: Step, pfn: int) -> None:
    bad_lines, spec = step.bad_lines, step.kernel.spec
    line = bad_lines.live(pfn)
    is_fitted = pfn < spec.memory_pages + spec.hidden_pages
    if line is None:
        line = bad_lines.add(_BY_SCRIPT, pfn, 0, False, line_is_bad=is_fitted)
    else:
        bad_lines.error_count += 1
        line.line_is_bad = is_fitted
    discovery.check_now(line)


def scrub(step: Step) -> None:
    """The patrol scrubber reads every line of the page."""
    line = step.bad_line(pfn_of(step))
    if line is None:
        step.result("no bad line")
        return
    step.result("found")
    discovery.scrub_visit(line)


PLAYS: dict[str, Callable[[Step], None]] = {
    "inject": inject,
    "mce": mce,
    "mce_inject": mce_inject,
    "scrub": scrub,
}
