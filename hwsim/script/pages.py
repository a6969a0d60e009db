"""The pages that a step names: of a task's region, of a file, of the kernel, or by their frame."""

from __future__ import annotations

from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.mm.mmap import find_vma
from hwsim.kernel.mm.swap import is_on_swap
from hwsim.kernel.mm_types import Page, Region, Task, Vma
from hwsim.script.step import ScriptError, Step, StepSkipped
from hwsim.units import PAGE_SHIFT
from hwsim.userspace.user_task import user_task

_FIRST_ERROR_ID = -10_000_000  # names of the draws for pages that only a script has looked at


def pfn_of(step: Step) -> int:
    """The frame that the step names; it need not have a struct page."""
    ref = step.args["page"]
    return int(ref["pfn"]) if "pfn" in ref else page_of(step).pfn


def page_of(step: Step, key: str = "page") -> Page:
    """The page that the step names."""
    ref = step.args[key]
    mem_map = step.kernel.mem_map
    if "region" in ref:
        vma, pgoff = target_of(step, key)
        page = page_in_vma(step, vma, pgoff)
        if page is None and vma.mapping is None:
            page = look(step, vma.region.layout.first_pfn + pgoff)  # a frame kept for it, free till then
        if page is None:
            raise step.error("the page is not in memory")
        return page
    if "file" in ref:
        page = cached(step, file_of(step, ref["file"]), ref["index"])
        if page is None:
            raise step.error("the page is not in the page cache")
        return page
    if "kernel" in ref:
        pfn = kernel_memory(step, ref["kernel"], key, "kernel").layout.first_pfn + ref["index"]
    elif "free" in ref:
        pfn = mem_map.by_name["free"].layout.first_pfn + ref["free"]
    else:
        pfn = ref["pfn"]
    if not mem_map.pfn_valid(pfn):
        raise beyond(step, pfn, mem_map.memory_pages, key, "pfn")
    return look(step, pfn)


def target_of(step: Step, key: str) -> tuple[Vma, int]:
    """The VMA that covers the page of a region that the step names, and its page offset."""
    ref = step.args[key]
    owner, _, name = ref["region"].partition("/")
    task = step.task(owner, key, "region")
    vmas_of(step, task, name, key, "region")
    return vma_at(step, task, name, ref["index"], key, "index")


def vmas_of(step: Step, task: Task, name: str, *key: str) -> list[Vma]:
    """All pieces of a region of the task."""
    found = [vma for vma in task.vmas.values() if vma.name == name]
    if not found:
        owner = f"{task.name}/" if key and key[0] != "region" else ""  # as the key spells it
        known = dict.fromkeys(f"{owner}{vma.name}" for vma in task.vmas.values())
        raise step.error(
            f'task "{task.name}" maps no region "{name}" at this time',
            *(key or ("region",)),
            allowed=known,
        )
    return found


def vma_at(step: Step, task: Task, name: str, index: int, *key: str) -> tuple[Vma, int]:
    """The VMA that covers page ``index`` of a region, and its page offset."""
    pgoff = index + first_pgoff(task, name)
    vma = find_vma(task, name, pgoff)
    if vma is None:
        raise not_mapped(step, task, name, index, 1, *key)
    return vma, pgoff


def not_mapped(
    step: Step, task: Task, name: str, first: int, pages: int, *key: str
) -> ScriptError | StepSkipped:
    """Some of these pages of a region are not mapped; only of a region that was cut that can change."""
    found, base = vmas_of(step, task, name, *key[:-1], "region"), first_pgoff(task, name)
    whole = max(vma.region.layout.pages for vma in found)
    if first + pages > whole:
        text = f'region "{name}" of task "{task.name}" has {whole} pages'
        return step.mistake(text, *key, allowed=f"0 to {whole - 1}")
    what = f"page {first}" if pages == 1 else f"all of pages {first} to {first + pages - 1}"
    ranges = sorted((vma.pgoff - base, vma.pgoff - base + vma.pages - 1) for vma in found)
    allowed = ", ".join(f"{low} to {high}" for low, high in ranges)
    return step.error(
        f'task "{task.name}" does not map {what} of region "{name}" at this time', *key, allowed=allowed
    )


