"""Changing parts of an address space (mm/mmap.c, mm/mremap.c of 2.6.30): VMAs are split and moved."""

from __future__ import annotations

from hwsim.kernel.mm_types import PRESENT, AddressSpace, OpenFile, Page, Region, Task, Vma
from hwsim.kernel.page_flags import ANON, DIRTY


def do_mmap(
    task: Task,
    name: str,
    region: Region,
    pages: int,
    *,
    since_ns: int,
    start: int | None = None,
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
    number = task.number * 64 + task.vmas_made
    if task.vmas_made >= 64:  # out of the way of the next task's
        number = 1 << 40 | task.number << 20 | task.vmas_made
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


def zap_entries(vma: Vma, covered: range, *, even_cows: bool = True) -> list[Page]:
    """Drop the VMA's entries in a range of page offsets; returns the pages that lost an entry.

    Without ``even_cows`` what maps no page stays (zap_pte_range(), mm/memory.c: ``details``).
    """
    pages = []
    for pgoff, pte in [each for each in vma.ptes.items() if each[0] in covered]:
        page = pte.page
        if not even_cows and pte.kind != PRESENT:
            continue
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
    vma.close()
    if vma in vma.region.vmas:
        vma.region.vmas.remove(vma)


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
    copy = do_mmap(
        task,
        key,
        vma.region,
        pages,
        start=start,
        since_ns=vma.since_ns,
        shared=vma.shared,
        mapping=vma.mapping,
        anon_vma=vma.anon_vma,
        mlocked=vma.mlocked,
        populated=vma.populated,
        pgoff=pgoff,
        file=vma.file,
    )
    copy.name = name or vma.name
    copy.writable = vma.writable
    copy.forked_ns = vma.forked_ns
    if vma in vma.region.vmas:
        vma.region.vmas.append(copy)
    return copy


def _move_entries(old: Vma, new: Vma) -> None:
    for pgoff in [each for each in old.ptes if new.covers(each)]:
        pte = old.ptes.pop(pgoff)
        pte.vma = new
        new.ptes[pgoff] = pte
        if pte.page.ptes.get(old) is pte:
            del pte.page.ptes[old]
            pte.page.ptes[new] = pte
