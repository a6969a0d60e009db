"""Page cache and LRU as the handlers use them (mm/filemap.c, truncate.c, vmscan.c, fs/buffer.c; 2.6.3x)."""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.rmap import page_mkclean
from hwsim.kernel.mm_types import BUFFERS, CACHE, ISOLATED, NONE, PAGEVEC, AddressSpace, Page, Region
from hwsim.kernel.writeback import Inode


def page_mapping(kernel: Kernel, page: Page) -> AddressSpace | None:
    """The swapper for a page in swap cache, none for anonymous memory, else the file's (mm/util.c)."""
    if page.flags & pg.SWAPCACHE:
        return kernel.mem_map.swapper
    return None if page.flags & pg.ANON else page.mapping


def isolate_lru_page(page: Page) -> bool:
    """Take the page off its LRU list with a reference of our own; False if it is on none."""
    if not page.flags & pg.LRU:
        return False
    page.flags &= ~pg.LRU  # PG_unevictable stays: del_page_from_lru_list() does not clear it
    page.get(ISOLATED)
    return True


def page_cache_release(page: Page) -> None:
    """Drop the reference that isolate_lru_page() took."""
    page.put(ISOLATED)


def try_to_release_page(page: Page) -> bool:
    """Detach buffers; False if they are busy (journal head, held, dirty or locked buffer head).

    A dirty page with buffers has dirty buffers: drop_buffers() in fs/buffer.c fails.
    """
    if not page.flags & pg.PRIVATE:
        return True
    if page.buffers_busy or page.flags & pg.DIRTY:
        return False
    page.flags &= ~pg.PRIVATE
    if BUFFERS in page.holders:  # else a script's flags verb has set the bit alone
        page.put(BUFFERS)
    return True


def add_to_page_cache(page: Page, mapping: AddressSpace) -> None:
    """The page is what the mapping has at its offset, and the cache holds a reference (mm/filemap.c)."""
    page.mapping = mapping
    mapping.pages[page.pgoff] = page
    page.get(CACHE)


def truncate_inode_page(mapping: AddressSpace, page: Page) -> None:
    """Remove the page from the page cache: zap mappings, buffers, dirty state, mlock, cache reference.

    Disk block and file size stay as they are.
    """
    for vma in list(page.ptes):
        page.unmap(vma, NONE)
    page.flags &= ~(pg.DIRTY | pg.MLOCKED)  # do_invalidatepage() cleans the buffers before it drops them
    try_to_release_page(page)
    if mapping.host is not None:
        mapping.host.take_back(page.pgoff)
    mapping.pages.pop(page.pgoff, None)
    page.mapping = None
    page.put(CACHE)


def invalidate_inode_page(mapping: AddressSpace, page: Page) -> bool:
    """Drop a page that is clean, unmapped and used by nobody but the cache and the caller."""
    if page.flags & (pg.DIRTY | pg.WRITEBACK) or page.ptes or not try_to_release_page(page):
        return False
    page.flags &= ~pg.MLOCKED  # clear_page_mlock(), whatever becomes of the page
    if page.count != 2:  # remove_mapping(): the cache's reference and ours
        return False
    truncate_inode_page(mapping, page)
    return True


def set_page_uptodate(page: Page) -> None:
    """The page has been read in or written as a whole; of a poisoned one only the flag (patch 10)."""
    page.flags |= pg.UPTODATE


def attach_page_buffers(page: Page) -> None:
    """The page has buffer heads, which hold a reference."""
    page.flags |= pg.PRIVATE
    page.get(BUFFERS)


def mlock_vma_page(page: Page) -> None:
    """A mapping that is locked in memory has the page now."""
    page.flags |= pg.MLOCKED | pg.UNEVICTABLE


def lru_cache_add(page: Page, cpu: int) -> None:
    """The page waits in the pagevec of a CPU: not on the LRU yet, one reference more."""
    page.flags &= ~(pg.LRU | pg.UNEVICTABLE)
    page.get(PAGEVEC)
    page.pagevec_cpu = cpu


def change_flags(kernel: Kernel, page: Page, to_set: int, to_clear: int) -> None:
    """No act of the kernel: a script changes flags, whatever they mean."""
    poisoned = page.flags & pg.HWPOISON
    page.flags = kernel.config.real_flags((page.flags | to_set) & ~to_clear)
    if page.flags & pg.HWPOISON and not poisoned:
        kernel.poisoned_pages += 1


