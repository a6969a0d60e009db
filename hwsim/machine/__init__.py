"""The machine: its parts made and wired, from power-on to the records it leaves."""

from hwsim.machine.machine import Machine, Plan, rehearse, run_replication

__all__ = ["Machine", "Plan", "rehearse", "run_replication"]
