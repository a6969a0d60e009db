"""The bad line is met: by the scrubber, by a task, by the kernel, by a device; and how that is signalled.

What a platform makes of it (a machine check that is handled, one that is fatal, a line in a log, nothing)
is a fact of the scenario; a find that is lost leads back to the race.
"""

from __future__ import annotations

from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.looks import settle
from hwsim.bad_lines.states import CHECKING, LATENT
from hwsim.engine import SCRUB_VISIT
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mce.ring import mce_notify_irq
from hwsim.record import Found

_READS = (Found.TASK_LOAD, Found.KERNEL_LOAD, Found.DEVICE_READ)
_READS_PLAYED = 16  # of one line that nobody panics for


def note_found(line: BadLine, how: str) -> None:
    """Somebody has met the bad line."""
    record, now = line.record, line.around.engine.now_ns
    line.last_found_ns = now
    if record.found_ns is None:
        record.found, record.found_ns = how, now
        record.name_owner(line.around.boot, line.page)
    line.around.kernel.event("found", error=line.error, pfn=line.pfn, how=how)


def scrub_visit(line: BadLine) -> None:
    """The scrubber reads the line; the platform says how that is signalled."""
    around = line.around
    first = line.record.found_ns is None
    note_found(line, Found.SCRUB)
    if not first:
        line.record.repeats += 1
    signals = around.kernel.scrub_signals
    if signals == "UCNA":
        _logged(line)
    elif signals == "fatal":
        _fatal(line)
        return
    else:
        raise_check(line)
        _sweep_goes_on(line)
    line.arm()


def _sweep_goes_on(line: BadLine) -> None:
    """The scrubber reads the rest of the page: further bad lines of it are finds of their own.

    Of later sweeps they are counted with the page's; in this one they can overflow the bank before the first
    find is read out, and take slots of the ring.
    """
    around = line.around
    now, kernel, scrubber = around.engine.now_ns, around.kernel, around.scrubber
    for other in line.other_lines:
        visit = scrubber.next_visit_ns(line.pfn, other.number_in_page, now)
        if visit is not None and visit - now < scrubber.page_pass_ns():
            around.engine.at(visit, SCRUB_VISIT, lambda _event: _further_line(line, kernel))


def _further_line(line: BadLine, kernel: Kernel) -> None:
    if line.finished or kernel.halted or not line.line_is_bad:
        return
    line.record.repeats += 1
    line.around.kernel.reach("found:further line")
    if line.state == LATENT:  # the finds before it were lost
        raise_check(line)
    else:
        line.around.delivery.raise_srao(line.new_failure(further=True), further=True)


def check_now(line: BadLine) -> None:
    """A machine check for the line now, whatever the platform does with a scrubber's find."""
    if line.record.found_ns is not None:
        line.record.repeats += 1
    note_found(line, Found.SCRUB)
    raise_check(line)
    line.arm()


def raise_check(line: BadLine) -> None:
    """An SRAO machine check for this line."""
    line.state = CHECKING
    if not line.around.delivery.raise_srao(line.new_failure()):
        lost(line)


def lost(line: BadLine) -> None:
    """The find was dropped, in the bank or in the ring; the next sweep finds the line again."""
    line.record.ring_lost += 1
    line.attempts += 1
    line.state = LATENT
    line.around.kernel.event("lost", error=line.error, pfn=line.pfn)
    line.arm()


def _logged(line: BadLine) -> None:
    """Corrected-error interrupt for a UCNA: this kernel only logs it."""
    line.record.logged_only += 1
    line.in_boot.logged = True
    mce_notify_irq(line.around.kernel)
    line.around.kernel.reach("found:logged_only")


def consumed(line: BadLine, how: str, task: str) -> None:
    """The bad line is read by a task or by the kernel: a machine check of panic severity."""
    around = line.around
    around.kernel.reach(f"consumed:{how}")
    around.kernel.event("consumed", error=line.error, pfn=line.pfn, by=task)
    note_found(line, how)
    _fatal(line)


def _fatal(line: BadLine) -> None:
    """A machine check of panic severity; nothing else happens to the line while the CPUs meet."""
    line.fatal_checks += 1
    line.disarm()
    line.around.delivery.raise_fatal(line.new_failure())


def survived(line: BadLine) -> None:
    """Tolerant 3: the bad data was used, and the line can be read again.

    A busy line would be read for ever, so only the first _READS_PLAYED reads are played: what follows
    from them no longer changes, and events must not follow memory accesses.
    """
    line.attempts += 1
    if line.finished:
        return
    if line.fatal_checks < _READS_PLAYED:
        line.draw_race()
    else:
        line.times = [each for each in line.times if each.what not in _READS]
        line.arm()


def device_read(line: BadLine) -> bool:
    """DMA reads the bad line, to write the page to a disk; False if that is a machine check."""
    around, record = line.around, line.record
    policy = around.kernel.profile.signalled(around.spec.device_read)
    settle(line)
    if policy == "fatal":
        note_found(line, Found.DEVICE_READ)
        _fatal(line)
        return False
    if policy == "UCNA":
        note_found(line, Found.DEVICE_READ)
        _logged(line)
    if record.disk_ns is None:
        record.disk_ns = around.engine.now_ns  # no bus of the time tells the device that the data is bad
        record.disk_boot = around.boot
        around.kernel.reach("disk:bad bytes written")
        around.kernel.event("disk", error=line.error, pfn=line.pfn)
    line.arm()
    return True
