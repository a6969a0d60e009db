"""Exact steps instead of, or beside, chance.

Every step of the script is one event of the machine at its time.  It is done with the kernel's own
functions, and the event log says what came of it, so that a run can be compared with a real kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hwsim.engine import SCRIPT_STEP
from hwsim.script import errors, files, state, tasks, touch
from hwsim.script.names import missing
from hwsim.script.step import ScriptError, Step, StepSkipped

if TYPE_CHECKING:
    from hwsim.machine import Machine
    from hwsim.record import StepMistake
    from hwsim.spec import ScriptStep

_DO: dict[str, Callable[[Step], None]] = {
    **errors.VERBS,
    **touch.VERBS,
    **tasks.VERBS,
    **files.VERBS,
    **state.VERBS,
}


class Script:
    """The script of one machine.

    Life: made after the first boot; every step stands in the event heap from then on.  A step that
    falls into a time when the machine is down, or is one of a task that an error has killed, is
    skipped, and the event log says so: which tasks live depends on the policy.  A step that no policy
    could make possible raises ScriptError; in a rehearsal it is left out, and all such are ``mistakes``.
    """

    def __init__(self, machine: Machine, steps: tuple[ScriptStep, ...]) -> None:
        self.machine = machine
        self.mistakes: list[StepMistake] | None = None  # not None: this is a rehearsal
        self.unforked: set[str] = set()  # tasks that an error killed before the script could fork them
        for number, spec in enumerate(steps):
            self._schedule(Step(machine, spec, number))

    def _schedule(self, step: Step) -> None:
        time_ns = step.spec.at_ns
        if time_ns < self.machine.horizon_ns:
            self.machine.engine.at(time_ns, SCRIPT_STEP | step.number, lambda _event: self._run(step))

    def _run(self, step: Step) -> None:
        kernel = self.machine.kernel
        facts: dict[str, Any] = {"where": step.spec.where, "verb": step.spec.verb, **_plain(step.args)}
        if kernel.trace is not None:
            kernel.trace.append((kernel.engine.now_ns, "script", facts))
        if kernel.halted:
            facts["skipped"] = "the machine is down"
            # Error numbers are the same under every policy, and so under every fate of the machine.
            self.machine.error_count += errors.numbers_used(step)
            return
        step.facts = facts
        try:
            wrong = missing(step)
            for error in wrong:
                self.refuse(error)
            if not wrong:
                _DO[step.spec.verb](step)
        except ScriptError as error:
            self.refuse(error)
        except StepSkipped as reason:
            facts["skipped"] = str(reason)
            if step.spec.verb == "fork":
                self.unforked.add(step.args["task"])
            self.machine.error_count += errors.numbers_used(step)

    def refuse(self, error: ScriptError) -> None:
        """A step cannot be done: the end of the run, or one more mistake of a rehearsal."""
        if self.mistakes is None:
            raise error
        self.mistakes.append(error.mistake)


def _plain(args: dict[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in args.items()}


__all__ = ["Script", "ScriptError"]
