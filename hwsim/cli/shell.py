"""What every command does at its edges: mistakes to plain words, signals to exit statuses."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, ParamSpec

import typer

from hwsim.printable import escaped

P = ParamSpec("P")

FAILED = 1  # finished, but replications failed
WRONG = 2  # command line, scenario or file
SCRIPT_MISTAKE = "ScriptError"  # what the model raises for an impossible step of a script


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interrupts:
    """Turns SIGINT and SIGTERM into :class:`Interrupted`, except while something is being written.

    Enter it around the work and hold :meth:`shield` around each write; a signal that comes meanwhile
    is raised at the end of the write.
    """

    def __init__(self) -> None:
        self._shielded = 0
        self._pending: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not in the main thread: leave signals alone
                self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        self._shielded += 1
        try:
            yield
        finally:
            self._shielded -= 1
        if self._pending is not None and self._shielded == 0:
            number, self._pending = self._pending, None
            raise Interrupted(number)

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        if self._shielded:
            self._pending = number
        else:
            raise Interrupted(number)


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """A command whose mistakes of the user end in plain words on stderr and status 2."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            try:
                command(*args, **kwargs)
            finally:
                _flush()
        except (KeyboardInterrupt, Interrupted) as interrupt:
            number = getattr(interrupt, "number", int(signal.SIGINT))
            raise SystemExit(128 + number) from None
        except BrokenPipeError:  # the reader, such as head, has seen enough
            discard_output()
            raise SystemExit(0) from None
        except OSError as error:
            unwritable(error)
        except _mistakes() as mistake:
            wrong(str(mistake))

    return run


def unwritable(error: OSError) -> NoReturn:
    """No room or no right to write, mostly where stdout was sent."""
    discard_output()
    note(f"hwsim: {error.filename or 'standard output'}: {error.strerror or error}")
    raise SystemExit(WRONG)


def _flush() -> None:
    if sys.stdout is not None:  # None: closed by the caller, as with >&-
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            discard_output()


def discard_output() -> None:
    """What is still buffered cannot be written; Python would complain about it at its end."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _mistakes() -> tuple[type[Exception], ...]:
    """Evaluated only once something was raised, so that no command pays for these imports."""
    from hwsim.scenario import ScenarioError
    from hwsim.study.errors import StudyError

    found: tuple[type[Exception], ...] = (ScenarioError, StudyError)
    for module, name in (
        ("hwsim.explaining.question", "ExplainError"),
        ("hwsim.explaining.side_by_side", "ProfileError"),
    ):
        if module in sys.modules:  # raised only by what has been imported
            found = (*found, getattr(sys.modules[module], name))
    return found


def wrong(message: str) -> NoReturn:
    """Say what is wrong and leave with status 2."""
    note(f"hwsim: {message}")
    raise typer.Exit(WRONG)


def say(text: str = "") -> None:
    """A line of results.  A reader that has seen enough, such as head, ends the printing, not the command:
    its status still says whether replications failed."""
    if sys.stdout is not None:
        try:
            sys.stdout.write(escaped(text, keep="\n\t") + "\n")
        except BrokenPipeError:
            discard_output()


def note(text: str) -> None:
    """A line for the person, not for the pipe; where stderr is gone the status alone has to tell."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(escaped(text, keep="\n\t") + "\n")
            sys.stderr.flush()


def print_json(value: Any) -> None:
    """The same value gives the same bytes, in ASCII where the reader takes nothing else."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    say(text)


def show(*renderables: Any) -> None:
    """Tables and text on stdout; rich leaves colour out for pipes and for NO_COLOR."""
    from hwsim.cli.outlet import below
    from hwsim.show.harmless import HarmlessConsole

    console = HarmlessConsole(file=below(sys.stdout), highlight=False)
    try:
        for renderable in renderables:
            console.print(renderable)
    except BrokenPipeError:
        discard_output()
