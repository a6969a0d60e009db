"""How a process comes to be: exec and fork make a Task and its mappings for the place of a process."""

from __future__ import annotations

from hwsim.kernel.mm.memory import copy_page_range
from hwsim.kernel.mm.mmap import do_mmap, dup_vma, next_number, unmapped_area
from hwsim.kernel.mm_types import Region, Task
from hwsim.spec import RegionSpec, ScriptStep
from hwsim.userspace.open_files import file_to_map, inherit_files, open_own_files
from hwsim.userspace.sigbus import UNCAUGHT
from hwsim.userspace.user_task import UserTask


def execve(member: UserTask, pid: int, script: tuple[ScriptStep, ...], *, first: bool) -> None:
    """A new process: exec, map everything, populate; the ``first`` of a group fills what all share."""
    task = _new_task(member, pid, None)
    open_own_files(member, task, script)
    revived: list[Region] = []
    for spec in member.group.spec.regions:
        _map(member, task, spec, revived, first=first)
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


def _map(member: UserTask, task: Task, spec: RegionSpec, revived: list[Region], *, first: bool) -> None:
    """One region: memory of its own, a file, or a segment of the group."""
    common, now_ns = member.group.common.get(spec.name), member.engine.now_ns
    if common is None:
        own = member.private.get(spec.name)
        if own is None:
            member.unseen[spec.name] = spec, unmapped_area(task, spec.pages), next_number(task)
        else:
            _take(own, now_ns, revived)
            _map_own(task, spec, own, unmapped_area(task, spec.pages), next_number(task))
        return
    mapping, file = common.mapping, None
    if spec.file is not None:
        mapping = member.kernel.mem_map.by_name[f"file:{spec.file}"].mapping
        file = file_to_map(task, spec.file, mapping, now_ns)
    else:
        _take(common, now_ns, revived)
    vma = do_mmap(
        task,
        spec.name,
        common,
        spec.pages,
        since_ns=now_ns,
        shared=True,
        mapping=mapping,
        anon_vma=common.anon_vma if mapping is None else None,
        mlocked=spec.mlock,
        populated=spec.populate and (file is not None or first),
        file=file,
    )
    if file is None:
        common.vmas.append(vma)
    elif common.mapping is not None:
        common.vmas = [vma]


def _map_own(task: Task, spec: RegionSpec, region: Region, start: int, number: int) -> None:
    vma = do_mmap(
        task,
        spec.name,
        region,
        spec.pages,
        since_ns=task.started_ns,
        start=start,
        number=number,
        mapping=region.mapping,
        anon_vma=region.anon_vma if region.mapping is None else None,
        mlocked=spec.mlock,
        populated=spec.populate,
    )
    if region.mapping is not None:
        region.vmas = [vma]


def see_own(member: UserTask, region: Region, name: str) -> None:
    """Somebody first looks at memory of the place: its process has mapped it since its start, or is dead."""
    if member.parent is not None:
        member.copies[name] = region
        return
    member.private[name] = region
    unseen, task = member.unseen.pop(name, None), member.task
    if unseen is None or task is None:
        return
    if task.alive:
        _map_own(task, unseen[0], region, *unseen[1:])
        task.vmas = dict(sorted(task.vmas.items(), key=lambda each: each[1].number))
    else:
        region.release()


def _take(region: Region, now_ns: int, revived: list[Region]) -> None:
    if not region.alive:
        region.revive(now_ns)
        revived.append(region)


def _is_there(member: UserTask, revived: list[Region]) -> None:
    """All is mapped: now frames with a bad line have a new owner."""
    member.kernel.process_count += 1
    for region in revived:
        member.kernel.watcher.revived(region)
