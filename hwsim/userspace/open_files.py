"""The files that a process has open: one session after another, inherited by children, closed at exit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hwsim.kernel.mm.filemap import close_file, file_left, open_file
from hwsim.kernel.mm_types import AddressSpace, OpenFile, Task
from hwsim.spec import DEFAULT_FD, ScriptStep
from hwsim.userspace.user_task import UserTask

_USES = ("read", "write", "fsync", "fdatasync", "sync_file_range", "close")


def implicit_descriptors(steps: Iterable[ScriptStep], root: str, now_ns: int) -> list[tuple[str, str]]:
    """(file, fd) that a process starting now has open from the start.

    Those that the script goes on to use, in it or in its children, before anybody opens them.  Plain
    read() and write() go through whatever descriptor of the file there is.
    """
    first: dict[tuple[str, str], bool] = {}
    opened = set()
    for step in sorted(steps, key=lambda each: each.at_ns):
        args = step.args
        if step.at_ns < now_ns or ".".join(str(args.get("task")).split(".")[:2]) != root:
            continue
        if step.verb == "open":
            opened.add(args["file"])
        if step.verb == "open" or step.verb in _USES:
            plain = step.verb in ("read", "write") and not args.get("sync")
            if not plain or args["file"] not in opened:
                first.setdefault((args["file"], args.get("fd", DEFAULT_FD)), step.verb != "open")
    return [key for key, used in first.items() if used]


def open_own_files(member: UserTask, task: Task, script: Sequence[ScriptStep]) -> None:
    """open() when the process starts: the file of its fsync table, and what the script takes as open."""
    by_name, now = member.kernel.mem_map.by_name, member.engine.now_ns
    open_asked(member)
    for key in implicit_descriptors(script, member.name, now) if script else ():
        region = by_name.get(f"file:{key[0]}")
        if region is None:  # the step itself will say so
            continue
        mapping = region.mapping
        assert mapping is not None
        task.files[key] = open_file(mapping, now).get()


def open_asked(member: UserTask) -> None:
    """The file of its fsync table, once anybody has looked at it."""
    if member.group.asked is not None:
        member.file = open_file(member.group.asked, member.engine.now_ns).get()


def file_to_map(task: Task, name: str | None, mapping: AddressSpace | None, now_ns: int) -> OpenFile:
    """The struct file that mmap() takes: of the open descriptor, or of one that is closed after."""
    assert name is not None and mapping is not None
    return task.files.get((name, DEFAULT_FD)) or open_file(mapping, now_ns)


def inherit_files(child: UserTask, parent: UserTask) -> None:
    """fork(): descriptors are copied, each struct file is shared."""
    assert child.task is not None and parent.task is not None
    child.file = parent.file
    child.task.files = dict(parent.task.files)
    for file in (*child.task.files.values(), child.file):
        if file is not None:
            file.get()


def close_files(member: UserTask) -> None:
    """exit_files(), once the mappings are gone: nobody reads what close() has to say."""
    task, kernel = member.task, member.kernel
    assert task is not None
    if task.files or member.file is not None:
        files = [*task.files.values(), member.file]
        task.files, member.file = {}, None
        for file in files:
            if file is not None:
                unheard = close_file(kernel, file) != 0
                file_left(kernel, file.mapping, unheard=unheard)
    for vma in task.vmas.values():
        if vma.file is not None:
            file_left(kernel, vma.file.mapping)
