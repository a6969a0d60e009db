"""Very many logs put together from lines of all kinds, cut and mutilated: refused in words, or answered."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.cli.mce_answer import answer, plain
from hwsim.hardware.mce_record import MceTextError
from hwsim.hardware.mce_text import read_mce
from hwsim.kernel.mce.do_machine_check import HANDLING
from hwsim.kernel.mce.printed import play_text
from tests.hardware.test_mce_text import PIECES, PREFIXES
from tests.support.mce_logs import DATA_LOAD, KERNEL, TIMER, USER, kernel_lines, mcelog_lines, polled_lines

BLOCKS = [
    kernel_lines(TIMER, cpu=3, mcg=0xF, rip=KERNEL), kernel_lines(DATA_LOAD, tsc=1),
    mcelog_lines(DATA_LOAD, mcg=7, rip=USER), polled_lines(TIMER, tsc=0),
    ["MCE 1", "STATUS 0x1", "CPU 1 BANK 2 STATUS UC ADDR 12", "HOLD", "Kernel panic - not syncing: Timeout"],
]  # fmt: skip
ODD = "".join(map(chr, (0, 9, 10, 13, 27, 48, 58, 102, 0x80, 0x660, 0x202E, 0xFFFD)))


@st.composite
def part(draw: st.DrawFn) -> list[str]:
    """Some lines of one block, or one line that is cut or has something in it."""
    prefix = draw(st.sampled_from(PREFIXES))
    if draw(st.booleans()):
        block = draw(st.sampled_from(BLOCKS))
        return [prefix + line for line in block[: draw(st.integers(0, len(block)))]]
    line = draw(st.sampled_from(PIECES))
    at = draw(st.integers(0, len(line)))
    return [prefix + line[:at] + draw(st.sampled_from(["", *ODD])) + line[draw(st.integers(at, len(line))) :]]


@settings(max_examples=3000, deadline=None, derandomize=True)
@given(
    st.lists(part(), max_size=8), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(sorted(HANDLING)),
    st.sampled_from([None, True, False]), st.integers(0, 3),
)  # fmt: skip
def test_any_log_is_refused_in_words_or_answered(
    parts: list[list[str]], end: str, kernel: str, ser: bool | None, tolerant: int
) -> None:
    log = end.join(line for lines in parts for line in lines)
    try:
        text = read_mce(log, "log", banks=HANDLING[kernel].banks)
    except MceTextError as mistake:
        said = [str(problem) for problem in mistake.problems]
    else:
        boots = play_text(
            text, HANDLING[kernel], ser=ser, tolerant=tolerant if HANDLING[kernel].tolerant else 1
        )
        said = list(answer("log", text, boots))
        json.dumps(list(plain("log", text, boots)))
    assert all(line.startswith(("log", "  ")) and line.isprintable() for line in said)
