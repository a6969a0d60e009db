"""How a bad line comes to an end: healed, replaced, with its kernel, or with the run."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.in_boot import InBoot
from hwsim.bad_lines.later_sweeps import count_sweeps
from hwsim.bad_lines.line_record import owner_of
from hwsim.bad_lines.line_writeback import look_after_no_more
from hwsim.bad_lines.looks import begin
from hwsim.bad_lines.rows import signal_row
from hwsim.bad_lines.states import LATENT, OVER
from hwsim.kernel import page_flags as pg
from hwsim.record import End, Result


def overwritten(line: BadLine) -> None:
    """The bad line is overwritten as a whole.  PG_hwpoison, if set, stays: two truths."""
    line.around.kernel.event("healed", error=line.error, pfn=line.pfn)
    if line.page is None or not line.page.flags & pg.HWPOISON:
        finish(line, End.HEALED)
        return
    line.line_is_bad = False
    line.times = [each for each in line.times if each.what in ("freed", "exit")]
    line.arm()


def good_again(line: BadLine, among: list[BadLine]) -> None:
    """The window of their fault is over: lines of the page read right again.  What was found stays."""
    if line.finished or line.record.found_ns is not None:
        return
    line.other_lines = [each for each in line.other_lines if each not in among]
    if line in among:
        overwritten(line)
    else:
        line.draw_race()


def finish(line: BadLine, end: str) -> None:
    """Nothing more happens to the error before the horizon."""
    around = line.around
    count_sweeps(line, around.engine.now_ns)
    line.state, line.record.end, line.record.end_ns = OVER, end, around.engine.now_ns
    look_after_no_more(line)
    line.disarm()
    if line.page is not None:
        line.page.region.watched.pop(line.pfn, None)
    if line.record.found_ns is None:  # otherwise a find may be under way
        if line.page is not None and line.page.flags == pg.BUDDY and line.page.region.layout.is_free:
            around.kernel.mem_map.overlay.pop(line.pfn, None)  # a look makes it as it is
        leave_boot(line)
        retire(line)
    left = line.other_lines
    if end != End.HEALED:  # a reboot healed what was transient
        left = [each for each in left if each.permanent]
    if left:
        _take_over(left[0], left[1:])


def retire(line: BadLine) -> None:
    """Nothing of the error is under way any more: only its facts are kept."""
    line.u = []
    line.around.open.pop(line.error, None)
    if line.around.by_pfn.get(line.pfn) is line:
        del line.around.by_pfn[line.pfn]


def _take_over(line: BadLine, rest: Sequence[BadLine]) -> None:
    """The line that stood for this page has healed; this bad line of the page goes on in its place."""
    line.record.end, line.state, line.other_lines = "", LATENT, rest
    line.around.open[line.error] = line.around.by_pfn[line.pfn] = line
    begin(line)


# -- boots ----------------------------------------------------------------------------------------------


def panicked(line: BadLine) -> None:
    """The kernel goes down because of this line."""
    record, around = line.record, line.around
    record.end = End.PANIC
    record.panics += 1
    if record.panic_ns is None:
        record.panic_ns, record.panic_boot = around.engine.now_ns, around.boot
        record.panic_kind, record.panic_region = owner_of(line.page)


def leave_boot(line: BadLine) -> None:
    """Keep facts, and let go of everything that belongs to the kernel that ends."""
    record, in_boot = line.record, line.in_boot
    if line.page is not None:
        line.page.region.watched.pop(line.pfn, None)
    if record.found_ns is not None and record.first is None:
        record.first = in_boot.treatment
    for signal in in_boot.signals:
        if not (signal.result or (signal.task.blocked and signal.task.pending is signal)):
            signal.result = Result.LOST  # it was on its way
    book_signals(line)
    in_boot.let_go()
    line.page, line.times = None, ()
    line.disarm()
    line.touches.clear()


def start_over(line: BadLine) -> None:
    """A new boot: the line is bad and nobody knows.

    The record keeps what the first boot in which the error was found made of it.
    """
    if line.page is not None:  # it came up in the new boot, for a line that has healed
        leave_boot(line)
    line.in_boot = InBoot()
    line.record.end = ""
    line.state = LATENT
    line.attempts += 1
    line.other_lines = [each for each in line.other_lines if each.permanent]


def book_signals(line: BadLine) -> None:
    """The signals of this boot become rows."""
    if line.in_boot.signals:
        line.record.signal_rows += tuple(signal_row(line, each) for each in line.in_boot.signals)
        line.in_boot.signals = ()


# -- the run --------------------------------------------------------------------------------------------


def close(line: BadLine, end_ns: int) -> None:
    """The run is over: say how the error stands."""
    if line.state == OVER:
        return
    record, in_boot = line.record, line.in_boot
    count_sweeps(line, end_ns)
    record.end_ns = end_ns
    if in_boot.contained_ns is not None:
        record.end = End.ISOLATED
    elif record.end == End.PANIC:
        pass
    elif in_boot.failure is not None or record.logged_only or record.found_ns is not None:
        record.end = End.REACHABLE
    else:
        record.end = End.LATENT
