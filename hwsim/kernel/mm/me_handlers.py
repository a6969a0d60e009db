"""The handlers of the error-state table (mm/memory-failure.c, HWPOISON v5).

Each takes the kernel and the page, does what it does to flags, lists and references, and answers
one of the four outcomes, numbered as in v5.
"""

from __future__ import annotations

from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.filemap import mapping_set_error
from hwsim.kernel.mm.page_cache import (
    delete_from_swap_cache,
    isolate_lru_page,
    page_cache_release,
    page_mapping,
)
from hwsim.kernel.mm.truncate import keep_poisoned
from hwsim.kernel.mm_types import Page
from hwsim.kernel.page_flags import DIRTY, ERROR, UPTODATE
from hwsim.record import Outcome

FAILED, DELAYED, IGNORED, RECOVERED = 0, 1, 2, 3
ACTION_NAME = (Outcome.FAILED, Outcome.DELAYED, Outcome.IGNORED, Outcome.RECOVERED)


def me_kernel(kernel: Kernel, page: Page) -> int:
    """Memory of the kernel itself: nothing is done, in the hope that nobody touches it."""
    return DELAYED


def me_ignore(kernel: Kernel, page: Page) -> int:
    """Already outside the kernel's control."""
    return IGNORED


def me_free(kernel: Kernel, page: Page) -> int:
    """Free memory: the allocator is the gatekeeper."""
    return DELAYED


def me_unknown(kernel: Kernel, page: Page) -> int:
    """A state the table does not know."""
    kernel.printk("unknown_state", page.pfn)
    return FAILED


def me_huge_page(kernel: Kernel, page: Page) -> int:
    """Huge pages have no reverse map in v5: nothing can be done."""
    return FAILED


def me_pagecache_clean(kernel: Kernel, page: Page) -> int:
    """Drop a clean page from the page cache.  Anonymous memory has no mapping: nothing to drop."""
    if isolate_lru_page(page):
        page_cache_release(page)
    return RECOVERED if kernel.profile.pagecache_drop(kernel, page) else FAILED


def me_pagecache_dirty(kernel: Kernel, page: Page) -> int:
    """Dirty page cache: leave an I/O error for fsync() in the mapping, then drop the page."""
    page.flags |= ERROR
    mapping = page_mapping(kernel, page)
    if mapping is None:
        return me_pagecache_clean(kernel, page)
    mapping_set_error(mapping)
    if kernel.profile.keeps_poisoned(mapping):
        if isolate_lru_page(page):
            page_cache_release(page)
        keep_poisoned(page)
        return RECOVERED
    return me_pagecache_clean(kernel, page)


def me_swapcache_dirty(kernel: Kernel, page: Page) -> int:
    """Dirty swap cache: the page stays, so that a later fault finds the poison; of a segment, no contents."""
    page.flags &= ~(DIRTY | UPTODATE)  # no I/O from it; shmem answers EIO
    if isolate_lru_page(page):
        page_cache_release(page)
    return DELAYED


def me_swapcache_clean(kernel: Kernel, page: Page) -> int:
    """Clean swap cache: drop it, the good copy on the swap device will be read again."""
    if isolate_lru_page(page):
        page_cache_release(page)
    delete_from_swap_cache(page)
    return RECOVERED
