"""The machine: its parts made and wired, from power-on to the records it leaves."""

from hwsim.machine.machine import Machine
from hwsim.machine.replication import rehearse, run_replication, run_replications
from hwsim.memory.layout import MemoryLayout

__all__ = ["Machine", "MemoryLayout", "rehearse", "run_replication", "run_replications"]
