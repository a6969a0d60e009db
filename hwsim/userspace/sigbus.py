"""What a task has arranged for SIGBUS, and what its handler does to the page that it is told about."""

from __future__ import annotations

from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.memory import do_sigbus
from hwsim.kernel.mm.mmap import zap_entries
from hwsim.kernel.mm.swap import free_pages_and_swap_cache
from hwsim.kernel.mm_types import Signal
from hwsim.kernel.signal import BUS_MCEERR_AO
from hwsim.spec import SigbusSpec

UNCAUGHT = ("default", "ignored", "blocked")  # no handler: what is delivered all the same kills


def action_of(spec: SigbusSpec, signal: Signal) -> str:
    """What the task does with a signal of this code."""
    return spec.on_ao if signal.code == BUS_MCEERR_AO else spec.on_ar


def by_step(signal: Signal) -> bool:
    """Whether a step of the script is what the signal is about: no bad line has done it."""
    return signal.failure.error < 0


def touch_page(kernel: Kernel, signal: Signal) -> bool:
    """The handler touches the page that it is told about: whether that is fatal, as SIGBUS is blocked."""
    if not by_step(signal):
        return kernel.watcher.handler_touches(signal)
    vma = signal.vma
    if vma is None or signal.address is None:
        return False
    do_sigbus(kernel, vma, vma.pgoff_of(signal.address), signal.code, signal.failure)
    return True


def map_fresh_page(kernel: Kernel, signal: Signal) -> None:
    """mmap(MAP_FIXED) over the page: whatever the entry led to, a healthy copy too, loses it."""
    vma = signal.vma
    if vma is None or by_step(signal):
        return
    page = kernel.watcher.page_of(signal)
    if page is not None:
        pages = zap_entries(vma, range(page.pgoff, page.pgoff + 1))
        free_pages_and_swap_cache(kernel, pages)
    kernel.watcher.remapped(signal)


def repeat_access(kernel: Kernel, signal: Signal) -> None:
    """The handler has returned to the access that ``signal`` came from."""
    if signal.again is not None:
        signal.again()
    elif not by_step(signal):
        kernel.watcher.access_repeated(signal)
