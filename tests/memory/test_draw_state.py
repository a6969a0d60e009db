"""What a page is found to be when somebody looks at it first, with draws that the test chooses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hwsim.kernel import page_flags as pg
from hwsim.kernel.frames import Layout
from hwsim.kernel.mm_types import OWNER, Page, Region
from hwsim.memory.drawing import used_lines
from hwsim.memory.kinds.file import _writeback


@pytest.mark.parametrize(
    ("now_ns", "u", "until_ns"),
    [
        (120, 0.2, 150),  # the page was dirty when its inode was written out, which takes 50 ns
        (150, 0.2, 0),
        (120, 0.9, 0),  # it was clean
    ],
)
def test_the_last_write_out_may_still_be_writing_the_page(now_ns: int, u: float, until_ns: int) -> None:
    page = Page(7, Region(0, Layout("r", "file", 0, 16)), 7, 0)
    kernel: Any = SimpleNamespace(
        engine=SimpleNamespace(now_ns=now_ns),
        times=SimpleNamespace(writeback=SimpleNamespace(draw=lambda _: 50)),
    )
    inode: Any = SimpleNamespace(clean_ns=100, dirty_span_ns=lambda: 1.0)
    report: Any = SimpleNamespace(draw=lambda _: u)
    _writeback(kernel, page, 0.693, inode, report)  # dirty with a chance of 1 / 2
    assert (bool(page.flags & pg.WRITEBACK), page.writeback_until_ns) == (until_ns > 0, until_ns)


def test_a_tail_is_in_use_with_its_head_whatever_that_frame_was_at_first() -> None:
    """After a reboot the frame before a tail may itself be a tail, elsewhere in the same pool."""
    pool = Region(0, Layout("r", "slab_multi", 0, 16, order=2))
    first, head, tail = (Page(pfn, pool, pgoff, 0) for pfn, pgoff in ((4, 4), (5, 5), (6, 9)))
    head.head, tail.head = first, head
    assert used_lines(tail) is None
    first.get(OWNER)
    assert used_lines(tail) == (0.0, 0.0)
