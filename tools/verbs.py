"""The reference of the verbs of scripts, as Markdown, from what hwsim/script/verbs.py says of each.

make schema        (python -m tools.verbs > docs/verbs.md)
"""

from __future__ import annotations

import json

from hwsim.script.verbs import ARG_KINDS, GROUPS, PAGE_FORMS, Arg, Verb, page_forms

_HEAD = """\
# The verbs of scripts

Made from [verbs.py](../hwsim/script/verbs.py) by `make schema`: changes belong there. A `[[script]]` step
has `at`, the time since the start, `do`, the verb, and the arguments of the verb. In brackets: where it is
written what a verb does; files are those of Linux 2.6.30 unless it says otherwise.

A page is named in one of these ways:

| Page | Which one |
|---|---|
"""
_ARGUMENTS = """
| Argument | Takes | Left out | Meaning |
|---|---|---|---|
"""


def reference() -> str:
    """All verbs: what each does, its source; of each argument what it takes, its default, its meaning."""
    forms = zip(page_forms(), PAGE_FORMS.values(), strict=True)
    pages = "".join(f"| `{text}` | {form.doc} |\n" for text, form in forms)
    return _HEAD + pages + "".join(_group(title, verbs) for title, verbs in GROUPS.items())


def _group(title: str, verbs: dict[str, Verb]) -> str:
    return f"\n## {title}\n" + "".join(_verb(name, verb) for name, verb in verbs.items())


def _verb(name: str, verb: Verb) -> str:
    rows = "".join(
        f"| `{key}` | {_takes(arg)} | {_left_out(arg)} | {arg.doc} |\n" for key, arg in verb.args.items()
    )
    return f"\n### `{name}`\n\n{verb.doc} ({verb.source})\n" + (_ARGUMENTS + rows if rows else "")


def _takes(arg: Arg) -> str:
    kind = ARG_KINDS[arg.kind]
    words = ", ".join(f"`{word}`" for word in arg.choices or kind.words)
    numbers = "" if kind.high is None else f"{kind.low:,} to {kind.high:,}"
    if arg.choices:
        return words
    return ": ".join(each for each in (kind.doc, words or numbers) if each)


def _left_out(arg: Arg) -> str:
    if arg.required:
        return "required"
    return "none" if arg.default is None else f"`{json.dumps(arg.default)}`"


if __name__ == "__main__":
    print(reference(), end="")