def first_pgoff(task: Task, name: str) -> int:
    """Page offset of a region's first page: not zero in one that mremap() made."""
    return task.offsets.get(name, 0)


def file_of(step: Step, name: str, *key: str) -> Region:
    """The region of a file."""
    region = step.kernel.mem_map.by_name.get(f"file:{name}")
    if region is None:
        key = key or ("file",)
        raise step.mistake(f'no file has the name "{name}"', *key, allowed=living(step, "file:"))
    return region


def living(step: Step, prefix: str) -> list[str]:
    """The names of all living regions of a sort: ``file:`` or ``kernel:``."""
    by_name = step.kernel.mem_map.by_name
    return [each[len(prefix) :] for each in by_name if each.startswith(prefix) and by_name[each].alive]


def kernel_memory(step: Step, name: str, *key: str) -> Region:
    """A pool, or a block that a step has allocated."""
    region = step.kernel.mem_map.by_name.get(f"kernel:{name}")
    if region is None or not region.alive:
        text = f'the kernel holds no "{name}" at this time'
        raise step.error(text, *key, allowed=living(step, "kernel:"))
    return region


def beyond(step: Step, pfn: int, pages: int, *key: str) -> ScriptError:
    """There is no such memory."""
    text = f"pfn {pfn:#x} is beyond the memory, which ends at {pages << PAGE_SHIFT:#x}"
    return step.mistake(text, *key, allowed=f"pfn 0 to {pages - 1}")


def page_in_vma(step: Step, vma: Vma, pgoff: int) -> Page | None:
    """The page that the entry of this VMA maps or leads to."""
    pte = vma.ptes.get(pgoff)
    if pte is not None:
        return pte.page
    if vma.mapping is not None and not vma.region.layout.is_hugetlb:
        page = cached(step, frames_of(step, vma), pgoff)
        return page if page is not None and vma in page.ptes else None
    for region in _anon_regions(vma):
        if not 0 <= pgoff < region.layout.pages:
            continue
        page = look(step, region.layout.first_pfn + pgoff)
        if vma in (page.head or page).ptes:
            return page
        pte = vma.ptes.get(pgoff)
        if pte is not None:  # looking has found a swap entry
            return pte.page
    return None


def _anon_regions(vma: Vma) -> list[Region]:
    """Where the task's page may lie: in the original frames or in its own copies."""
    copies = user_task(vma.task).copies.get(vma.name)
    return [vma.region] if copies is None else [vma.region, copies]


def frames_of(step: Step, vma: Vma) -> Region:
    """The region that holds the pages of the VMA's file or segment."""
    if vma.region.layout.first_pfn >= 0:
        return vma.region
    regions = step.kernel.mem_map.regions
    return next(each for each in regions if each.mapping is vma.mapping and each.layout.first_pfn >= 0)


def cached(step: Step, region: Region, pgoff: int) -> Page | None:
    """The page in the page cache of the file, or of the segment also in its swap cache."""
    mapping = region.mapping
    assert mapping is not None
    page = mapping.pages.get(pgoff) or mapping.swapped.get(pgoff)
    if page is not None and page.epoch == region.epoch:
        return page
    if not 0 <= pgoff < region.layout.pages or is_on_swap(region, pgoff):
        return None
    page = look(step, region.layout.first_pfn + pgoff)
    return page if page.mapping is mapping else None


def look(step: Step, pfn: int) -> Page:
    """The struct page of the frame as it is now."""
    return step.kernel.pfn_to_page(pfn, nobodys_failure(step, pfn))


def nobodys_failure(step: Step, pfn: int) -> MemoryFailure:
    """The draws with which a page is looked at that has no bad line."""
    return MemoryFailure(_FIRST_ERROR_ID - step.number, pfn, [], step.bad_lines.around.draws.extra, attempt=1)
