"""Sysctls of the error handler and of writeback (kernel/sysctl.c, mm/page-writeback.c; 2.6.30, 2.6.32)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwsim.engine import Engine
from hwsim.kernel.mem_map import MemMap
from hwsim.kernel.writeback import Flusher
from hwsim.units import CENTISEC_NS

ENOENT, EINVAL = 2, 22


@dataclass(slots=True, eq=False)
class Sysctl:
    """What stands in /proc/sys/vm.

    Life: one boot.  :meth:`set` writes a value at any time; who goes by one reads it when it matters.
    """

    names: frozenset[str]  # of the error handler's, those that this kernel has
    set_interval: Callable[[Flusher, int, int], None]
    engine: Engine
    mem_map: MemMap
    flusher: Flusher
    early_kill: int
    recovery: int

    def set(self, name: str, value: int) -> int:
        """Write a sysctl; 0, or -EINVAL with the value unchanged (proc_dointvec_minmax)."""
        if name == "vm.memory_failure_early_kill":
            self.early_kill = value if value in (0, 1) else self.early_kill
            return 0 if value in (0, 1) else -EINVAL
        if name == "vm.memory_failure_recovery" and name in self.names:
            self.recovery = value if value in (0, 1) else self.recovery
            return 0 if value in (0, 1) else -EINVAL
        if name == "vm.dirty_expire_centisecs" and value >= 0:
            self._advance_inodes()
            self.flusher.set_expire(self.engine.now_ns, value * CENTISEC_NS)
            return 0
        if name == "vm.dirty_writeback_centisecs" and value >= 0:
            self._advance_inodes()
            self.set_interval(self.flusher, self.engine.now_ns, value * CENTISEC_NS)
            return 0
        return -EINVAL if name.startswith("vm.dirty_") else -ENOENT

    def _advance_inodes(self) -> None:
        """What has been written out so far went by the sysctls as they were."""
        for region in self.mem_map.regions:
            if region.mapping is not None and region.mapping.host is not None:
                region.mapping.host.advance(self.engine.now_ns)
