"""A task, or the kernel on its behalf, touches a page whose page-table entry was taken away.

mm/memory.c (do_swap_page(), __do_fault()), mm/shmem.c (shmem_getpage()) and arch/x86/mm/fault.c of
2.6.30 with patches 5 to 7 of the HWPOISON v5 series.
"""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.mm.mmap import zap_entries
from hwsim.kernel.mm.swap import has_no_contents
from hwsim.kernel.mm_types import NONE, POISON, PRESENT, SWAP, AddressSpace, Page, Pte, Signal, Vma
from hwsim.kernel.signal import BUS_ADRERR, BUS_MCEERR_AR, SIGBUS, force_sig_info
from hwsim.record import Cause

# What a touch comes to.
OK, KILLED_AR, BUS_ERROR, REREAD_SWAP, REREAD_DISK, STALE, ZEROES = (
    "ok",
    "VM_FAULT_HWPOISON",
    BUS_ADRERR,
    "reread_swap",
    "reread_disk",
    "stale",
    "zeroes",
)
FATAL = (KILLED_AR, BUS_ERROR)  # SIGBUS is on its way
EFAULT = 14

# What a store comes to while somebody else has the page lock.
THROUGH, DIRTIES, WAITS = "through", "dirties", "waits"
PAGE_MKWRITE = ("ext4", "xfs", "nfs")  # ask the file system at the first store, which takes the page lock


def store_under_page_lock(pte: Pte) -> str:
    """A store through an entry that maps a page whose lock is taken (do_wp_page(), mm/memory.c of 2.6.30).

    A writable entry takes no fault, nor does one of a mapping that does not want to know of the first store.
    Where the file system has page_mkwrite(), and for anonymous memory, the lock comes first: the store waits,
    and faults again if the entry or the mapping has changed meanwhile.  Elsewhere the entry is writable and
    dirty before wait_on_page_locked(): whoever has the lock finds the page dirty, and the store waits all
    the same.  Left out: on NFS a store that finds the mapping gone is SIGBUS in 2.6.32
    (nfs_vm_page_mkwrite(), fs/nfs/file.c).
    """
    page, mapping = pte.page, pte.page.mapping
    if page.flags & pg.ANON:
        return THROUGH if pte.writable and len(page.ptes) == 1 else WAITS
    if pte.writable or mapping is None or not mapping.accounts_dirty:
        return THROUGH
    return WAITS if mapping.filesystem in PAGE_MKWRITE else DIRTIES


def meets_poison(pte: Pte) -> bool:
    """Whether a fault on this entry ends in VM_FAULT_HWPOISON."""
    if pte.kind == POISON:
        return True
    if not pte.page.flags & pg.HWPOISON:
        return False
    if pte.kind == SWAP:
        return bool(pte.page.flags & pg.SWAPCACHE)
    # A file page that the handler failed to drop: the fault finds it in the page cache (patch 6).
    return pte.kind == NONE and pte.page.mapping is not None


def is_fatal(pte: Pte) -> bool:
    """Whether a touch of this entry ends in SIGBUS."""
    return meets_poison(pte) or _finds_no_contents(pte)


def _finds_no_contents(pte: Pte) -> bool:
    """Whether a fault on this entry finds a page in the swap cache that is not up to date."""
    page, mapping = pte.page, pte.vma.mapping
    if pte.kind == SWAP:
        return bool(page.flags & pg.SWAPCACHE) and not page.flags & pg.UPTODATE
    return pte.kind == NONE and mapping is not None and has_no_contents(mapping, page)


def do_page_fault(kernel: Kernel, vma: Vma, pte: Pte, failure: MemoryFailure) -> str:
    """User space touches the entry; poison is answered with SIGBUS BUS_MCEERR_AR that cannot be escaped."""
    if pte.kind == PRESENT:
        return OK
    page = pte.page
    if meets_poison(pte):  # do_swap_page() asks this first
        kernel.reach(f"fault:{pte.kind}")
        return do_sigbus(kernel, vma, page.pgoff, BUS_MCEERR_AR, failure)
    if _finds_no_contents(pte):
        return do_sigbus(kernel, vma, page.pgoff, BUS_ADRERR, failure)
    if pte.kind == SWAP:
        if page.flags & pg.SWAPCACHE:
            return OK
        kernel.reach("fault:reread_swap")
        return REREAD_SWAP
    if pte.kind == NONE and vma.mapping is not None:
        if not vma.mapping.accounts_dirty:
            return ZEROES
        kernel.reach("fault:reread_disk")
        return STALE if page.lost_bytes else REREAD_DISK
    return ZEROES


def do_fault(kernel: Kernel, vma: Vma, page: Page, failure: MemoryFailure) -> str:
    """The fault handler of a file found its page in the cache: OK, or it is poisoned (patch 6)."""
    if page.flags & pg.HWPOISON:
        kernel.reach("fault:cached")
        return do_sigbus(kernel, vma, page.pgoff, BUS_MCEERR_AR, failure)
    return OK if page.flags & pg.UPTODATE else BUS_ERROR


def do_sigbus(kernel: Kernel, vma: Vma, pgoff: int, code: str, failure: MemoryFailure) -> str:
    """A signal that cannot be escaped, for VM_FAULT_HWPOISON (with a message) or for VM_FAULT_SIGBUS."""
    address = vma.address(pgoff)
    poison = code == BUS_MCEERR_AR
    if poison:
        kernel.printk("fault", vma.task.comm, vma.task.pid, address)
    kernel.reach("signal:AR" if poison else "signal:ADRERR")
    force_sig_info(kernel, Signal(vma.task, SIGBUS, code, Cause.LATE, failure, address, False, vma))
    return KILLED_AR if poison else BUS_ERROR


def copy_user(kernel: Kernel, vma: Vma, pte: Pte) -> int:
    """The kernel copies from or to user memory: poison gives no signal but -EFAULT; 0 otherwise."""
    if pte.kind != PRESENT and is_fatal(pte):
        kernel.reach("fault:EFAULT")
        kernel.event("efault", task=vma.task.name)
        return -EFAULT
    return 0


def copy_page_range(kernel: Kernel, parent: Vma, child: Vma) -> None:
    """fork(): poison and swap entries are copied to the child.

    Page tables of shared mappings are not copied: a fault will fill them (mm/memory.c, 2.6.30).
    """
    if parent.shared and not parent.region.layout.is_hugetlb:
        return
    inherited = False
    for pgoff, pte in parent.ptes.items():
        if pte.kind == PRESENT:
            if pte.page.ptes.get(parent) is pte:
                pte.writable = False  # copy on write from now on
                copy = pte.page.map(child, dirty=pte.dirty, writable=pte.writable)
                child.ptes[pgoff] = copy
            continue
        copy = Pte(child, pte.page)
        copy.kind = pte.kind
        child.ptes[pgoff] = copy
        inherited = inherited or meets_poison(copy)
    if inherited:
        kernel.reach("fork:poison_copied")
    kernel.watcher.entries_copied(child)


# -- cutting pages out of a file that tasks map: truncate() asks for even_cows, and zap_pte_range() then drops
# whatever stands in the range, poison and swap entries too, in every kernel


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
