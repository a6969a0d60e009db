"""Exact steps instead of, or beside, chance.

Every step of the script is one event of the machine at its time.  It is done with the kernel's own
functions, and the event log says what came of it, so that a run can be compared with a real kernel.
"""

from __future__ import annotations

from collections.abc import Callable

from hwsim.bad_lines.bad_lines import BadLines
from hwsim.engine import SCRIPT_STEP
from hwsim.record import StepMistake
from hwsim.script import errors, files, state, tasks, touch
from hwsim.script.names import missing
from hwsim.script.step import Power, ScriptError, Step, StepSkipped
from hwsim.script.verbs import with_defaults
from hwsim.spec import Arguments, ScriptStep
from hwsim.userspace.process_table import ProcessTable

_PLAYS: dict[str, Callable[[Step], None]] = {
    **errors.PLAYS,
    **touch.PLAYS,
    **tasks.PLAYS,
    **files.PLAYS,
    **state.PLAYS,
}


class Script:
    """The script of one machine.

    Life: made after the first boot; every step stands in the event heap from then on.  A step that
    falls into a time when the machine is down, or is one of a task that an error has killed, is
    skipped, and the event log says so: which tasks live depends on the policy.  A step that no policy
    could make possible raises ScriptError; in a rehearsal it is left out, and all such are ``mistakes``.
    """

    def __init__(
        self, steps: tuple[ScriptStep, ...], bad_lines: BadLines, processes: ProcessTable, power: Power
    ) -> None:
        self.mistakes: list[StepMistake] | None = None  # not None: this is a rehearsal
        self._unforked: set[str] = set()
        self._parts = bad_lines, processes, power, self._refuse, self._unforked
        for number, spec in enumerate(steps):
            if spec.at_ns < bad_lines.around.horizon_ns:
                self._schedule(self.step(spec, number))

    def step(self, spec: ScriptStep, number: int) -> Step:
        """A step on this machine; its ``number`` is one of its own."""
        return Step(spec, number, with_defaults(spec.verb, spec.args), *self._parts)

    def _schedule(self, step: Step) -> None:
        engine = step.bad_lines.around.engine
        engine.at(step.spec.at_ns, SCRIPT_STEP | step.number, lambda _event: self.do(step))

    def do(self, step: Step) -> None:
        """Do the step now, or skip it."""
        kernel = step.kernel
        facts: dict[str, object] = {"where": step.spec.where, "verb": step.spec.verb, **_plain(step.args)}
        if kernel.trace is not None:
            kernel.trace.append((kernel.engine.now_ns, "script", facts))
        if kernel.halted:
            facts["skipped"] = "the machine is down"
            # Error numbers are the same under every policy, and so under every fate of the machine.
            step.bad_lines.error_count += errors.numbers_used(step)
            return
        step.facts = facts
        try:
            wrong = missing(step)
            for error in wrong:
                self._refuse(error)
            if not wrong:
                _PLAYS[step.spec.verb](step)
        except ScriptError as error:
            self._refuse(error)
        except StepSkipped as reason:
            facts["skipped"] = str(reason)
            if step.spec.verb == "fork":
                self._unforked.add(step.args["task"])
            step.bad_lines.error_count += errors.numbers_used(step)

    def _refuse(self, error: ScriptError) -> None:
        """A step cannot be done: the end of the run, or one more mistake of a rehearsal."""
        if self.mistakes is None:
            raise error
        self.mistakes.append(error.mistake)


def _plain(args: Arguments) -> dict[str, object]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in args.items()}