def answers_eio(kernel: Kernel, page: Page) -> bool:
    """Whether read() and write() meet a poisoned page that was kept in the cache for this."""
    if not page.flags & pg.HWPOISON or page.mapping is None:
        return False
    return kernel.profile.keeps_poisoned(page.mapping)


def lru_add_drain_all(page: Page) -> None:
    """Put the page on its LRU list in whatever CPU's pagevec it waits."""
    lru_add_drain(page, page.pagevec_cpu)


def delete_from_swap_cache(page: Page) -> None:
    """Drop the page from the swap cache; its copy on the swap device stays for the swap entries.

    Those of a shared segment stand in its inode (mm/shmem.c, shmem_swp_entry()), by page offset.
    """
    page.flags &= ~pg.SWAPCACHE
    mapping = page.region.mapping
    if not page.flags & pg.ANON and mapping is not None and mapping.swapped.get(page.pgoff) is page:
        del mapping.swapped[page.pgoff]
        mapping.slots[page.pgoff] = page.epoch
    page.put(CACHE)


def lru_add_drain(page: Page, cpu: int) -> None:
    """Put the page on its LRU list if it waits in the pagevec of **this** CPU.

    An evictable list, even for a page that was locked in memory meanwhile: only reclaim moves it.
    """
    if page.pagevec_cpu == cpu and PAGEVEC in page.holders:
        page.put(PAGEVEC)
        page.pagevec_cpu = -1
        page.flags |= pg.LRU


def writes_inode(mapping: AddressSpace, call: str) -> bool:
    """Whether a call that has written all pages of a file clears I_DIRTY, so that its age starts anew.

    sync() and the eviction of the inode write it as a whole; fsync() and msync() do so with sync_inode() on
    ext2, ext3 and ext4.  On XFS, NFS and block devices they write pages and no more, and so do fdatasync(),
    O_SYNC and sync_file_range() everywhere: the flusher still comes at the old age.  2.6.3x: fs/libfs.c
    (simple_fsync()), fs/ext3/fsync.c, fs/xfs/xfs_vnodeops.c, fs/nfs/file.c, fs/block_dev.c.  Left out: a file
    that has grown is I_DIRTY_DATASYNC, which fdatasync() and O_SYNC clear as well.
    """
    if mapping.filesystem in ("ext2", "ext3", "ext4") and call in ("fsync", "msync"):
        return True
    return call in ("sync", "evict")


def inode_of(page: Page) -> Inode | None:
    """page->mapping->host, where dirty pages are accounted and written back."""
    return page.mapping.host if page.mapping is not None else None


def set_page_dirty(page: Page, now_ns: int) -> None:
    """__set_page_dirty(): the page is dirty, and so is its inode since now if it was clean."""
    page.flags |= pg.DIRTY
    inode = inode_of(page)
    if inode is not None:
        inode.advance(now_ns)
        inode.mark_dirty(now_ns)


def has_cached_pages(region: Region, overlay: dict[int, Page], now_ns: int) -> bool:
    """mapping->nrpages is not zero: all of a file is cached but what was cut out of it or dropped."""
    mapping = region.mapping
    assert mapping is not None
    if mapping.pages or any(time <= now_ns for time in mapping.read_again.values()):
        return True
    left = region.layout.pages - mapping.gone.within(range(region.layout.pages))
    return left > len(overlay) or left > len(dropped_pages(region, overlay))


def dropped_pages(region: Region, overlay: dict[int, Page]) -> set[int]:
    """Page offsets that memory_failure() has taken out of the cache, and no script after it."""
    mapping = region.mapping
    assert mapping is not None
    return {
        page.pgoff
        for page in overlay.values()
        if page.region is region
        and page.flags & pg.HWPOISON
        and not page.flags & pg.BUDDY
        and page.mapping is None
        and page.pgoff not in mapping.gone
    }


def is_dirty(page: Page) -> bool:
    """Whether writeback would write the page: PG_dirty, or an entry that maps it is dirty."""
    return bool(page.flags & pg.DIRTY) or any(pte.dirty for pte in page.ptes.values())


def clear_page_dirty_for_io(page: Page) -> None:
    """Writeback begins: neither the page nor an entry that maps it is dirty any more."""
    page_mkclean(page)
    page.flags &= ~pg.DIRTY
