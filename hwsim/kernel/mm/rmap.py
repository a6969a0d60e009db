"""Reverse mapping: who maps a page, and taking it away (mm/rmap.c, 2.6.30 with HWPOISON v5)."""

from __future__ import annotations

from hwsim.kernel.mm_types import NONE, POISON, SWAP, Page, Vma
from hwsim.kernel.page_flags import ANON, DIRTY, SWAPCACHE

SWAP_SUCCESS, SWAP_AGAIN = 0, 1

TTU_UNMAP = 1
TTU_IGNORE_MLOCK = 2
TTU_IGNORE_ACCESS = 4
TTU_IGNORE_HWPOISON = 8


def page_mapped(page: Page) -> bool:
    """Whether any page table maps the page."""
    return bool(page.ptes)


def page_address_in_vma(page: Page, vma: Vma) -> int | None:
    """The virtual address the page has in ``vma``; None stands for -EFAULT.

    For an anonymous page the VMA must be on its anon_vma, for a file page it must map its file.
    """
    if page.flags & ANON:
        if vma.anon_vma is not page.anon_vma:
            return None
    elif vma.mapping is not page.mapping:
        return None
    return vma.address(page.pgoff) if vma.covers(page.pgoff) else None


def page_mkclean(page: Page) -> bool:
    """Write-protect and clean the entries of shared VMAs; True if one was dirty or writable.

    Private mappings cannot be dirty here: a store would have made an anonymous copy.
    """
    was_dirty = False
    for vma, pte in page.ptes.items():
        if vma.shared and (pte.dirty or pte.writable):
            was_dirty = True
            pte.dirty = False
            pte.writable = False
    return was_dirty


def try_to_unmap(page: Page, ttu: int) -> int:
    """Remove every mapping and leave the right entry behind; SWAP_SUCCESS or SWAP_AGAIN.

    A dirty entry moves its bit to PG_dirty; for a poisoned page that is only the flag (patch 10 of
    the series).  A try that fails (``page.unmap_failures``) could not lock one page table: the
    last mapping stays, as it does when an mremap() is in progress there.
    """
    vmas = list(page.ptes)
    failing = page.unmap_failures > 0 and bool(vmas)
    if failing:
        page.unmap_failures -= 1
        vmas = vmas[:-1]
    anonymous = bool(page.flags & ANON)
    for vma in vmas:
        if page.ptes[vma].dirty:
            page.flags |= DIRTY
        if not ttu & TTU_IGNORE_HWPOISON:
            page.unmap(vma, POISON)
        elif anonymous and page.flags & SWAPCACHE:
            page.unmap(vma, SWAP)
        else:
            page.unmap(vma, NONE)
    return SWAP_AGAIN if failing else SWAP_SUCCESS
