"""What memory is described by: types that point at each other (include/linux/mm_types.h and its like).

A frame has a :class:`Page` only once somebody looks at it.  Its reference count is not stored: it is the
sum of a ledger of holders (page-table entries, page cache, buffers, pagevec, pins, the handler), as in
include/linux/mm.h and mm/swap.c of 2.6.30.  Being on an LRU list holds no reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

from mypy_extensions import trait

from hwsim.elementary import added
from hwsim.engine import Bell
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.frames import Frames
from hwsim.kernel.page_ranges import PageRanges
from hwsim.kernel.writeback import Inode, Stored
from hwsim.units import PAGE_SHIFT

# Who can hold a reference.
CACHE, BUFFERS, PAGEVEC, PIN = "cache", "buffers", "pagevec", "pin"
OWNER, HANDLER, INJECTOR, ISOLATED = "owner", "handler", "injector", "isolated"

# What a page-table entry can be.
PRESENT, POISON, SWAP, NONE = "present", "poison", "swap", "none"

FIRST_PAGE = 0x400  # virtual page of the first mapping of a process


@dataclass(slots=True, eq=False)
class Pte:
    """One page-table entry of a page of interest.

    Life: ``present`` (maps the page; ``dirty``, ``writable``) -> by try_to_unmap() ``poison`` (the
    hwpoison swap type), ``swap`` or ``none`` -> dropped by munmap() or exit.  A poison entry is
    copied by fork().
    """

    vma: Vma
    page: Page
    dirty: bool = False
    writable: bool = True
    kind: str = PRESENT


@dataclass(slots=True, eq=False)
class AddressSpace:
    """struct address_space: a file, a block device, a tmpfs file or the swapper.

    Life: one boot, or as long as a script's segment.  ``holes`` are page offsets that have no block on the
    disk any more, ``slots`` those whose contents are on the swap device only, ``gone`` those that a
    script has cut out of the cache; who is told of an error is in ``mm/filemap``.
    """

    name: str
    filesystem: str
    is_block_device: bool = field(init=False)
    swap_backed: bool = field(init=False)
    accounts_dirty: bool = field(init=False)  # mapping_cap_account_dirty()
    host: Inode | None = None
    as_eio: bool = False  # the bit AS_EIO
    wb_err: int = 0  # the errseq_t of later kernels, and whether anybody has seen it
    wb_seen: bool = False
    files: list[OpenFile] = field(default_factory=list)
    vmas: list[Vma] = field(default_factory=list)  # the i_mmap tree
    pages: dict[int, Page] = field(default_factory=dict)  # cached pages of interest, by page offset
    swapped: dict[int, Page] = field(default_factory=dict)  # of a shared segment: in the swap cache
    slots: dict[int, int] = field(default_factory=dict)  # with the epoch of the region when they were filled
    gone: PageRanges = field(default_factory=PageRanges)
    holes: PageRanges = field(default_factory=PageRanges)
    size_pages: int | None = None  # the file's length once a script has changed it
    read_again: dict[int, int] = field(default_factory=dict)  # when a page that was dropped is back

    def __post_init__(self) -> None:
        self.is_block_device = self.filesystem == "blockdev"
        self.swap_backed = self.filesystem == "tmpfs"
        self.accounts_dirty = self.filesystem not in ("tmpfs", "ramfs", "swapper", "hugetlbfs")

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


@dataclass(slots=True, eq=False)
class OpenFile:
    """struct file: one open(), shared with the children that inherit it and the VMAs made from it.

    Life: open_file() -> asked about errors -> close_file(), munmap().  ``f_wb_err`` is the error that its
    users have seen; ``users`` is f_count.
    """

    mapping: AddressSpace
    opened_ns: int
    f_wb_err: int
    users: int = 0

    def get(self) -> OpenFile:
        """get_file(): one user more."""
        self.users += 1
        return self

    def put(self) -> None:
        """fput(): with the last user the mapping has one open file less."""
        self.users -= 1
        if not self.users:
            self.mapping.files.remove(self)


@dataclass(slots=True, eq=False)
class Region(Frames, Stored):
    """A run of frames with one owner, one epoch and its clocks, in one replication.

    Life: alive since ``since_ns`` -> :meth:`release` (killed, exited, truncated as a whole): the
    frames are free and the epoch rises -> :meth:`revive` gives the same frames out again, without the
    poisoned holes.  ``watched`` are its frames with something under way; nobody else needs to hear of it.
    """

    epoch: int = 0
    alive: bool = True
    since_ns: int = 0
    vmas: list[Vma] = field(default_factory=list)
    anon_vma: list[Vma] = field(default_factory=list)
    mapping: AddressSpace | None = None
    watched: dict[int, None] = field(default_factory=dict)  # by pfn, in the order in which they came
    fork_family: Region | None = None  # of a copy-on-write region: the originals

    def stores_before(self, end: int) -> float:
        """Of a file: stores per ns to the pages below ``end``, by write() and through all mappings."""
        assert self.mapping is not None
        total = self.stores_per_ns(0, end)
        for vma in self.mapping.vmas:
            total += vma.region.stores_per_ns(vma.pgoff, min(end, vma.pgoff + vma.pages))
        return total

    def stores_to(self, pgoff: int) -> float:
        """Of a file: stores per ns to one page, by write() and through all mappings."""
        assert self.mapping is not None
        return self.touch_rates(pgoff)[1] + added(
            vma.region.touch_rates(pgoff)[1] for vma in self.mapping.vmas if vma.covers(pgoff)
        )

    @property
    def size_pages(self) -> int:
        """Length of a file in pages, as truncate() has left it."""
        mapping = self.mapping
        return self.layout.pages if mapping is None or mapping.size_pages is None else mapping.size_pages

    def release(self) -> None:
        """The owner is gone: every frame is free.  O(1) in the size of the region."""
        self.epoch += 1
        self.alive = False
        if self.mapping is not None:
            self.mapping.gone = PageRanges()

    def revive(self, now_ns: int) -> None:
        """A new owner takes the frames."""
        self.epoch += 1
        self.alive = True
        self.since_ns = now_ns


@dataclass(slots=True, eq=False)
class Page:
    """One struct page.

    Life: made when somebody first looks at the frame -> in the overlay of ``mem_map`` until it changes hands.
    ``anon_vma`` stands in for page->mapping of an anonymous page; ``pgoff`` is page->index.
    """

    pfn: int
    region: Region
    pgoff: int
    epoch: int
    flags: int = 0
    holders: dict[str, int] = field(default_factory=dict)  # references; those of page tables are ``ptes``
    ptes: dict[Vma, Pte] = field(default_factory=dict)
    mapping: AddressSpace | None = None
    anon_vma: list[Vma] | None = None
    head: Page | None = None  # of a compound page, for its tails
    pagevec_cpu: int = -1
    buffers_busy: bool = False
    locked_by_script: bool = False
    writeback_until_ns: int = 0  # of a write-out that the first look has drawn; others end when told
    unmap_failures: int = 0  # tries of try_to_unmap() that will fail
    swap_entry: bool = False  # a copy of the contents exists on the swap device
    swap_stage: int = 0  # see swap_cycle
    lost_bytes: int = 0
    looked_ns: int = 0  # volatile bits are as of then; see memory/advance_state
    looks: int = 0
    writer: str = ""  # the task whose script step stored last; chance draws it when it is asked for
    dirtied_ns: int | None = None  # drawn: the next store that dirties the page
    waiters: list[Bell] = field(default_factory=list)  # fire when the lock or writeback state changes

    @property
    def count(self) -> int:
        """page_count(): of a compound tail the head's; otherwise the sum of the ledger."""
        page = self.head or self
        return sum(page.holders.values()) + len(page.ptes)

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
        pte = Pte(vma, self, dirty, writable)
        self.ptes[vma] = pte
        vma.ptes[self.pgoff] = pte
        return pte

    def unmap(self, vma: Vma, kind: str) -> None:
        """Take the page out of the page table of ``vma`` and leave an entry of ``kind`` behind."""
        pte = self.ptes.pop(vma)
        pte.kind = kind
        if kind == NONE:
            vma.ptes[self.pgoff] = pte


