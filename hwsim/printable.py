"""Text from files, made harmless: what could move a cursor, colour a terminal or turn a line round is shown
as TOML and JSON write it, with a u and four digits.  Applied where text goes out, not to what is stored."""

from __future__ import annotations

import re

# C0 and C1 controls and DEL; the bidirectional marks, embeddings, overrides and isolates (UAX 9), which let
# text read otherwise than it is; line and paragraph separators; halves of surrogate pairs, which stand for
# bytes of a file name that are no text, and which no encoding takes.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What tables are written with, for terminals that lack it.
IN_ASCII = {
    "\u2212": "-", "\u2013": "-", "\u2026": "...", "\u2264": "<=", "\u2265": ">=", "\u00d7": "x",
    "\u00b1": "+-", "\u00b5": "u", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
    "\u2192": "->", "\u2500": "-", "\u2501": "-", "\u2502": "|", "\u2503": "|", "\u2022": "*",
}  # fmt: skip
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def escaped(text: str, keep: str = "") -> str:
    """``text`` with everything harmful spelled out, except the characters of ``keep``."""
    if _HARMFUL.search(text) is None:
        return text

    def spelled(found: re.Match[str]) -> str:
        one = found[0]
        return one if one in keep else _SHORT.get(one) or f"\\u{ord(one):04x}"

    return _HARMFUL.sub(spelled, text)
