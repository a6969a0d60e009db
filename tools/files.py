"""The files of hwsim, with what each says of itself, as Markdown, room by room from the top.

make schema        (python -m tools.files > docs/files.md)
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_HEAD = """\
# The files of hwsim

Made from their first paragraphs by `make schema`, in the order of the rooms: who stands below is imported
by those above, never the other way. [house.md](house.md) says what the rooms are about.
"""


def reference() -> str:
    """Every file, under the name of its room."""
    return "".join([_HEAD, *map(_room, _rooms())])


def _rooms() -> list[str]:
    """The rooms in the order of the contract."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    return [room.strip("()") for layer in layers for room in layer.split(" | ")]


def _room(name: str) -> str:
    place = ROOT / "hwsim" / name
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    return f"\n## `{name}`\n\n" + "".join(_lines(files))


def _lines(files: list[Path]) -> Iterator[str]:
    for file in files:
        said = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        first = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(said.partition("\n\n")[0].split()))
        yield f"- `{file.relative_to(ROOT / 'hwsim').as_posix()}`: {first}\n"


if __name__ == "__main__":
    print(reference(), end="")
