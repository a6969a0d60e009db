"""The cells of a machine, found by asking the pages where one begins what the form for one page asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm_types import OWNER, Page, Region, Vma
from hwsim.memory.advance_state import quiet_stores
from hwsim.memory.behaviours import BEHAVIOURS
from hwsim.memory.cells import Cells
from hwsim.memory.fork_family import is_shared
from hwsim.memory.layout import family_name
from hwsim.memory.page_class import rate_changes


def find_cells(kernel: Kernel) -> Cells:
    """The cells of a kernel that has just booted; no page of it is looked at."""
    regions = kernel.mem_map.regions
    names = [region.name for region in regions]
    families = {name: number for number, name in enumerate(dict.fromkeys(map(family_name, names)))}
    pages = sorted(_first_pages(regions), key=lambda page: page.pfn)
    users = [_users(page) for page in pages]
    task_rates = np.array([_task_rates(page, vmas) for page, vmas in zip(pages, users, strict=True)])
    stores = [[_stores_beside(page, permanent) for page in pages] for permanent in (False, True)]
    unheld = np.array([_kernel_rates(page) for page in pages])
    for page in pages:
        page.get(OWNER)
    held = np.array([_kernel_rates(page) for page in pages])
    mappings = [page.mapping for page in pages]
    kinds = list(BEHAVIOURS)
    return Cells(
        layouts=[region.layout for region in regions],
        names=names,
        families=np.array([families[family_name(name)] for name in names], np.int64),
        first_pfn=np.array([page.pfn for page in pages], np.int64),
        region=np.array([page.region.number for page in pages], np.int64),
        region_pfn=np.array([page.region.layout.first_pfn for page in pages], np.int64),
        kind=np.array([kinds.index(page.region.kind) for page in pages], np.int64),
        tasks=np.array([len(vmas) for vmas in users], np.int64),
        task_reads=task_rates[:, 0],
        task_overwrites=task_rates[:, 1],
        touches=task_rates[:, 2],
        system_calls=np.array([_system_calls(page) for page in pages]),
        kernel_reads=np.stack((unheld[:, 0], held[:, 0])),
        kernel_overwrites=np.stack((unheld[:, 1], held[:, 1])),
        stores=np.array(stores),
        populated=np.array([any(vma.populated for vma in vmas) for vmas in users]),
        mlocked=np.array([any(vma.mlocked for vma in vmas) for vmas in users]),
        stored_to=np.array([_is_stored_to(page) for page in pages]),
        has_buffers=np.array([page.region.layout.buffers != "none" for page in pages]),
        buffers_busy=np.array([_buffers_busy(page) for page in pages]),
        has_inode=np.array([each is not None and each.host is not None for each in mappings]),
        swap_backed=np.array([each is not None and each.swap_backed for each in mappings]),
        unsure=np.array([_is_unsure(kernel, page, vmas) for page, vmas in zip(pages, users, strict=True)]),
    )


def _first_pages(regions: Iterable[Region]) -> Iterator[Page]:
    """The first page of each cell, as far as it is not drawn."""
    for region in regions:
        layout = region.layout
        if layout.first_pfn < 0:
            continue
        begins = rate_changes(region, _mapped_by(region))
        step = 1 << layout.order
        begins |= {-(-each // step) * step for each in begins}  # tails have the rates of their head
        for index in sorted(each for each in begins if each < layout.pages):
            page = Page(layout.first_pfn + index, region, index, region.epoch)
            page.mapping = region.mapping
            yield page


def _mapped_by(region: Region) -> list[Vma]:
    return region.mapping.vmas if region.mapping is not None else region.anon_vma


def _reached_at(page: Page) -> int:
    """The page offset by which tasks reach it: that of the head of a huge page."""
    layout = page.region.layout
    return page.pgoff - page.pgoff % (1 << layout.order) if layout.is_hugetlb else page.pgoff


def _users(page: Page) -> list[Vma]:
    """All that can reach the page, in the order in which a race adds their rates."""
    index = _reached_at(page)
    return [vma for vma in _mapped_by(page.region) if vma.alive and vma.covers(index)]


def _task_rates(page: Page, users: list[Vma]) -> tuple[float, float, float]:
    index = _reached_at(page)
    reads = overwrites = touches = 0.0
    for vma in users:
        read, overwrite = vma.region.line_rates(index)
        load, store = vma.region.touch_rates(index)
        reads += read
        overwrites += overwrite
        touches += load + store
    return reads, overwrites, touches


def _system_calls(page: Page) -> float:
    load, store = page.region.touch_rates(page.pgoff) if page.region.layout.is_file else (0.0, 0.0)
    return load + store


def _stores_beside(page: Page, permanent: bool) -> float:
    total = 0.0
    if page.mapping is not None and page.mapping.host is not None:
        for rate, _ in quiet_stores(page, permanent):
            total += rate
    return total


def _is_stored_to(page: Page) -> bool:
    return page.mapping is not None and page.region.stores_to(page.pgoff) > 0.0


def _buffers_busy(page: Page) -> float:
    layout = page.region.layout
    return 1.0 if layout.buffers == "busy" else layout.buffers_busy


def _kernel_rates(page: Page) -> tuple[float, float]:
    accesses = BEHAVIOURS[page.region.kind].kernel_access
    access = None if accesses is None else accesses(page)
    return (0.0, 0.0) if access is None else access


def _is_unsure(kernel: Kernel, page: Page, users: list[Vma]) -> bool:
    """Whether pages there are of a forked family or in a swap cycle, or their users end by themselves."""
    if page.region.layout.swap is not None or is_shared(kernel, page.region):
        return True
    return any(vma.task.user.lifetime_ns is not None for vma in users)
