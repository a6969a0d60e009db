"""The kinds of page: what a scenario can say of each, how a picture shows it, and which file here knows it.

A kind is a file of this folder, with its :class:`~hwsim.memory.kinds.behaviour.Behaviour`, and an entry of
:data:`KINDS`.  The entry stands here because a scenario is checked, and a picture drawn, without the model:
nothing that this file imports runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple


class RegionUse(NamedTuple):
    """A kind that a region of a task can have.

    ``shared``: whether all tasks of a group see the same frames, if the region does not say; ``sharing`` is
    why it can say nothing else, '' if it can.  ``filesystem``: the one whose inode holds the pages.
    """

    shared: bool
    sharing: str = ""
    filesystem: str = ""
    of_file: bool = False  # it maps a file, which has the frames
    copied_at_fork: bool = False  # forked children have frames of their own for what they store to
    huge_pages: tuple[tuple[str, int], ...] = ()  # sizes and orders; without a choice the first
    swapped: bool = False

    @property
    def huge(self) -> bool:
        """Whether it is compound pages of one of these sizes."""
        return bool(self.huge_pages)


class PoolUse(NamedTuple):
    """A kind that memory of the kernel can have: orders of its allocations, and whether they are freed."""

    order: int = 0  # if the pool does not say
    smallest: int = 0
    largest: int | None = None  # None: that of the page allocator
    freed: bool = True


class PageKind(NamedTuple):
    """``module``: its file here.  ``shown``: words and colour on a memory map.

    ``filesystems``: whose files have pages of this kind, if not :data:`FILE`.
    """

    module: str
    shown: tuple[str, str]
    region: RegionUse | None = None
    pool: PoolUse | None = None
    filesystems: tuple[str, ...] = ()


_KERNEL: Final = ("kernel", "#C9B99A")
FILE: Final = "file"
FREE: Final = "free"

KINDS: Final[dict[str, PageKind]] = {
    "anon": PageKind(
        "anon",
        ("anonymous", "#56B4E9"),
        RegionUse(
            shared=False,
            sharing='false; memory that tasks share is kind = "shm"',
            copied_at_fork=True,
            swapped=True,
        ),
    ),
    "shm": PageKind(
        "shm",
        ("shared memory", "#0072B2"),
        RegionUse(shared=True, sharing="true", filesystem="tmpfs", swapped=True),
    ),
    FILE: PageKind(
        "file",
        ("page cache", "#9BD6B8"),
        RegionUse(shared=True, sharing="true (private mappings of files are not modelled)", of_file=True),
    ),
    "blockdev": PageKind("file", ("block device", "#009E73"), filesystems=("blockdev",)),
    "hugetlb": PageKind(
        "hugetlb",
        ("huge pages", "#CC79A7"),
        RegionUse(shared=False, filesystem="hugetlbfs", huge_pages=(("2 MiB", 9), ("1 GiB", 18))),
    ),
    "slab": PageKind("kernel_pool", _KERNEL, pool=PoolUse(largest=0)),
    "slab_multi": PageKind("kernel_pool", _KERNEL, pool=PoolUse(order=3, smallest=1)),
    "page_table": PageKind("kernel_pool", _KERNEL, pool=PoolUse(largest=0)),
    "kernel_stack": PageKind("kernel_pool", _KERNEL, pool=PoolUse(order=1)),
    "high_order": PageKind("kernel_pool", _KERNEL, pool=PoolUse(order=2, smallest=1)),
    "reserved": PageKind("kernel_pool", _KERNEL, pool=PoolUse(largest=0, freed=False)),
    FREE: PageKind("free", ("free", "#F4F4F4")),
}
REGIONS: Final = {name: kind.region for name, kind in KINDS.items() if kind.region is not None}
POOLS: Final = {name: kind.pool for name, kind in KINDS.items() if kind.pool is not None}
SHARED_BY_DEFAULT: Final = (  # for descriptions of the key
    f"default: true for {' and '.join(name for name, use in REGIONS.items() if use.shared)}, "
    f"false for {' and '.join(name for name, use in REGIONS.items() if not use.shared)}"
)


def kind_of_file(filesystem: str) -> str:
    """The kind of the pages of a file on ``filesystem``."""
    return next((name for name, kind in KINDS.items() if filesystem in kind.filesystems), FILE)


def named(kinds: Iterable[str]) -> str:
    """``kind = "anon" or "shm"``, for messages."""
    return "kind = " + " or ".join(f'"{name}"' for name in kinds)
