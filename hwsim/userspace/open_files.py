"""The files that a process has open: one session after another, inherited by children, closed at exit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.kernel.filemap_error import close_file, open_file

if TYPE_CHECKING:
    from hwsim.userspace.tasks import Member


def open_own_file(member: Member) -> None:
    """open() of the file of the fsync table, when the process starts."""
    fsync = member.group.spec.fsync
    assert fsync is not None
    mapping = member.machine.kernel.mem_map.by_name[f"file:{fsync.file}"].mapping
    assert mapping is not None
    member.file = open_file(mapping, member.machine.engine.now)


def inherit_files(child: Member, parent: Member) -> None:
    """fork(): descriptors are copied, each struct file is shared."""
    assert child.task is not None and parent.task is not None
    child.file = parent.file
    child.task.files = dict(parent.task.files)
    for file in (*child.task.files.values(), child.file):
        if file is not None:
            file.users += 1


def close_files(member: Member) -> None:
    """exit_files(): nobody reads what close() has to say."""
    task, machine = member.task, member.machine
    assert task is not None
    files = [*task.files.values(), member.file]
    task.files, member.file = {}, None
    for file in files:
        if file is None:
            continue
        unheard = close_file(machine.kernel, file) != 0
        watch = machine.lost_writes.of(file.mapping)
        if watch is not None:
            watch.closed(unheard=unheard)
            watch.arm()
