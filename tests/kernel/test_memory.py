"""What a touch of an entry comes to that memory_failure() or reclaim has left in a page table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.memory import (
    BUS_ERROR,
    KILLED_AR,
    OK,
    REREAD_DISK,
    REREAD_SWAP,
    STALE,
    ZEROES,
    copy_user,
    do_page_fault,
    is_fatal,
)
from hwsim.kernel.mm_types import NONE, POISON, PRESENT, SWAP, Pte
from tests.kernel.test_signal import Log, task

DISK, MEMORY = (
    SimpleNamespace(accounts_dirty=True, swapped={}),
    SimpleNamespace(accounts_dirty=False, swapped={}),
)
IN_SWAP_CACHE = pg.SWAPCACHE | pg.UPTODATE


class Kernel(Log):
    """As for signals; printk() too."""

    def printk(self, name: str, *args: Any) -> None:
        self.lines.append(f"printk {name}")


def _entry(kernel: Log, kind: str, flags: int, mapping: Any, cached: bool, lost_bytes: int) -> Pte:
    page: Any = SimpleNamespace(
        flags=flags, mapping=mapping if cached else None, pgoff=3, lost_bytes=lost_bytes, region=None
    )
    vma: Any = SimpleNamespace(
        task=task(kernel, comm="app"), mapping=mapping, address=lambda pgoff: pgoff << 12
    )
    pte = Pte(vma, page)
    pte.kind = kind
    return pte


@pytest.mark.parametrize(
    ("kind", "flags", "mapping", "cached", "lost_bytes", "result", "met"),
    [
        (PRESENT, pg.HWPOISON, None, False, 0, OK, None),
        (POISON, pg.HWPOISON, None, False, 0, KILLED_AR, "fault:poison"),
        (POISON, 0, None, False, 0, KILLED_AR, "fault:poison"),  # the entry itself is enough
        (SWAP, pg.HWPOISON | IN_SWAP_CACHE, None, False, 0, KILLED_AR, "fault:swap"),
        (SWAP, pg.HWPOISON, None, False, 0, REREAD_SWAP, "fault:reread_swap"),  # dropped from the swap cache
        (SWAP, IN_SWAP_CACHE, None, False, 0, OK, None),
        (SWAP, pg.SWAPCACHE, None, False, 0, BUS_ERROR, None),  # not up to date
        (NONE, pg.HWPOISON, DISK, True, 0, KILLED_AR, "fault:none"),  # could not be dropped from its file
        (NONE, pg.HWPOISON, DISK, False, 0, REREAD_DISK, "fault:reread_disk"),
        (NONE, pg.HWPOISON, DISK, False, 4096, STALE, "fault:reread_disk"),
        (NONE, pg.HWPOISON, MEMORY, False, 4096, ZEROES, None),  # ramfs has no disk
        (NONE, 0, None, False, 0, ZEROES, None),
    ],
)
def test_a_touch(
    kind: str, flags: int, mapping: Any, cached: bool, lost_bytes: int, result: str, met: str | None
) -> None:
    kernel: Any = Kernel()
    pte = _entry(kernel, kind, flags, mapping, cached, lost_bytes)
    failure: Any = SimpleNamespace()
    assert do_page_fault(kernel, pte.vma, pte, failure) == result
    reached = [line.removeprefix("reach ") for line in kernel.lines if line.startswith("reach")]
    code = {KILLED_AR: ["signal:AR"], BUS_ERROR: ["signal:ADRERR"]}.get(result, [])
    assert reached == [*([met] if met else []), *code]
    assert [(each.cause, each.address) for each in kernel.signals] == [("late", 3 << 12)] * len(code)
    assert ("printk fault" in kernel.lines) == (result == KILLED_AR)
    assert is_fatal(pte) == bool(code)


@pytest.mark.parametrize(("kind", "answer"), [(PRESENT, 0), (POISON, -14), (NONE, 0)])
def test_the_kernel_that_copies_gets_efault_and_no_signal(kind: str, answer: int) -> None:
    kernel: Any = Kernel()
    pte = _entry(kernel, kind, pg.HWPOISON, None, False, 0)
    assert copy_user(kernel, pte.vma, pte) == answer
    assert kernel.lines == (["reach fault:EFAULT", "event efault"] if answer else [])
