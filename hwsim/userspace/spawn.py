"""How a process comes to be: exec and fork make a Task and its mappings for the place of a process."""

from __future__ import annotations

from hwsim.kernel.mm.memory import copy_page_range
from hwsim.kernel.mm.mmap import do_mmap, dup_vma, vma_number
from hwsim.kernel.mm_types import Region, Task
from hwsim.spec import ScriptStep
from hwsim.userspace.open_files import file_to_map, inherit_files, open_own_files
from hwsim.userspace.sigbus import UNCAUGHT
from hwsim.userspace.user_task import Supervisor, UserTask


def execve(member: UserTask, pid: int, script: tuple[ScriptStep, ...], *, first: bool) -> None:
    """A new process: exec, map everything, populate; the ``first`` of a group fills what all share."""
    task, group = _new_task(member, pid, None), member.group
    open_own_files(member, task, script)
    revived: list[Region] = []
    for nth, spec in enumerate(group.spec.regions):
        if spec.name in group.common:
            _map_common(member, task, nth, revived, first=first)
        elif spec.name in member.private:  # other memory of its own waits until somebody looks at it
            _take(member.private[spec.name], task.started_ns, revived)
            _map_own(task, nth, group, member.private[spec.name])
    task.vmas_made, task.next_start = len(group.spec.regions), group.starts[-1]
    _is_there(member, revived)


def fork(child: UserTask, pid: int) -> None:
    """A new child of the parent's process: its mappings are copied, poison entries with them."""
    kernel, now_ns = child.kernel, child.engine.now_ns
    assert child.parent is not None and child.parent.task is not None
    parent = child.parent.task
    task = _new_task(child, pid, parent)
    for copies in child.copies.values():
        copies.vmas = []
    revived: list[Region] = []
    for key, origin in parent.vmas.items():
        vma = dup_vma(task, key, origin, now_ns)
        own = child.copies.get(origin.name)
        if own is not None:
            own.vmas.append(vma)
            _take(own, now_ns, revived)
        copy_page_range(kernel, origin, vma)
    inherit_files(child, child.parent)
    _is_there(child, revived)
    kernel.event("fork", task=child.name, pid=pid, parent=parent.pid)


def _new_task(member: UserTask, pid: int, parent: Task | None) -> Task:
    spec = member.group.spec
    task = Task(member.name, spec.name, pid, member.number, member.engine.now_ns, member, parent)
    on_ao = spec.sigbus.on_ao
    task.ignored = on_ao == "ignored"
    task.blocked = on_ao == "blocked"
    task.caught = on_ao not in UNCAUGHT
    if parent is None:
        task.mce_kill = spec.mce_kill
    member.become(task)
    return task


def _map_common(member: UserTask, task: Task, nth: int, revived: list[Region], *, first: bool) -> None:
    """The nth region of the group: a file, or a segment of all."""
    group, now_ns = member.group, task.started_ns
    spec = group.spec.regions[nth]
    region, file = group.common[spec.name], None
    mapping = region.mapping
    if spec.file is not None:
        mapping = member.kernel.mem_map.by_name[f"file:{spec.file}"].mapping
        file = file_to_map(task, spec.file, mapping, now_ns)
    else:
        _take(region, now_ns, revived)
    vma = do_mmap(
        task,
        spec.name,
        region,
        spec.pages,
        since_ns=now_ns,
        start=group.starts[nth],
        number=vma_number(task, nth),
        shared=True,
        mapping=mapping,
        anon_vma=region.anon_vma if mapping is None else None,
        mlocked=spec.mlock,
        populated=spec.populate and (file is not None or first),
        file=file,
    )
    if file is None:
        region.vmas.append(vma)
    elif region.mapping is not None:
        region.vmas = [vma]


def _map_own(task: Task, nth: int, group: Supervisor, region: Region) -> None:
    """The nth region of the group is memory of the process alone."""
    spec = group.spec.regions[nth]
    vma = do_mmap(
        task,
        spec.name,
        region,
        spec.pages,
        since_ns=task.started_ns,
        start=group.starts[nth],
        number=vma_number(task, nth),
        mapping=region.mapping,
        anon_vma=region.anon_vma if region.mapping is None else None,
        mlocked=spec.mlock,
        populated=spec.populate,
    )
    if region.mapping is not None:
        region.vmas = [vma]


def see_own(member: UserTask, region: Region, name: str) -> None:
    """Somebody looks at memory of the place: its first process has mapped it since its start, or is dead."""
    if member.parent is not None:
        member.copies[name] = region
        return
    if name in member.private:
        return
    member.private[name] = region
    task, group = member.task, member.group
    if task is not None and not task.alive:
        region.release()
    elif task is not None:
        nth = next(n for n, spec in enumerate(group.spec.regions) if spec.name == name)
        _map_own(task, nth, group, region)
        task.vmas = dict(sorted(task.vmas.items(), key=lambda each: each[1].number))


def _take(region: Region, now_ns: int, revived: list[Region]) -> None:
    if not region.alive:
        region.revive(now_ns)
        revived.append(region)


def _is_there(member: UserTask, revived: list[Region]) -> None:
    """All is mapped: now frames with a bad line have a new owner."""
    member.kernel.process_count += 1
    for region in revived:
        member.kernel.watcher.revived(region)
