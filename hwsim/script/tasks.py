"""Verbs of tasks and their address spaces: fork, exit, mmap and its kin, signals, settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simpy import Event

from hwsim.bad_lines.bad_line import BadLine
from hwsim.kernel.frames import Layout
from hwsim.kernel.mm.filemap import file_left
from hwsim.kernel.mm.mmap import (
    do_mmap,
    find_range,
    find_vma,
    isolate_range,
    mlock_fixup,
    move_vma,
    remove_vma,
    zap_entries,
)
from hwsim.kernel.mm_types import PRESENT, AddressSpace, Page, Region, Task, Vma
from hwsim.kernel.signal import unblock
from hwsim.kernel.sysctl import EINVAL
from hwsim.memory.kinds import FILE, REGIONS
from hwsim.script.errors import TRAP_MADVISE, line_to_poison, start_injector
from hwsim.script.files import punch_hole
from hwsim.script.frames import changed, free_run, let_go
from hwsim.script.pages import file_of, first_pgoff, frames_of, page_in_vma, vmas_of
from hwsim.script.step import Step
from hwsim.script.touch import touch
from hwsim.units import PAGE_SHIFT
from hwsim.userspace.open_files import file_to_map
from hwsim.userspace.user_task import user_task


def fork(step: Step) -> None:
    """The task forks; the child has the next free number."""
    parent = step.member()
    child = step.processes.fork(parent)
    for vma in parent.task.vmas.values() if parent.task is not None else ():
        for pte in vma.ptes.values():
            if pte.kind == PRESENT:
                changed(step, pte.page)
    step.result(child.task.pid if child.task is not None else 0, child=child.name)


def exit_(step: Step) -> None:
    """The task exits."""
    member = step.member()
    assert member.task is not None
    step.kernel.event("exit", task=member.name, pid=member.task.pid)
    member.group.die(member, None, by_step=True)


def mmap(step: Step) -> None:
    """A new region; its pages come with the first touch."""
    args, task, kernel = step.args, step.task(), step.kernel
    use, name, now = REGIONS[args["kind"]], args["name"], kernel.engine.now_ns
    mapping = opened = None
    if use.of_file:
        file = file_of(step, args["file"])
        pages = args.get("pages", file.layout.pages)
        region = kernel.mem_map.carve(Layout(f"{task.name}/{name}", FILE, -1, pages, populate=False))
        mapping, opened = file.mapping, file_to_map(task, args["file"], file.mapping, now)
    else:
        pages = args["pages"]
        order = use.huge_pages[0][1] if use.huge else 0
        region = carve(
            step, f"{task.name}/{name}", args["kind"], pages, order, key="size", is_hugetlb=use.huge
        )
        if use.filesystem:
            mapping = region.mapping = AddressSpace(region.name, use.filesystem)
            user_task(task).group.shared.append(region)
        else:
            user_task(task).private[name] = region
    vma = do_mmap(
        task,
        name,
        region,
        pages,
        since_ns=now,
        shared=args.get("shared", mapping is not None),
        mapping=mapping,
        anon_vma=region.anon_vma if mapping is None else None,
        populated=use.huge,  # there is no other moment when a huge page would come
        file=opened,
    )
    if use.filesystem:
        region.vmas.append(vma)


def carve(
    step: Step, name: str, kind: str, pages: int, order: int, *, key: str, is_hugetlb: bool = False
) -> Region:
    """Frames for a new region, from free memory; ``key`` is the argument that says how many."""
    kernel = step.kernel
    first = free_run(step, pages, order, key)
    layout = Layout(name, kind, first, pages, order=order, populate=False, is_hugetlb=is_hugetlb)
    region = kernel.mem_map.carve(layout)
    region.since_ns = kernel.engine.now_ns
    step.bad_lines.given_out(first, pages)
    return region


def munmap(step: Step) -> None:
    """Entries and mappings of the range go."""
    task = step.task()
    for vma in _range(step, task):
        pages = _zap(step, vma, range(vma.pgoff, vma.pgoff + vma.pages), stays=False)
        remove_vma(task, vma)  # before anybody looks at the pages again: a mapping that lives may be used
        let_go(step, pages)
        if vma.file is not None:
            file_left(step.kernel, vma.file.mapping)
    _settle_copies(task)


def _range(step: Step, task: Task) -> list[Vma]:
    """The VMAs of the step's range, cut at both ends of it."""
    _pieces(step, task)
    name = step.args["region"]
    parts = isolate_range(task, name, step.args["first"] + first_pgoff(task, name), step.args["pages"])
    _settle_copies(task)
    return parts


def _pieces(step: Step, task: Task) -> list[tuple[Vma, range]]:
    """The VMAs that the step's range meets, as they are, and the page offsets it covers of each."""
    name, pages = step.args["region"], step.args["pages"]
    return find_range(task, name, step.args["first"] + first_pgoff(task, name), pages)


def _settle_copies(task: Task) -> None:
    """The region of a child's own copies knows the VMAs that lead to it."""
    for name, copies in user_task(task).copies.items():
        copies.vmas = [vma for vma in task.vmas.values() if vma.name == name]


