"""What becomes of a signal, case by case: who is told, in which order, and what the target is left with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hwsim.kernel.mm_types import Signal
from hwsim.kernel.signal import (
    BUS_MCEERR_AO,
    BUS_MCEERR_AR,
    ESRCH,
    SIGBUS,
    SIGKILL,
    force_kill,
    force_sig_info,
    send_sig_info,
    unblock,
)

NOTED = ["event signal", "sent"]


class Log:
    """A kernel that writes down what the signal code asks of it, at 700 ns."""

    engine = SimpleNamespace(now_ns=700)

    def __init__(self) -> None:
        self.trace: list[object] = []  # somebody wants the events
        self.lines: list[str] = []
        self.signals: list[Signal] = []
        self.handler_watchers = (self,)

    def event(self, name: str, **facts: Any) -> None:
        self.lines.append(f"event {name}")

    def reach(self, what: str) -> None:
        self.lines.append(f"reach {what}")

    def signalled(self, signal: Signal) -> None:
        self.lines.append("sent")
        self.signals.append(signal)

    def deliver(self, signal: Signal, *, default: bool) -> None:
        held_back = signal.task.blocked and not default
        what = f"deliver {signal.code or signal.signal}{' default' if default else ''}"
        self.lines.append("blocked" if held_back else what)


def task(kernel: Log, **more: Any) -> Any:
    """A task that tells the kernel's log what it is given."""
    plain = {"alive": True, "blocked": False, "ignored": False, "pending": None, "sig_dfl": False}
    return SimpleNamespace(name="app.0", pid=100, user=kernel, **(plain | more))


def signal(to: Any, code: str = BUS_MCEERR_AO, name: str = SIGBUS) -> Signal:
    return Signal(to, name, code, "early", SimpleNamespace(), 0x1000, False, None)


@pytest.mark.parametrize(
    ("target", "answer", "result", "after", "is_pending"),
    [
        ({}, 0, "", ["deliver BUS_MCEERR_AO"], True),
        ({"alive": False}, -ESRCH, "lost", [], False),
        ({"ignored": True}, 0, "ignored", ["event ignored"], False),
        ({"blocked": True}, 0, "", ["event pending", "blocked"], True),
        ({"ignored": True, "blocked": True}, 0, "", ["event pending", "blocked"], True),
        ({"pending": "another"}, 0, "merged", ["event merged"], False),
        ({"pending": "another", "blocked": True}, 0, "merged", ["event merged"], False),
    ],
)
def test_a_signal_that_can_be_escaped(
    target: dict[str, Any], answer: int, result: str, after: list[str], is_pending: bool
) -> None:
    kernel: Any = Log()
    sent = signal(task(kernel, **target))
    assert send_sig_info(kernel, sent) == answer
    assert (sent.result, sent.sent_ns, kernel.signals) == (result, 700, [sent])
    assert kernel.lines == [*NOTED, *after]
    assert (sent.task.pending is sent) == is_pending


@pytest.mark.parametrize("escape", ["", "blocked", "ignored"])
@pytest.mark.parametrize("pending", [False, True])
def test_a_forced_signal(escape: str, pending: bool) -> None:
    kernel: Any = Log()
    to = task(kernel, **({escape: True} if escape else {}))
    to.pending = earlier = signal(to) if pending else None
    forced = signal(to, BUS_MCEERR_AR)
    force_sig_info(kernel, forced)
    reset = ["event disposition_reset", "reach signal:AR forced on blocked or ignored"] if escape else []
    merged = ["event merged"] if pending else []
    code = BUS_MCEERR_AO if pending else BUS_MCEERR_AR  # the one that waits kills, with its own siginfo
    delivered = [] if pending and not escape else [f"deliver {code}{' default' if escape else ''}"]
    assert kernel.lines == [*NOTED, *reset, *merged, *delivered]
    assert (to.blocked, to.ignored, to.sig_dfl) == (False, False, bool(escape))
    assert to.pending is (earlier or forced)
    assert forced.result == ("merged" if pending else "")


@pytest.mark.parametrize("alive", [True, False])
def test_sigkill(alive: bool) -> None:
    kernel: Any = Log()
    sent = signal(task(kernel, alive=alive, blocked=True, ignored=True), "", SIGKILL)
    force_kill(kernel, sent)
    assert kernel.lines == [*NOTED, *(["deliver SIGKILL default"] if alive else [])]
    assert sent.result == ("" if alive else "lost")


def test_unblocking_delivers_what_waits_unless_it_is_ignored() -> None:
    for ignored, after in ((False, ["deliver BUS_MCEERR_AO"]), (True, [])):
        kernel: Any = Log()
        to = task(kernel, blocked=True, ignored=ignored)
        to.pending = waiting = signal(to)
        unblock(to)
        assert (to.blocked, kernel.lines) == (False, after)
        assert (waiting.result, to.pending) == (("ignored", None) if ignored else ("", waiting))
    kernel = Log()
    unblock(task(kernel, blocked=True))
    assert kernel.lines == []