@dataclass(slots=True, eq=False)
class Vma:
    """A virtual memory area: ``pages`` pages from virtual page ``start``, offset ``pgoff``.

    Life: mmap(), fork() or a split -> in the reverse maps until remove_vma().  ``region`` gives the touch
    rates; ``ptes`` holds only entries that differ from what the region's clocks say (pages of interest), by
    page offset.
    """

    task: Task
    name: str
    region: Region
    start: int
    pages: int
    _: KW_ONLY
    since_ns: int  # when the mapping came to be
    shared: bool = False
    mapping: AddressSpace | None = None
    anon_vma: list[Vma] | None = None
    mlocked: bool = False
    populated: bool = True
    pgoff: int = 0
    file: OpenFile | None = None  # vm_file: what was mapped, open or not
    forked_ns: int = field(init=False)  # when it was last write-protected by a fork
    writable: bool = True
    alive: bool = True
    ptes: dict[int, Pte] = field(default_factory=dict)
    number: int = 0

    def __post_init__(self) -> None:
        self.forked_ns = self.since_ns
        if self.file is not None:
            self.file.get()
        if self.anon_vma is not None:
            self.anon_vma.append(self)
        if self.mapping is not None:
            self.mapping.vmas.append(self)
            if self.mapping.host is not None:
                self.mapping.host.rates_changed()

    def covers(self, pgoff: int) -> bool:
        """Whether the page offset lies in this VMA."""
        return self.pgoff <= pgoff < self.pgoff + self.pages

    def address(self, pgoff: int) -> int:
        """The virtual address in bytes of a page offset inside the VMA."""
        return (self.start + pgoff - self.pgoff) << PAGE_SHIFT

    def pgoff_of(self, address: int) -> int:
        """The page offset of a virtual address in bytes inside the VMA."""
        return (address >> PAGE_SHIFT) - self.start + self.pgoff


