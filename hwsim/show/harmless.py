"""A console that writes its own codes of the terminal, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from hwsim.printable import escaped


class HarmlessConsole(Console):
    """What is harmful in a text is shown escaped, wherever in a table it stands."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escaped(segment.text, keep="\n"))

    def on_broken_pipe(self) -> None:
        """The reader has left: a matter for the caller, where rich would end the program with status 1."""
        raise BrokenPipeError
