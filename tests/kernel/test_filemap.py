"""What each mode of the error in a mapping answers, call by call."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hwsim.kernel.mm import filemap as fe
from hwsim.kernel.mm_types import AddressSpace
from hwsim.kernel.page_flags import HWPOISON
from hwsim.kernel.versions.boot import booted
from hwsim.kernel.versions.switches import WORDS


class Bits:
    """A mapping with three open files, under one mode; answers of check() as a word of 0 and 1."""

    def __init__(self, mode: str) -> None:
        self.kernel: Any = SimpleNamespace(
            profile=booted("v5", (("eio_mode", mode),)),
            reach=lambda _key: None,
            event=lambda *_args, **_facts: None,
            files=SimpleNamespace(evicted=lambda *_args, **_facts: None),
        )
        self.mapping = AddressSpace("file:data", "ext4")
        self.files = [fe.open_file(self.mapping, 0).get() for _ in range(2)]

    def lose(self) -> None:
        fe.mapping_set_error(self.mapping)
        page: Any = SimpleNamespace(flags=HWPOISON)
        self.mapping.pages[0] = page

    def ask(self, number: int) -> int:
        return int(fe.filemap_check_errors(self.kernel, self.mapping, self.files[number]) == -fe.EIO)

    def open(self) -> None:
        self.files.append(fe.open_file(self.mapping, 1).get())

    def close(self, number: int) -> None:
        fe.close_file(self.kernel, self.files[number])
        fe.forget_at_last_close(self.kernel, self.mapping)

    def sync(self) -> None:
        fe.wait_swallows(self.kernel, self.mapping, "sync")

    def drop(self) -> None:
        self.mapping.pages.clear()


@pytest.mark.parametrize(
    ("mode", "answers"),
    #            0 0  1  1 again  2 opened after, 0 after sync  all closed, new file
    [
        ("as_flag", [0, 1, 0, 0, 0, 0, 0]),
        ("errseq", [0, 1, 1, 0, 0, 0, 0]),
        ("sticky", [0, 1, 1, 1, 1, 1, 1]),
        ("sticky_until_last_close", [0, 1, 1, 1, 1, 1, 0]),
        ("keep_page", [0, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_what_each_mode_answers(mode: str, answers: list[int]) -> None:
    bits = Bits(mode)
    got = [bits.ask(0)]
    bits.lose()
    got += [bits.ask(0), bits.ask(1), bits.ask(1)]
    bits.open()
    got.append(bits.ask(2))
    bits.sync()
    got.append(bits.ask(0))
    for number in range(3):
        bits.close(number)
    bits.open()
    got.append(bits.ask(3))
    assert got == answers


def test_errseq_tells_a_later_opener_what_nobody_has_seen() -> None:
    bits = Bits("errseq")
    bits.lose()
    bits.sync()
    bits.open()
    assert [bits.ask(2), bits.ask(2), bits.ask(0)] == [1, 0, 1]


def test_a_kept_page_answers_as_long_as_it_is_there() -> None:
    bits = Bits("keep_page")
    bits.lose()
    assert bits.ask(0) == 1
    bits.drop()
    assert bits.ask(0) == 0


def test_the_inode_takes_the_error_with_it() -> None:
    for mode in WORDS["eio_mode"]:
        bits = Bits(mode)
        bits.lose()
        bits.drop()
        assert fe.evict_inode(bits.kernel, bits.mapping)
        bits.open()
        assert bits.ask(2) == 0
