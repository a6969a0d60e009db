"""Changing parts of an address space (mm/mmap.c, mm/mremap.c of 2.6.30): VMAs are split and moved."""

from __future__ import annotations

from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import PRESENT, AddressSpace, OpenFile, Page, Region, Task, Vma
from hwsim.kernel.page_flags import ANON, DIRTY, LRU, MLOCKED, UNEVICTABLE


def do_mmap(
    task: Task,
    name: str,
    region: Region,
    pages: int,
    *,
    since_ns: int,
    start: int | None = None,
    number: int | None = None,
    shared: bool = False,
    mapping: AddressSpace | None = None,
    anon_vma: list[Vma] | None = None,
    mlocked: bool = False,
    populated: bool = True,
    pgoff: int = 0,
    file: OpenFile | None = None,
) -> Vma:
    """mmap(): a new VMA, after the last one unless it is told where to ``start``."""
    if start is None:
        start = task.next_start
        task.next_start += pages + 16
    if number is None:
        number = vma_number(task, task.vmas_made)
        task.vmas_made += 1
    task.vmas[name] = vma = Vma(
        task,
        name,
        region,
        start,
        pages,
        since_ns=since_ns,
        shared=shared,
        mapping=mapping,
        anon_vma=anon_vma,
        mlocked=mlocked,
        populated=populated,
        pgoff=pgoff,
        file=file,
        number=number,
    )
    return vma


def vma_number(task: Task, nth: int) -> int:
    """The number of the nth VMA that the task makes: no other ever has it."""
    if nth >= 64:  # out of the way of the next task's
        return 1 << 40 | task.number << 20 | nth
    return task.number * 64 + nth


def find_vma(task: Task, name: str, pgoff: int) -> Vma | None:
    """The piece of region ``name`` that covers the page offset."""
    for vma in task.vmas.values():
        if vma.name == name and vma.covers(pgoff):
            return vma
    return None


def split_vma(task: Task, vma: Vma, pgoff: int) -> Vma:
    """Cut the VMA before ``pgoff``; the new one takes the upper part with its entries."""
    keep = pgoff - vma.pgoff
    upper = _copy(task, vma, vma.start + keep, vma.pages - keep, pgoff)
    vma.pages = keep
    _move_entries(vma, upper)
    return upper


def isolate_range(task: Task, name: str, first: int, pages: int) -> list[Vma]:
    """The VMAs that are exactly the range of page offsets, after cutting at both ends."""
    found = []
    for vma in [each for each in task.vmas.values() if each.name == name]:
        low, high = max(first, vma.pgoff), min(first + pages, vma.pgoff + vma.pages)
        if low >= high:
            continue
        part = split_vma(task, vma, low) if low > vma.pgoff else vma
        if high < part.pgoff + part.pages:
            split_vma(task, part, high)
        found.append(part)
    return found


def find_range(task: Task, name: str, first: int, pages: int) -> list[tuple[Vma, range]]:
    """The VMAs that the range of page offsets meets, uncut, each with the offsets that it covers of it."""
    found = []
    for vma in [each for each in task.vmas.values() if each.name == name]:
        covered = range(max(first, vma.pgoff), min(first + pages, vma.pgoff + vma.pages))
        if covered:
            found.append((vma, covered))
    return found


def zap_entries(vma: Vma, covered: range) -> list[Page]:
    """Drop the VMA's entries in a range of page offsets; returns the pages that lost an entry."""
    pages = []
    for pgoff, pte in [each for each in vma.ptes.items() if each[0] in covered]:
        page = pte.page
        if pte.kind == PRESENT and page.ptes.get(vma) is pte:
            del page.ptes[vma]
            if pte.dirty and not page.flags & ANON:
                page.flags |= DIRTY
        del vma.ptes[pgoff]
        pages.append(page)
    return pages


def remove_vma(task: Task, vma: Vma) -> None:
    """The VMA leaves the task and the reverse maps."""
    for key, each in list(task.vmas.items()):
        if each is vma:
            del task.vmas[key]
    _unlink(vma)


