"""Who is told of a lost write: the error that a mapping remembers (mm/filemap.c, fs/fs-writeback.c).

In 2.6.3x it is one bit of the mapping, AS_EIO, shared by all who have the file open: whoever asks first
is told, and it is gone; sync() and the eviction of the inode throw it away.  The other modes are what
was proposed in 2009 ("sticky", Message-ID 20090609102014.GG14820@wotan.suse.de and its answers) and
what came of it: errseq_t of 4.13, with the rule of 4.17 that an error nobody has seen is told to a later
opener (lib/errseq.c), and pages kept in the cache.
"""

from __future__ import annotations

from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.page_cache import has_cached_pages
from hwsim.kernel.mm_types import AddressSpace, OpenFile, Region
from hwsim.kernel.page_flags import HWPOISON
from hwsim.kernel.profile import EioMode

EIO = 5


def filemap_fdatawait(size_pages: int, _has_pages: bool) -> bool:
    """do_fsync() of 2.6.30 waits, and then asks, unless i_size is 0 (mm/filemap.c, fs/sync.c)."""
    return size_pages > 0


def filemap_write_and_wait_range(_size_pages: int, has_pages: bool) -> bool:
    """vfs_fsync_range() of 2.6.32 waits, and then asks, if mapping->nrpages is not 0.

    fs/sync.c and mm/filemap.c; mended in 3.10, "fs: fix fsync() error reporting".  Left out: a file system
    that writes a dirty inode with sync_inode() asks there as well, whatever nrpages is (fs/fs-writeback.c).
    """
    return has_pages


def file_check_and_advance_wb_err(_size_pages: int, _has_pages: bool) -> bool:
    """fsync() of 4.13 asks whatever the file has (mm/filemap.c)."""
    return True


def mapping_set_error(mapping: AddressSpace) -> None:
    """mapping_set_error(mapping, -EIO): data of this file is lost."""
    mapping.as_eio = True
    mapping.wb_err += 1
    mapping.wb_seen = False


def errseq_sample(mapping: AddressSpace) -> int:
    """What a new open() takes as seen: the error if somebody has seen it, otherwise none."""
    return mapping.wb_err if mapping.wb_seen else 0


def _is_set(mapping: AddressSpace, _file: OpenFile | None) -> bool:
    return mapping.as_eio


def _test_and_clear(mapping: AddressSpace, _file: OpenFile | None) -> bool:
    was_set, mapping.as_eio = mapping.as_eio, False
    return was_set


def _is_new_to(mapping: AddressSpace, file: OpenFile | None) -> bool:
    stale = file is not None and file.f_wb_err != mapping.wb_err
    return mapping.wb_err != 0 and (not mapping.wb_seen or stale)


def _once_per_file(mapping: AddressSpace, file: OpenFile | None) -> bool:
    if not mapping.accounts_dirty:
        return False  # kernels with errseq_t have noop_fsync() for memory file systems
    seen = errseq_sample(mapping) if file is None else file.f_wb_err
    if seen == mapping.wb_err:
        return False
    mapping.wb_seen = True
    mapping.as_eio = False
    if file is not None:
        file.f_wb_err = mapping.wb_err
    return True


def _has_poison(mapping: AddressSpace, _file: OpenFile | None) -> bool:
    return any(page.flags & HWPOISON for page in mapping.pages.values())


def _is_nobodys(_mapping: AddressSpace, _file: OpenFile | None) -> bool:
    return False


def _forget(mapping: AddressSpace) -> bool:
    mapping.as_eio = False
    return True


def _remember(_mapping: AddressSpace) -> bool:
    return False


AS_FLAG = EioMode(_test_and_clear, _is_set, _is_set, _forget, _remember, is_shared_bit=True)
ERRSEQ = EioMode(_once_per_file, _is_new_to, _is_new_to, _remember, _remember)
STICKY = EioMode(_is_set, _is_set, _is_nobodys, _remember, _remember)
STICKY_UNTIL_LAST_CLOSE = STICKY._replace(last_close=_forget)
KEEP_PAGE = EioMode(_has_poison, _has_poison, _is_nobodys, _remember, _remember)


