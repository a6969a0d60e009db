"""Standard streams as this program uses them: never closed, never in need of a character they lack, and
nothing from a file can command the terminal behind them."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from typing import Any, TextIO

from hwsim.printable import IN_ASCII, escaped

_LAYOUT = "\n\t"  # what may stand in a line of output


def substitute(error: UnicodeError) -> tuple[str, int]:
    """Handler for :func:`codecs.register_error`: the letter without its accent, signs in ASCII, and what has
    neither as its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = []
    for character in error.object[error.start : error.end]:
        plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        found.append(IN_ASCII.get(character) or plain or f"\\u{ord(character):04x}")
    return "".join(found), error.end


class Outlet:
    """A stream for text: what is harmful is shown escaped.  ``stream`` is the one below, for whoever writes
    the codes of a terminal on purpose."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(escaped(text, keep=_LAYOUT))

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # nobody goes round
            raise AttributeError(name)
        return getattr(self.stream, name)


def below(stream: Any) -> Any:
    """The stream that takes codes of a terminal."""
    return stream.stream if isinstance(stream, Outlet) else stream


def prepare() -> None:
    """Make the standard streams usable, before anything is written."""
    codecs.register_error("hwsim.substitute", substitute)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _open(number, name)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="hwsim.substitute")
        setattr(sys, name, Outlet(stream))


def _open(number: int, name: str) -> None:
    """A stream that the caller has closed, as ``>&-`` does.  Its number must not go to the next file that is
    opened: what is meant for the stream would be written into it."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
    setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
