"""One step of a script: what it asks for, what it can reach, and the facts it leaves in the event log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mypy_extensions import trait

from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.bad_lines import BadLines
from hwsim.engine import Steps
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import Task
from hwsim.kernel.ports import Halted
from hwsim.record import StepMistake
from hwsim.script.verbs import PAGE_FORMS
from hwsim.spec import Arguments, ScriptStep
from hwsim.userspace.process_table import ProcessTable
from hwsim.userspace.user_task import UserTask

_SHOWN = 30  # names of tasks in a message


class ScriptError(Exception):
    """A step asks for what cannot be at its time."""

    def __init__(self, mistake: StepMistake) -> None:
        super().__init__(mistake)
        self.mistake = mistake

    def __str__(self) -> str:
        where, verb, page, problem = self.mistake[:4]
        return f"{where}: {verb}{' ' if page else ''}{page}: {problem}"


class StepSkipped(Exception):
    """A step for which an error has left nothing to do; the argument says so."""


@trait
class Power:
    """Who boots the machine; the machine answers it.  ``panics`` are those there have been."""

    __slots__ = ()
    panics: int

    def restart(self) -> None:
        """An orderly reboot."""
        raise NotImplementedError


@dataclass(slots=True, eq=False)
class Step:
    """A step, and the parts of the machine on which it is done.

    Life: made with its script -> done at its time, or skipped -> what had to wait comes later, and ends in
    :meth:`result` too.  ``args`` is what it asks for, with the defaults of what it leaves out; ``refuse``
    takes the mistake of a step that cannot be done once it has begun; ``unforked`` are the tasks that an
    error killed before the script could fork them.
    """

    spec: ScriptStep
    number: int
    args: Arguments
    bad_lines: BadLines
    processes: ProcessTable
    power: Power
    refuse: Callable[[ScriptError], None]
    unforked: set[str]
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def kernel(self) -> Kernel:
        """The kernel that runs now."""
        return self.bad_lines.around.kernel

    def mistake(self, problem: str, *key: str, allowed: str | Iterable[str] = "") -> ScriptError:
        """What to raise when the step can never be done; ``key`` leads to the argument that is wrong."""
        page = self.args.get("page")
        text = _page_text(page) if page else ""
        names = allowed if isinstance(allowed, str) else tuple(allowed)
        return ScriptError(StepMistake(self.spec.where, self.spec.verb, text, problem, key or ("do",), names))

    def error(self, problem: str, *key: str, allowed: str | Iterable[str] = "") -> ScriptError | StepSkipped:
        """What to raise when the step cannot be done now.

        No mistake if an error may have made it so, by a panic or by the death of a task that the step names:
        who lives, and what a reboot leaves, depends on the policy.
        """
        if self.power.panics or any(member.struck for member in self._named()):
            return StepSkipped(problem)
        return self.mistake(problem, *key, allowed=allowed)

    def result(self, result: str | int, **facts: object) -> None:
        """What came of the step; when, if it had to wait or was made again by a handler's return."""
        self.facts.update({"result": result}, **facts)
        if self.kernel.engine.now_ns > self.spec.at_ns:
            self.facts["answered_ns"] = self.kernel.engine.now_ns

    def bad_line(self, pfn: int) -> BadLine | None:
        """The line of this frame whose data is bad now: who reads the page meets it."""
        line = self.bad_lines.live(pfn)
        return line if line is not None and line.line_is_bad else None

    # -- tasks --------------------------------------------------------------------------------------

    def member(self, name: str | None = None, *key: str) -> UserTask:
        """The place of the step's task, with a living process in it; ``key`` names another one."""
        name = self.args["task"] if name is None else name
        key = key or ("task",)
        for member in self.processes.members():
            if member.name == name:
                if member.task is not None and member.task.killed:
                    raise StepSkipped(f'task "{name}" was killed')
                if not member.alive:
                    allowed = "a task that lives at this time"
                    raise self.error(f'task "{name}" is dead at this time', *key, allowed=allowed)
                return member
        if name.rpartition(".")[0] in self.unforked:
            raise StepSkipped(f'task "{name}" was never forked')
        raise self.error(f'there is no task "{name}" at this time', *key, allowed=self._living(name))

    def task(self, name: str | None = None, *key: str) -> Task:
        """The process itself."""
        task = self.member(name, *key).task
        assert task is not None
        return task

    def _named(self) -> Iterator[UserTask]:
        """The places of the tasks that the step names."""
        refs = [self.args.get(key, {}).get("region", "") for key in ("page", "buffer")]
        names = {self.args.get("task"), *(ref.partition("/")[0] for ref in refs)}
        return (each for each in self.processes.members() if each.name in names)

    def _living(self, name: str) -> list[str]:
        """Names of living tasks to show, those of the same group first."""
        first = name.split(".", maxsplit=1)[0]
        groups = sorted(self.processes.groups, key=lambda group: group.spec.name != first)
        return [each.name for group in groups for each in group.members[:_SHOWN] if each.alive][:_SHOWN]


def carry_out(step: Step, steps: Steps) -> None:
    """Do what may have to sleep: at once up to the first sleep, the rest when it is over."""
    try:
        bell = next(steps)
    except StopIteration:
        return

    def rest() -> Steps:
        try:
            yield bell
            yield from steps
        except Halted:
            return
        except ScriptError as error:
            step.refuse(error)
        except StepSkipped as reason:
            step.facts["skipped"] = str(reason)

    step.kernel.engine.process(rest())


def returns(step: Step, task: Task) -> bool:
    """Whether what may have slept in the kernel comes back to the task."""
    if not task.alive:
        step.facts["skipped"] = f'task "{task.name}" died while it waited'
    return task.alive and not step.kernel.halted


def _page_text(page: Mapping[str, object]) -> str:
    if "pfn" in page:
        return f"pfn {page['pfn']:#x}"
    key = next(key for key in PAGE_FORMS if key in page)
    return f"{key} {page[key]}" + (f" index {page['index']}" if "index" in page else "")
