"""The cache of a whole inode goes, bad lines among its pages or not."""

from __future__ import annotations

from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.discovery import device_read
from hwsim.bad_lines.frame_reuse import freed
from hwsim.bad_lines.looks import settle
from hwsim.bad_lines.surroundings import Surroundings
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.page_alloc import put_page
from hwsim.kernel.mm.page_cache import clear_page_dirty_for_io, is_dirty, truncate_inode_page
from hwsim.kernel.mm_types import AddressSpace


def drop_pages(around: Surroundings[BadLine], mapping: AddressSpace) -> None:
    """Written back first, all cached pages go: of an inode at its eviction, of a device at its last close."""
    for page in list(mapping.pages.values()):
        line = around.by_pfn.get(page.pfn)
        if line is not None and line.finished:
            line = None
        if line is not None:
            settle(line)
        if mapping.accounts_dirty and is_dirty(page) and not page.flags & pg.LOCKED:
            clear_page_dirty_for_io(page)
            if line is not None and line.line_is_bad and not device_read(line):
                return
        page.buffers_busy = False  # what was written back is neither dirty nor locked
        if line is not None:
            freed(line)
        else:
            truncate_inode_page(mapping, page)
            put_page(around.kernel, page)
    if mapping.host is not None:
        mapping.host.written(around.engine.now_ns)