def keeps_none(_mapping: AddressSpace) -> bool:
    """Every bad page is dropped from the page cache, if it can be."""
    return False


def keeps_files(mapping: AddressSpace) -> bool:
    """mm/shmem.c of 5.16, for all files: a dirty page stays and answers EIO; those of devices cannot."""
    return not mapping.is_block_device


def nfs_close_reports(mapping: AddressSpace) -> bool:
    """nfs_file_flush() writes back and asks for errors; local file systems have no such flush()."""
    return mapping.filesystem == "nfs"


def every_close_reports(_mapping: AddressSpace) -> bool:
    """As if every file system did."""
    return True


def no_close_reports(_mapping: AddressSpace) -> bool:
    """As if none did."""
    return False


def asks_mapping(kernel: Kernel, call: str, size_pages: int, has_pages: bool) -> bool:
    """Whether this call looks for an error: sync_file_range() with waiting and close() on NFS always do."""
    return call in ("sync_file_range", "close") or kernel.profile.fsync_asks(size_pages, has_pages)


def filemap_check_errors(kernel: Kernel, mapping: AddressSpace, file: OpenFile | None = None) -> int:
    """fsync(), fdatasync(), msync(MS_SYNC), an O_SYNC write, sync_file_range(), some close(): -EIO or 0."""
    if not kernel.profile.eio_mode.check(mapping, file):
        return 0
    kernel.reach("eio:reported")
    return -EIO


def fsync_error(kernel: Kernel, region: Region, call: str, file: OpenFile | None) -> int:
    """What fsync() or its like returns once the file is written back: -EIO or 0."""
    assert region.mapping is not None
    has_pages = has_cached_pages(region, kernel.mem_map.overlay, kernel.engine.now_ns)
    asked = asks_mapping(kernel, call, region.size_pages, has_pages)
    return filemap_check_errors(kernel, region.mapping, file) if asked else 0


def wait_swallows(kernel: Kernel, mapping: AddressSpace, by: str) -> bool:
    """sync(), or the last close of a device, waits for a mapping with pages too and throws its error away.

    True if there was one.
    """
    if not mapping.as_eio or not kernel.profile.eio_mode.sync(mapping):
        return False
    kernel.reach(f"eio:swallowed_by_{by}")
    return True


def open_file(mapping: AddressSpace, now_ns: int) -> OpenFile:
    """A new struct file on the mapping, without a user yet."""
    file = OpenFile(mapping, now_ns, errseq_sample(mapping))
    mapping.files.append(file)
    return file


def close_file(kernel: Kernel, file: OpenFile) -> int:
    """close() by one of its users: -EIO where the file system asks for errors then, otherwise 0."""
    mapping = file.mapping
    result = filemap_check_errors(kernel, mapping, file) if kernel.profile.close_reports(mapping) else 0
    file.put()
    return result


def forget_at_last_close(kernel: Kernel, mapping: AddressSpace) -> None:
    """The last file of the mapping was closed or unmapped: some would have it forget its error then."""
    if not mapping.files and mapping.as_eio and kernel.profile.eio_mode.last_close(mapping):
        kernel.event("forgotten", file=mapping.name, by="last close")


def file_left(kernel: Kernel, mapping: AddressSpace, *, unheard: bool = False) -> None:
    """A descriptor or a mapping of the file has gone: what comes of it if that was the last."""
    forget_at_last_close(kernel, mapping)
    if mapping.is_block_device and not mapping.files:
        kernel.files.last_close(mapping)
    kernel.files.closed(mapping, unheard=unheard)


def evict_inode(kernel: Kernel, mapping: AddressSpace) -> bool:
    """clear_inode(), once its pages are gone: True if an error nobody will hear of was lost."""
    lost = mapping.as_eio
    mapping.as_eio = False
    mapping.wb_err, mapping.wb_seen = 0, False
    if lost:
        kernel.reach("eio:lost_with_inode")
    kernel.files.evicted(mapping, lost=lost)
    return lost
