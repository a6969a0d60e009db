"""One booted kernel by itself: allocations that fail, pauses while all CPUs meet, sysctls, waiters."""

from __future__ import annotations

from typing import Any

import pytest

from hwsim.engine import HANDLER_STEP
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.meminfo import meminfo_proc_show
from hwsim.kernel.ports import Halted
from hwsim.machine import Machine, MemoryLayout
from hwsim.rng import ROW, Slot
from tests.support.worlds import PFN, world


def _kernel(**more: Any) -> Kernel:
    spec = world(**more)
    return Machine(spec, 0, MemoryLayout(spec)).kernel


def _report(u: float) -> MemoryFailure:
    return MemoryFailure(0, PFN, [u] * ROW, lambda _error, slot, _k: u if slot == Slot.ATOMIC_ALLOC else 0.5)


@pytest.mark.parametrize(("u", "granted"), [(0.0, False), (0.2499, False), (0.25, True), (0.9, True)])
def test_an_atomic_allocation_fails_by_chance_and_the_first_never(u: float, granted: bool) -> None:
    failslab = _kernel(atomic_alloc_fail=0.25).failslab
    failed = [failslab.should_fail(_report(u), number) for number in (0, 1, 2)]
    assert failed == [False, not granted, not granted]
    assert not _kernel().failslab.should_fail(_report(0.0), 1)


def test_as_many_allocations_fail_as_are_asked_to() -> None:
    failslab = _kernel().failslab
    failslab.times = 2
    assert [failslab.should_fail(_report(0.5), number) for number in range(4)] == [True, True, False, False]


def test_a_pause_ends_when_the_cpus_go_on() -> None:
    """A rendezvous that begins within the pause stops it; one that begins in the wait prolongs the wait."""
    kernel = _kernel()
    ends: list[int] = []

    def handler(delay_ns: int) -> Any:
        yield from kernel.pause(delay_ns)
        ends.append(kernel.engine.now_ns)

    def stall(at_ns: int, until_ns: int) -> None:
        kernel.engine.at(at_ns, HANDLER_STEP, lambda _event: setattr(kernel, "stalled_until_ns", until_ns))

    for delay_ns in (10, 50, 100, 200):
        kernel.engine.process(handler(delay_ns))
    stall(40, 90)
    stall(80, 120)
    kernel.engine.run(1_000)
    assert ends == [10, 120, 120, 200]


def test_nothing_goes_on_after_a_panic() -> None:
    kernel = _kernel()
    ends: list[str] = []

    def handler(delay_ns: int) -> Any:
        try:
            yield from kernel.pause(delay_ns)
        except Halted:
            ends.append(f"halted {kernel.engine.now_ns}")

    kernel.engine.at(5, HANDLER_STEP, lambda _event: setattr(kernel, "halted", True))
    kernel.engine.process(handler(10))
    kernel.engine.run(1_000)
    assert ends == ["halted 10"]


def test_sysctls_answer_as_proc_does() -> None:
    early = "vm.memory_failure_early_kill"
    v5, merged = _kernel().sysctl, _kernel(kernel="2.6.32").sysctl
    assert [(v5.set(early, value), v5.early_kill) for value in (0, 2, 1)] == [(0, 0), (-22, 0), (0, 1)]
    assert v5.set("vm.memory_failure_recovery", 1) == -2  # no such file
    answers = [(merged.set("vm.memory_failure_recovery", value), merged.recovery) for value in (0, 2, 1, -1)]
    assert answers == [(0, 0), (-22, 0), (0, 1), (-22, 1)]
    assert [v5.set("vm.dirty_expire_centisecs", value) for value in (1, 0)] == [0, 0]
    assert v5.set("vm.swappiness", 1) == -2


def test_a_booted_kernel_has_seen_no_bad_page() -> None:
    kernel = _kernel()
    assert (kernel.mce_bad_pages, kernel.poisoned_pages, kernel.mem_map.lost_blocks) == (0, 0, set())
    line = kernel.profile.meminfo
    assert meminfo_proc_show(line, 0).split() == ["BadPages:", "0", "kB"]
    assert meminfo_proc_show(line, 3).split()[1:] == ["12", "kB"]
