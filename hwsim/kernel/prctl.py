"""prctl(PR_MCE_KILL): when one task wants to be killed (kernel/sys.c, 2.6.32)."""

from __future__ import annotations

from hwsim.kernel.mm_types import Task
from hwsim.kernel.sysctl import EINVAL

MCE_KILL = ("late", "early", "default")  # PR_MCE_KILL_LATE 0, EARLY 1, DEFAULT 2


def no_mce_kill(_task: Task, _option: str, _value: str) -> int:
    """A kernel that knows no such option."""
    return -EINVAL


def sys_prctl(task: Task, option: str, value: str) -> int:
    """prctl(PR_MCE_KILL, early | late | default) or PR_MCE_KILL_GET."""
    if option == "PR_MCE_KILL_GET":
        return MCE_KILL.index(task.mce_kill)
    if value not in MCE_KILL:
        return -EINVAL
    task.mce_kill = value
    return 0
