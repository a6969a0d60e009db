"""struct page, page-table entries and address spaces, for the few pages that have a story.

The reference count is not stored: it is the sum of a ledger of holders (page-table entries, page
cache, buffers, pagevec, pins, the handler), as in include/linux/mm.h and mm/swap.c of 2.6.30.
Being on an LRU list holds no reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwsim.kernel.page_flags import ANON, SWAPCACHE
from hwsim.kernel.page_ranges import PageRanges

if TYPE_CHECKING:
    from hwsim.kernel.filemap_error import OpenFile
    from hwsim.kernel.mem_map import Region
    from hwsim.kernel.task_struct import Vma
    from hwsim.kernel.writeback import Inode

# Who can hold a reference.
CACHE, BUFFERS, PAGEVEC, PIN, OWNER, HANDLER, INJECTOR, ISOLATED = (
    "cache",
    "buffers",
    "pagevec",
    "pin",
    "owner",
    "handler",
    "injector",
    "isolated",
)

# What a page-table entry can be.
PRESENT, POISON, SWAP, NONE = "present", "poison", "swap", "none"


class Pte:
    """One page-table entry of a page of interest.

    Life: ``present`` (maps the page; ``dirty``, ``writable``) -> by try_to_unmap() ``poison`` (the
    hwpoison swap type), ``swap`` or ``none`` -> dropped by munmap() or exit.  A poison entry is
    copied by fork().
    """

    __slots__ = ("dirty", "kind", "page", "vma", "writable")

    def __init__(self, vma: Vma, page: Page, *, dirty: bool = False, writable: bool = True) -> None:
        self.vma = vma
        self.page = page
        self.kind = PRESENT
        self.dirty = dirty
        self.writable = writable


class AddressSpace:
    """struct address_space: a file, a block device, a tmpfs file or the swapper.

    ``accounts_dirty`` is mapping_cap_account_dirty(), and ``host`` the inode then; ``as_eio`` the AS_EIO
    bit, ``wb_err`` and ``wb_seen`` the errseq_t of later kernels, ``files`` the open files (see
    ``filemap_error``).  ``vmas`` is the i_mmap tree.  ``swapped``: pages of a shared segment that are in the
    swap cache; ``slots``: page offsets whose contents are on the swap device only; ``gone``: page offsets
    that a script has cut out of the cache; ``holes``: those that have no block on the disk any more;
    ``size_pages``: the file's length once a script has changed it; ``read_again``: when chance brings a page
    back that memory_failure() has dropped, by page offset, of a file that has no other page left.
    """

    __slots__ = (
        "accounts_dirty",
        "as_eio",
        "files",
        "filesystem",
        "gone",
        "holes",
        "host",
        "is_block_device",
        "name",
        "pages",
        "read_again",
        "size_pages",
        "slots",
        "swap_backed",
        "swapped",
        "vmas",
        "wb_err",
        "wb_seen",
    )

    def __init__(self, name: str, filesystem: str) -> None:
        self.name = name
        self.filesystem = filesystem
        self.is_block_device = filesystem == "blockdev"
        self.swap_backed = filesystem == "tmpfs"
        self.accounts_dirty = filesystem not in ("tmpfs", "ramfs", "swapper", "hugetlbfs")
        self.host: Inode | None = None
        self.as_eio = False
        self.wb_err = 0
        self.wb_seen = False
        self.files: list[OpenFile] = []
        self.vmas: list[Vma] = []
        self.pages: dict[int, Page] = {}  # cached pages that have a story, by page offset
        self.swapped: dict[int, Page] = {}
        self.slots: dict[int, int] = {}  # with the epoch of the region in which they were filled
        self.gone = PageRanges()
        self.holes = PageRanges()
        self.size_pages: int | None = None
        self.read_again: dict[int, int] = {}

    def tear_down(self) -> None:
        """The boot is over: let go of pages, mappings and files, which know this one."""
        self.vmas.clear()
        self.pages.clear()
        self.swapped.clear()
        self.files.clear()

    @property
    def evictable(self) -> bool:
        """Whether the inode can leave memory: those of tmpfs and ramfs are pinned, and those of devices."""
        return self.accounts_dirty and not self.is_block_device

    @property
    def page_mkwrite(self) -> bool:
        """Whether the first store to a clean page asks the file system, which takes its lock (2.6.30)."""
        return self.filesystem in ("ext4", "xfs", "nfs")


SWAPPER = AddressSpace("swapper", "swapper")  # its i_mmap tree is always empty


class Page:
    """One struct page.

    ``holders`` maps a holder to its number of references; entries in page tables are counted from
    ``ptes``.  ``anon_vma`` stands in for page->mapping of an anonymous page; ``pgoff`` is
    page->index.  ``head`` is the head of a compound page (itself for a head).
    """

    __slots__ = (
        "anon_vma",
        "buffers_busy",
        "dirtied_ns",
        "epoch",
        "flags",
        "head",
        "holders",
        "index",
        "locked_by_script",
        "looked_ns",
        "looks",
        "lost_bytes",
        "mapping",
        "pagevec_cpu",
        "pfn",
        "pgoff",
        "ptes",
        "region",
        "swap_entry",
        "swap_stage",
        "unmap_failures",
        "waiters",
        "writeback_until_ns",
        "writer",
    )

    def __init__(self, pfn: int, region: Region, index: int) -> None:
        self.pfn = pfn
        self.region = region
        self.index = index
        self.epoch = region.epoch
        self.flags = 0
        self.holders: dict[str, int] = {}
        self.ptes: dict[Vma, Pte] = {}
        self.mapping: AddressSpace | None = None
        self.anon_vma: list[Vma] | None = None
        self.pgoff = index
        self.head: Page | None = None
        self.pagevec_cpu = -1
        self.buffers_busy = False
        self.locked_by_script = False
        self.writeback_until_ns = 0  # of a write-out that the first look has drawn; others end when told
        self.unmap_failures = 0  # tries of try_to_unmap() that will fail
        self.swap_entry = False  # a copy of the contents exists on the swap device
        self.swap_stage = 0  # see swap_cycle
        self.lost_bytes = 0
        self.looked_ns = 0  # volatile bits are as of then; see later_look
        self.looks = 0
        self.writer = ""  # the task whose script step stored last; chance draws it when it is asked for
        self.dirtied_ns: int | None = None  # drawn: the next store that dirties the page
        self.waiters: list[Any] = []  # events that fire when the lock or writeback state changes

    @property
    def count(self) -> int:
        """page_count(): of a compound tail the head's; otherwise the sum of the ledger."""
        page = self.head or self
        return sum(page.holders.values()) + len(page.ptes)

    @property
    def mapcount(self) -> int:
        """Entries in page tables that map the page."""
        return len(self.ptes)

    @property
    def page_mapping(self) -> AddressSpace | None:
        """page_mapping(): the swapper for swap cache, none for anonymous memory, else the file's."""
        if self.flags & SWAPCACHE:
            return SWAPPER
        if self.flags & ANON:
            return None
        return self.mapping

    @property
    def raw_mapping_is_null(self) -> bool:
        """Whether page->mapping itself is NULL (an anonymous page points at its anon_vma)."""
        return self.mapping is None and self.anon_vma is None

    def tear_down(self) -> None:
        """The boot is over: let go of entries, of the head, of who waits for the lock for ever."""
        self.ptes.clear()
        self.head = self.anon_vma = self.mapping = None
        for bell in self.waiters:
            bell.callbacks.clear()
        self.waiters = []

    def get(self, holder: str) -> None:
        """Take a reference in the name of ``holder``."""
        page = self.head or self
        page.holders[holder] = page.holders.get(holder, 0) + 1

    def put(self, holder: str) -> None:
        """Drop a reference of ``holder``; dropping one it does not have is an error in the model."""
        page = self.head or self
        left = page.holders.get(holder, 0) - 1
        if left < 0:
            raise RuntimeError(f"pfn {self.pfn:#x}: {holder} dropped a reference it does not hold")
        if left:
            page.holders[holder] = left
        else:
            del page.holders[holder]

    def map(self, vma: Vma, *, dirty: bool = False, writable: bool = True) -> Pte:
        """Enter the page in the page table of ``vma``."""
        pte = Pte(vma, self, dirty=dirty, writable=writable)
        self.ptes[vma] = pte
        vma.ptes[self.pgoff] = pte
        return pte

    def unmap(self, vma: Vma, kind: str) -> None:
        """Take the page out of the page table of ``vma`` and leave an entry of ``kind`` behind."""
        pte = self.ptes.pop(vma)
        pte.kind = kind
        if kind == NONE:
            vma.ptes[self.pgoff] = pte
