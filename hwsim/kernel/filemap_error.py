"""Who is told of a lost write: AS_EIO, as mm/filemap.c and fs/fs-writeback.c of 2.6.3x have it.

The bit belongs to the mapping, not to an open file: whoever asks first is told, and it is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.kernel.struct_page import AddressSpace

if TYPE_CHECKING:
    from hwsim.kernel.system import Kernel

EIO = 5


def filemap_check_errors(kernel: Kernel, mapping: AddressSpace) -> int:
    """fsync(), fdatasync(), msync(MS_SYNC), on NFS also close(): -EIO once, then 0."""
    if not mapping.as_eio:
        return 0
    mapping.as_eio = False
    kernel.reach("eio:reported")
    return -EIO


def sync_swallows(kernel: Kernel, mapping: AddressSpace) -> bool:
    """sync() waits for the mapping too and throws the error away; True if there was one."""
    if not mapping.as_eio:
        return False
    mapping.as_eio = False
    kernel.reach("eio:swallowed_by_sync")
    return True
