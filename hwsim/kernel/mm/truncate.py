"""Dropping a bad page from the page cache, kernel by kernel, and the disputed test of block devices.

v5 truncates the page whatever file it is of, except on block devices (Message-ID
20090603184648.2E2131D028F@basil.firstfloor.org).  2.6.32 asks the file system, error_remove_page(), and
merely invalidates where there is no such hook (mm/memory-failure.c; hooks for ext*, xfs, gfs2, ocfs2 and
ntfs: Message-ID 20090805093643.E0C00B15D8@basil.firstfloor.org, besides NFS and shmem).
"""

from __future__ import annotations

from collections.abc import Callable

from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_cache import (
    invalidate_inode_page,
    page_mapping,
    truncate_inode_page,
    try_to_release_page,
)
from hwsim.kernel.mm_types import AddressSpace, Page
from hwsim.kernel.page_flags import ANON, DIRTY, PRIVATE

_HOOKED = ("ext2", "ext3", "ext4", "xfs", "nfs", "tmpfs")


def truncate(kernel: Kernel, page: Page) -> bool:
    """v5: anonymous memory is done; a block device is tested; everything else is truncated."""
    mapping = page_mapping(kernel, page)
    if mapping is None:
        return True
    if mapping.is_block_device:
        return kernel.profile.blockdev_test(kernel, mapping, page)
    return _punch(kernel, mapping, page)


def error_remove_page(kernel: Kernel, page: Page) -> bool:
    """2.6.32: as the file system says, or what is clean and unused is invalidated."""
    if page.flags & ANON:
        return True
    mapping = page_mapping(kernel, page)
    if mapping is None:
        return False  # torn down meanwhile
    if mapping.is_block_device:
        return kernel.profile.blockdev_test(kernel, mapping, page)
    if mapping.filesystem in _HOOKED:
        return _punch(kernel, mapping, page)
    return invalidate(kernel, mapping, page)


def _punch(kernel: Kernel, mapping: AddressSpace, page: Page) -> bool:
    truncate_inode_page(mapping, page)
    if page.flags & PRIVATE and not try_to_release_page(page):
        kernel.printk("buffers", page.pfn)
        return False
    return True


def invalidate(kernel: Kernel, mapping: AddressSpace, page: Page) -> bool:
    """Where the file system has no hook: what is clean, unmapped and unused goes."""
    if invalidate_inode_page(mapping, page):
        return True
    kernel.printk("not_invalidated", page.pfn)
    return False


def refuse_above(count: int) -> Callable[[Kernel, AddressSpace, Page], bool]:
    """A test of block devices: with more references than these the page is taken for metadata."""

    def test(kernel: Kernel, mapping: AddressSpace, page: Page) -> bool:
        if page.count > count:
            kernel.printk("metadata", page.pfn)
            return False
        return _punch(kernel, mapping, page)

    return test


refuse_above_1, refuse_above_2 = refuse_above(1), refuse_above(2)


def release_buffers(kernel: Kernel, mapping: AddressSpace, page: Page) -> bool:
    """As proposed in the review, with a guard: without private data there is nothing to release."""
    if not try_to_release_page(page):
        kernel.printk("buffers", page.pfn)
        return False
    truncate_inode_page(mapping, page)
    return True


def keep_poisoned(page: Page) -> None:
    """Leave a dirty page in the page cache, off the LRU and never written: a marker for EIO."""
    page.flags &= ~DIRTY
