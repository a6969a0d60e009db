"""The bad line is met: by the scrubber, by a task, by the kernel, by a device; and how that is signalled.

What a platform makes of it (a machine check that is handled, one that is fatal, a line in a log, nothing)
is a fact of the scenario; a report that is lost leads back to the race.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.bad_lines.states import CHECKING, LATENT
from hwsim.engine import SCRUB_VISIT
from hwsim.kernel.ring import mce_notify_irq

if TYPE_CHECKING:
    from hwsim.bad_lines.bad_line import BadLine
    from hwsim.kernel.system import Kernel

_READS = ("task_load", "kernel_load", "device_read")
_READS_PLAYED = 16  # of one line that nobody panics for


def note_found(story: BadLine, how: str) -> None:
    """Somebody has met the bad line."""
    now = story.machine.engine.now_ns
    story.last_report_ns = now
    if story.found_ns is None:
        story.found, story.found_ns = how, now
        story.name_place()
    story.machine.kernel.event("found", error=story.error, pfn=story.pfn, how=how)


def scrub_visit(story: BadLine) -> None:
    """The scrubber reads the line; the platform says how that is signalled."""
    machine = story.machine
    first = story.found_ns is None
    note_found(story, "scrub")
    if not first:
        story.repeats += 1
    recovers = machine.kernel.switches.mca_recovery == "on"
    signals = machine.scrubber.signals if recovers else "fatal"
    if signals == "UCNA":
        _logged(story)
    elif signals == "fatal":
        _fatal(story)
        return
    else:
        raise_check(story)
        _sweep_goes_on(story)
    story.arm()


def _sweep_goes_on(story: BadLine) -> None:
    """The scrubber reads the rest of the page: further bad lines of it are reports of their own.

    Of later sweeps they are counted with the page's; in this one they can overflow the bank before the first
    find is read out, and take slots of the ring.
    """
    machine = story.machine
    now, kernel, scrubber = machine.engine.now_ns, machine.kernel, machine.scrubber
    for other in story.other_lines:
        visit = scrubber.next_visit_ns(story.pfn, other.line, now)
        if visit is not None and visit - now < scrubber.page_pass_ns():
            machine.engine.at(visit, SCRUB_VISIT, lambda _event: _further_line(story, kernel))


def _further_line(story: BadLine, kernel: Kernel) -> None:
    if story.finished or kernel.halted or not story.line_is_bad:
        return
    story.repeats += 1
    story.machine.kernel.reach("found:further line")
    if story.latent:  # the finds before it were lost
        raise_check(story)
    else:
        story.machine.machine_check(story, further=True)


def report_check(story: BadLine) -> None:
    """A machine check for the line now, whatever the platform does with a scrubber's find."""
    if story.found_ns is not None:
        story.repeats += 1
    note_found(story, "scrub")
    raise_check(story)
    story.arm()


def raise_check(story: BadLine) -> None:
    """An SRAO machine check for this line."""
    story.state = CHECKING
    if not story.machine.machine_check(story):
        lost(story)


def lost(story: BadLine) -> None:
    """The report was dropped, in the bank or in the ring; the next sweep finds the line again."""
    story.ring_lost += 1
    story.attempts += 1
    story.state = LATENT
    story.machine.kernel.event("lost", error=story.error, pfn=story.pfn)
    story.arm()


def _logged(story: BadLine) -> None:
    """Corrected-error interrupt for a UCNA: this kernel only logs it."""
    story.logged_only += 1
    story.logged = True
    mce_notify_irq(story.machine.kernel)
    story.machine.kernel.reach("found:logged_only")


def consumed(story: BadLine, how: str, task: str) -> None:
    """The bad line is read by a task or by the kernel: a machine check of panic severity."""
    machine = story.machine
    machine.kernel.reach(f"consumed:{how}")
    machine.kernel.event("consumed", error=story.error, pfn=story.pfn, by=task)
    note_found(story, how)
    _fatal(story)


def _fatal(story: BadLine) -> None:
    """A machine check of panic severity; nothing else happens to the line while the CPUs meet."""
    story.fatal_checks += 1
    story.disarm()
    story.machine.fatal_check(story)


def survived(story: BadLine) -> None:
    """Tolerant 3: the bad data was used, and the line can be read again.

    A busy line would be read for ever, so only the first _READS_PLAYED reads are played: what follows
    from them no longer changes, and events must not follow memory accesses.
    """
    story.attempts += 1
    if story.finished:
        return
    if story.fatal_checks < _READS_PLAYED:
        story.draw_race()
    else:
        story.times = [each for each in story.times if each[2] not in _READS]
        story.arm()


def device_read(story: BadLine) -> bool:
    """DMA reads the bad line, to write the page to a disk; False if that is a machine check."""
    machine = story.machine
    recovers = machine.kernel.switches.mca_recovery == "on"
    policy = machine.spec.machine.device_read if recovers else "fatal"
    story.settle()
    if policy == "fatal":
        note_found(story, "device_read")
        _fatal(story)
        return False
    if policy == "UCNA":
        note_found(story, "device_read")
        _logged(story)
    if story.disk_ns is None:
        story.disk_ns = machine.engine.now_ns  # no bus of the time tells the device that the data is bad
        story.disk_boot = machine.boot
        machine.kernel.reach("disk:bad bytes written")
        machine.kernel.event("disk", error=story.error, pfn=story.pfn)
    story.arm()
    return True
