"""Cutting pages out of a file that tasks map: unmap_mapping_range() and vmtruncate_range() (mm/memory.c).

truncate() asks for even_cows: zap_pte_range() then drops whatever stands in the range, poison and swap
entries too, in every kernel.  Who can punch a hole, and what that leaves, is a kernel's own.
"""

from __future__ import annotations

from hwsim.kernel.mm_types import AddressSpace, Page
from hwsim.kernel.mmap import zap_entries


def unmap_mapping_range(mapping: AddressSpace, pages: range) -> list[Page]:
    """Take a range of the file out of all page tables, even_cows; returns the pages that lost an entry."""
    lost = []
    for vma in mapping.vmas:
        lost += zap_entries(vma, pages)
    return lost


def vmtruncate_range(mapping: AddressSpace, pages: range) -> list[Page] | None:
    """madvise(MADV_REMOVE), 2.6.16 to 3.4: i_op->truncate_range, which only tmpfs has; None is -ENOSYS.

    It unmaps as truncate() does (2.6.30 and 2.6.32, mm/memory.c).
    """
    if not mapping.swap_backed:
        return None
    return unmap_mapping_range(mapping, pages)