def _unlink(vma: Vma) -> None:
    """The VMA leaves the reverse maps and lets go of its file; its entries are dropped with it."""
    vma.alive = False
    if vma.anon_vma is not None:
        vma.anon_vma.remove(vma)
    if vma.mapping is not None:
        vma.mapping.vmas.remove(vma)
        if vma.mapping.host is not None:
            vma.mapping.host.rates_changed()
    if vma.file is not None:
        vma.file.put()
    if vma in vma.region.vmas:
        vma.region.vmas.remove(vma)


def exit_mm(task: Task) -> list[Page]:
    """Every mapping goes; dirty entries of shared pages leave their bit in PG_dirty.

    Returns the pages that have lost an entry, for free_pages_and_swap_cache().
    """
    pages = []
    for vma in task.vmas.values():
        pages += zap_entries(vma, range(vma.pgoff, vma.pgoff + vma.pages))
        _unlink(vma)
    return pages


def dup_vma(child: Task, key: str, origin: Vma, now_ns: int) -> Vma:
    """fork() copies a mapping (dup_mmap(), kernel/fork.c); its entries go with copy_page_range()."""
    vma = _like(origin, child, key, origin.start, origin.pages, origin.pgoff, since_ns=now_ns)
    vma.populated = origin.populated and not origin.shared
    if origin.region.mapping is not None:  # a segment knows who maps it
        origin.region.vmas.append(vma)
    origin.forked_ns = now_ns
    return vma


def mlock_fixup(kernel: Kernel, vma: Vma, *, locked: bool) -> None:
    """mlock(), munlock(): the pages that the mapping has cannot be reclaimed, or can be again."""
    flags = kernel.config.real_flags(MLOCKED | UNEVICTABLE)
    vma.mlocked = locked
    for pte in vma.ptes.values():
        page = pte.page
        if pte.kind != PRESENT or not page.flags & LRU:
            continue
        if locked:
            page.flags |= flags
        elif not any(each.mlocked for each in page.ptes):
            page.flags &= ~flags


def move_vma(task: Task, vma: Vma, name: str) -> Vma:
    """mremap(MREMAP_MAYMOVE): the entries go to another address; page offsets stay as they are."""
    start = task.next_start
    task.next_start += vma.pages + 16
    moved = _copy(task, vma, start, vma.pages, vma.pgoff, name)
    _move_entries(vma, moved)
    remove_vma(task, vma)
    return moved


def _copy(task: Task, vma: Vma, start: int, pages: int, pgoff: int, name: str = "") -> Vma:
    key = name or vma.name
    number = 0
    while key in task.vmas:
        number += 1
        key = f"{name or vma.name}#{number}"
    copy = _like(vma, task, key, start, pages, pgoff, since_ns=vma.since_ns)
    copy.name = name or vma.name
    copy.forked_ns = vma.forked_ns
    if vma in vma.region.vmas:
        vma.region.vmas.append(copy)
    return copy


def _like(vma: Vma, task: Task, key: str, start: int, pages: int, pgoff: int, *, since_ns: int) -> Vma:
    """A new VMA of the same region, with all that ``vma`` was told at mmap() and since."""
    copy = do_mmap(
        task,
        key,
        vma.region,
        pages,
        start=start,
        since_ns=since_ns,
        shared=vma.shared,
        mapping=vma.mapping,
        anon_vma=vma.anon_vma,
        mlocked=vma.mlocked,
        populated=vma.populated,
        pgoff=pgoff,
        file=vma.file,
    )
    copy.name, copy.writable = vma.name, vma.writable
    return copy


def _move_entries(old: Vma, new: Vma) -> None:
    for pgoff in [each for each in old.ptes if new.covers(each)]:
        pte = old.ptes.pop(pgoff)
        pte.vma = new
        new.ptes[pgoff] = pte
        if pte.page.ptes.get(old) is pte:
            del pte.page.ptes[old]
            pte.page.ptes[new] = pte
