"""Where each key of a TOML text stands: ``key_lines(text)[("task", 0, "size")]`` is its line.

The standard parser gives values without positions.  This scanner reads only texts which that
parser has accepted, so it can be short: it follows keys, tables and brackets and skips values.
"""

from __future__ import annotations

import re

from hwsim.scenario.problems import Path

_KEY = re.compile(r"""[ \t]*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*""")
_STRINGS = (
    r'"""(?:[^\\]|\\.)*?"{3,5}',
    r"'''.*?'{3,5}",
    r'"(?:[^"\\\n]|\\.)*"',
    r"'[^'\n]*'",
)
_VALUE = re.compile("|".join((*_STRINGS, r"[^,\]}#\n]*")), re.DOTALL)
_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # entries of each [[array]] so far
        self._line = 1
        self._line_pos = 0

    def _record(self, path: Path, pos: int) -> None:
        self._line += self.text.count("\n", self._line_pos, pos)
        self._line_pos = pos
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], self._line)

    def _skip_space(self) -> None:
        if match := _SPACE.match(self.text, self.pos):
            self.pos = match.end()

    def _dotted_key(self) -> tuple[str, ...]:
        parts = []
        while match := _KEY.match(self.text, self.pos):
            word = match[1]
            parts.append(word[1:-1] if word[0] in "\"'" else word)
            self.pos = match.end()
            if self.text[self.pos : self.pos + 1] != ".":
                break
            self.pos += 1
        return tuple(parts)

    def _inside(self, parts: tuple[str, ...]) -> Path:
        """The path of a table name, with the index of the current entry after each array."""
        path: Path = ()
        for part in parts:
            path += (part,)
            if path in self._counts:
                path += (self._counts[path] - 1,)
        return path

    def scan(self) -> dict[Path, int]:
        prefix: Path = ()
        while True:
            self._skip_space()
            if self.pos >= len(self.text):
                return self.lines
            start = self.pos
            if self.text.startswith("[[", start):
                self.pos += 2
                parts = self._dotted_key()
                array = (*self._inside(parts[:-1]), *parts[-1:])
                self._counts[array] = self._counts.get(array, 0) + 1
                prefix = (*array, self._counts[array] - 1)
                self.pos += 2
                self._record(prefix, start)
            elif self.text[start] == "[":
                self.pos += 1
                prefix = self._inside(self._dotted_key())
                self.pos += 1
                self._record(prefix, start)
            else:
                self._pair(prefix)
                if self.pos == start:  # not TOML: give up with what is known
                    return self.lines

    def _pair(self, prefix: Path) -> None:
        start = self.pos
        path = (*prefix, *self._dotted_key())
        self._record(path, start)
        if self.text[self.pos : self.pos + 1] == "=":
            self.pos += 1
            self._value(path)

    def _value(self, path: Path) -> None:
        self._skip_space()
        first = self.text[self.pos : self.pos + 1]
        if first in {"[", "{"}:
            self._inline(path, "]" if first == "[" else "}")
            return
        if match := _VALUE.match(self.text, self.pos):
            self.pos = match.end()

    def _inline(self, path: Path, close: str) -> None:
        self.pos += 1
        index = 0
        while True:
            self._skip_space()
            char = self.text[self.pos : self.pos + 1]
            if char in {close, ""}:
                self.pos += 1
                return
            if char == ",":
                self.pos += 1
                continue
            start = self.pos
            if close == "]":
                self._record((*path, index), start)
                self._value((*path, index))
                index += 1
            else:
                self._pair(path)
            if self.pos == start:
                self.pos += 1


def key_lines(text: str) -> dict[Path, int]:
    """The line (from 1) of every key, table and array entry of a TOML text."""
    return _Scanner(text).scan()