def _zap(step: Step, vma: Vma, covered: range, *, stays: bool) -> list[Page]:
    """zap_page_range(); pages that nobody has looked at are looked at before they go, if that can matter.

    It does where the VMA ``stays``, so that a later look would find them there again, and where its stores
    have made pages dirty that others share.
    """
    if stays or (vma.mapping is not None and any(store for _, store in vma.region.rates)):
        for pgoff in covered:
            page_in_vma(step, vma, pgoff)
    return zap_entries(vma, covered)


def mremap(step: Step) -> None:
    """The range moves to another address, with its entries."""
    task, name = step.task(), step.args["to"]
    base = first_pgoff(task, step.args["region"])
    for vma in _range(step, task):
        moved = move_vma(task, vma, name)
        copies = user_task(task).copies.get(vma.name)
        if copies is not None:
            user_task(task).copies[name] = copies
        step.facts["address"] = moved.start << PAGE_SHIFT
    task.offsets[name] = base + step.args["first"]


def mprotect(step: Step) -> None:
    """Write permission of the range."""
    for vma in _range(step, step.task()):
        vma.writable = step.args["write"]
        for pte in vma.ptes.values():
            pte.writable = pte.writable and step.args["write"]


def mlock(step: Step) -> None:
    """Every page of the region is locked in memory."""
    for vma in vmas_of(step, step.task(), step.args["region"]):
        mlock_fixup(step.kernel, vma, locked=True)


def munlock(step: Step) -> None:
    """The pages can be reclaimed again."""
    for vma in vmas_of(step, step.task(), step.args["region"]):
        mlock_fixup(step.kernel, vma, locked=False)


def madvise(step: Step) -> None:
    """dontneed: the pages are dropped; remove: out of the file too; hwpoison: the injector of patch 15.

    None cuts a VMA.  What is locked in memory is needed, huge pages are not asked for, and a hole takes a
    file and the right to write to it (madvise_dontneed() and madvise_remove(), mm/madvise.c of 2.6.30).
    """
    task, bad_lines = step.task(), step.bad_lines
    pieces = _pieces(step, task)
    advice = step.args["advice"]
    for vma, covered in pieces if advice != "hwpoison" else ():
        has_file = vma.mapping is not None or advice == "dontneed"
        if vma.mlocked or vma.region.layout.is_hugetlb or not has_file:
            step.result("EINVAL")
            return
        if advice == "dontneed":
            let_go(step, _zap(step, vma, covered, stays=True))
        elif vma.writable:
            punch_hole(step, frames_of(step, vma), covered)
        else:
            step.result("EACCES")
            return
    if advice != "hwpoison":
        return
    number = bad_lines.error_count
    bad_lines.error_count += step.args["pages"]  # whatever becomes of the pages: see Script
    start_injector(step, _madvise_hwpoison(step, task, number), TRAP_MADVISE)


def _madvise_hwpoison(step: Step, task: Task, number: int) -> Iterator[BadLine | Event]:
    """The pages of the range, each found, printed and handed over before the next is looked for.

    get_user_pages() reads no line of a page that is mapped; any other it faults in, and may have to wait
    for.  A task that has been killed meanwhile finds no more.
    """
    bad_lines, name = step.bad_lines, step.args["region"]
    first = step.args["first"] + first_pgoff(task, name)
    for pgoff in range(first, first + step.args["pages"]):
        vma = find_vma(task, name, pgoff)
        page = None
        if task.alive and vma is not None:
            page = page_in_vma(step, vma, pgoff)
            if page is None or vma not in (page.head or page).ptes:
                yield from touch(step, vma, pgoff, store=False)
                page = page_in_vma(step, vma, pgoff)
        if page is None or vma is None or not task.alive or step.kernel.halted:
            step.result("EFAULT")
            return
        step.kernel.printk("madvise", page.pfn, vma.address(pgoff))
        others, bad_lines.error_count = bad_lines.error_count, number + pgoff - first
        line = line_to_poison(step, page.pfn)
        bad_lines.error_count = others
        yield line


def mask(step: Step) -> None:
    """The task blocks SIGBUS."""
    step.task().blocked = True


def unmask(step: Step) -> None:
    """The task unblocks SIGBUS; a pending one is delivered."""
    unblock(step.task())


def sysctl(step: Step) -> None:
    """Write a sysctl."""
    result = step.kernel.sysctl.set(step.args["name"], step.args["value"])
    if step.args["name"].startswith("vm.dirty_"):
        for region in step.kernel.mem_map.regions:
            if region.mapping is not None and region.mapping.host is not None:
                step.kernel.watcher.sharers_changed(region)
    step.result("EINVAL" if result == -EINVAL else result)


def prctl(step: Step) -> None:
    """prctl(): early or late kill for one task, in kernels that have it."""
    result = step.kernel.profile.prctl(step.task(), step.args["option"], str(step.args["value"]))
    step.result("EINVAL" if result == -EINVAL else result)


def reboot(step: Step) -> None:
    """An orderly reboot."""
    step.power.restart()


PLAYS: dict[str, Callable[[Step], None]] = {
    "fork": fork,
    "exit": exit_,
    "mmap": mmap,
    "munmap": munmap,
    "mremap": mremap,
    "mprotect": mprotect,
    "mlock": mlock,
    "munlock": munlock,
    "madvise": madvise,
    "mask": mask,
    "unmask": unmask,
    "sysctl": sysctl,
    "prctl": prctl,
    "reboot": reboot,
}
