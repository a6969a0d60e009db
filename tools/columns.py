"""The reference of the columns of a results file, as Markdown, from what hwsim/record.py says of each.

make schema        (python -m tools.columns > docs/columns.md)
"""

from __future__ import annotations

import inspect

from hwsim.study.columns import ROWS, TABLES, Column

_HEAD = """\
# The columns of the results

Made from [record.py](../hwsim/record.py) by `make schema`: changes belong there. Times are integer
nanoseconds since the start of the run. Empty is NULL in SQLite and `pd.NA` in a DataFrame: it did not happen.
"""


def reference() -> str:
    """All tables with their columns: name, type, unit, meaning, and each allowed word."""
    return "\n".join([_HEAD, *(_table(name, columns) for name, columns in TABLES.items())])


def _table(name: str, columns: tuple[Column, ...]) -> str:
    about = inspect.getdoc(ROWS[name])
    head = f"## `{name}`\n\n{about}\n\n| Column | Type | Unit | Meaning |\n|---|---|---|---|\n"
    return head + "".join(
        f"| `{each.name}` | {_type(each)} | {each.unit} | {_meaning(each)} |\n" for each in columns
    )


def _type(column: Column) -> str:
    text = "text" if column.sql == "TEXT" else "number"
    if isinstance(column.allowed, range):
        text = f"{column.allowed[0]}{' or ' if len(column.allowed) == 2 else ' to '}{column.allowed[-1]}"
    elif column.allowed is not None:
        text = "word"
    return f"{text} or empty" if column.optional else text


def _meaning(column: Column) -> str:
    if column.allowed is None or isinstance(column.allowed, range):
        return column.meaning
    words = column.allowed.meanings().items()
    return "<br>".join([column.meaning, *(f"{f'`{w}`' if w else 'no text'}: {text}" for w, text in words)])


if __name__ == "__main__":
    print(reference(), end="")
