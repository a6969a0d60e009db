"""The page lock and the writeback state, and who sleeps until they change (mm/filemap.c, 2.6.30)."""

from __future__ import annotations

from hwsim.engine import HANDLER_STEP, Bell, Steps
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import Page
from hwsim.kernel.page_flags import LOCKED, WRITEBACK
from hwsim.rng import Slot


def trylock_page(page: Page) -> bool:
    """Take the page lock; False if somebody else has it."""
    if page.flags & LOCKED:
        return False
    page.flags |= LOCKED
    return True


def lock_page_nosync(kernel: Kernel, page: Page, failure: MemoryFailure) -> Steps:
    """Wait, uninterruptibly and without bound, for the page lock (of the page, not of the head)."""
    delay = kernel.times.lock_wait.draw(failure.draw(Slot.LOCK_WAIT))
    if delay:
        yield from kernel.pause(delay)
    while page.flags & LOCKED:
        yield from wait_on_page(kernel, page)
    page.flags |= LOCKED


def unlock_page(page: Page) -> None:
    """Let the next waiter have the page lock."""
    page.flags &= ~LOCKED
    wake_up_page(page)


def set_page_writeback(page: Page) -> None:
    """I/O of the page begins, and ends when end_page_writeback() is told."""
    page.flags |= WRITEBACK
    page.writeback_until_ns = 0


def end_page_writeback(page: Page) -> None:
    """The I/O is done: the page is clean unless it was stored to again."""
    page.flags &= ~WRITEBACK
    page.writeback_until_ns = 0
    wake_up_page(page)


def end_io(page: Page, now_ns: int) -> None:
    """A write-out that was under way when somebody first looked at the page is over by now."""
    if page.writeback_until_ns and page.writeback_until_ns <= now_ns:
        page.flags &= ~WRITEBACK
        page.writeback_until_ns = 0


def wait_on_page_writeback(kernel: Kernel, page: Page) -> Steps:
    """Wait, without bound, until the page is no longer under I/O."""
    if page.writeback_until_ns > kernel.engine.now_ns:
        yield from kernel.pause(page.writeback_until_ns - kernel.engine.now_ns)
    end_io(page, kernel.engine.now_ns)
    while page.flags & WRITEBACK:
        yield from wait_on_page(kernel, page)


def wait_on_page(kernel: Kernel, page: Page) -> Steps:
    """Sleep until the page's lock or writeback state changes."""
    bell = Bell(kernel.engine)
    page.waiters.append(bell)
    yield bell
    yield from kernel.stalled()


def wake_up_page(page: Page) -> None:
    """Wake those who sleep in wait_on_page(), in the order they came."""
    waiters, page.waiters = page.waiters, []
    for bell in waiters:
        bell.ring(0, HANDLER_STEP)
