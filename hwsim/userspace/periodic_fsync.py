"""The fsync() that a task calls again and again: its phase, and since when the inode reckons with it."""

from __future__ import annotations

from hwsim.kernel.writeback import Inode
from hwsim.rng import Draws, Slot
from hwsim.spec import FsyncSpec
from hwsim.userspace.user_task import UserTask

_FSYNC = -1_000_000  # and below, one for each place: names of draws


def draw_phase(member: UserTask, fsync: FsyncSpec, draws: Draws) -> None:
    """At the boot: the calls of the place come in this phase, whoever is in it."""
    member.fsync_ns = member.engine.now_ns + phase_ns(member.number, fsync, draws)
    inode = _inode(member)
    if inode is not None:
        member.fsync_call = member.fsync_ns, fsync.every_ns
        inode.calls.append(member.fsync_call)


def phase_ns(number: int, fsync: FsyncSpec, draws: Draws) -> int:
    """How long after the boot the place with this number calls first."""
    return int(draws.extra(_FSYNC - number, Slot.PHASE) * fsync.every_ns)


def begin_calls(member: UserTask, fsync: FsyncSpec) -> None:
    """A new process goes on in the phase of the one before it."""
    if not member.alive or member.fsync_call is not None:
        return
    inode = _inode(member)
    if inode is not None:
        member.fsync_call = inode.call_begins(member.engine.now_ns, member.fsync_ns, fsync.every_ns)


def end_calls(member: UserTask) -> None:
    """Who is gone calls nothing."""
    inode = None if member.fsync_call is None else _inode(member)
    if inode is not None and member.fsync_call is not None:
        inode.call_ends(member.engine.now_ns, member.fsync_call)
        member.fsync_call = None


def _inode(member: UserTask) -> Inode | None:
    """What the calls write back, once anybody has looked at it."""
    asked = member.group.asked
    return None if asked is None else asked.host