@dataclass(slots=True, eq=False)
class Task:
    """A process (thread group leader) with its mm.

    Life: started by the machine, by a fork or by the supervisor; runs; is killed or exits; a
    restart makes a new Task with a new pid.
    """

    name: str
    comm: str
    pid: int
    number: int
    started_ns: int
    user: UserSpace  # what runs in it
    parent: Task | None = None
    alive: bool = True
    killed: bool = False  # by a signal, its own or another's
    vmas: dict[str, Vma] = field(default_factory=dict)
    files: dict[tuple[str, str], OpenFile | None] = field(default_factory=dict)  # (file, fd) of a script
    vmas_made: int = 0  # the number of a VMA that has gone is not given to another
    next_start: int = FIRST_PAGE  # first virtual page of the next mapping
    blocked: bool = False  # SIGBUS
    ignored: bool = False
    caught: bool = False  # has a handler for SIGBUS
    sig_dfl: bool = False  # a forced one has reset it to default, and is fatal
    pending: Signal | None = None  # one at most: SIGBUS is not queued
    handler_ends_ns: int = 0  # until when a handler runs
    mce_kill: str = "default"  # PR_MCE_KILL, inherited
    offsets: dict[str, int] = field(default_factory=dict)  # first page offset, of regions that mremap() made

    def __post_init__(self) -> None:
        if self.parent is not None:
            self.mce_kill, self.offsets = self.parent.mce_kill, dict(self.parent.offsets)


@dataclass(slots=True, eq=False)
class Signal:
    """One signal from being sent to its end.

    Its words are those of :mod:`hwsim.record`: Sent, Code, Cause and Result; '' while it is under way.
    """

    task: Task
    signal: str
    code: str
    cause: str
    failure: MemoryFailure
    address: int | None  # si_addr
    innocent: bool
    vma: Vma | None
    sent_ns: int = 0
    result: str = ""
    done_ns: int | None = None
    again: Callable[[], None] | None = None  # when the handler returns, if it is not to fault on the page
    would_touch_ns: int | None = None  # set by who knows the future


@trait
class UserSpace:
    """What runs in a task: asked by the kernel and by bad lines, answered by a UserTask.

    :meth:`deliver`: there is a signal, and one that the task has blocked waits until it unblocks it;
    ``default``: it takes the default action, whatever the task has arranged.  :meth:`next_exit_ns`: when the
    process ends by itself, far beyond every horizon if it does not.  :meth:`exit`: it does, now.
    :meth:`dies_with`: whether a death of either takes the other down.
    """

    __slots__ = ()
    stores_per_ns: float  # into all memory of the task together
    lifetime_ns: int | None  # mean time after which the process ends by itself

    @property
    def alive(self) -> bool:
        raise NotImplementedError

    def deliver(self, signal: Signal, *, default: bool) -> None:
        raise NotImplementedError

    def next_exit_ns(self) -> int:
        raise NotImplementedError

    def exit(self) -> None:
        raise NotImplementedError

    def dies_with(self, other: Task) -> bool:
        raise NotImplementedError
