"""How likely the pages of a file are dirty at a moment, and by whom; ``kinds/file`` draws it for one of them.

Stores count since the first one after the inode was clean, which was to one of its pages.
"""

from __future__ import annotations

from typing import NamedTuple

from hwsim.elementary import expm1
from hwsim.kernel.mm_types import Region, Vma


class Storer(NamedTuple):
    """Who may have stored to a page since its inode was clean: by write() if it is None, and how likely."""

    vma: Vma | None
    share: float


def storers(region: Region, pgoff: int, now_ns: int) -> list[Storer]:
    """Those of a page, each apart from the others; none if the inode is clean, or is never written back."""
    mapping = region.mapping
    inode = None if mapping is None else mapping.host
    if mapping is None or inode is None:
        return []
    inode.advance(now_ns)
    first_ns = inode.first_store_ns(now_ns)
    if first_ns is None:
        return []
    found = [Storer(None, -expm1(-region.touch_rates(pgoff)[1] * (now_ns - first_ns)))]
    for vma in mapping.vmas:
        if vma.covers(pgoff):
            store = vma.region.touch_rates(pgoff)[1]
            found.append(Storer(vma, -expm1(-store * (now_ns - max(first_ns, vma.since_ns)))))
    return [each for each in found if each.share > 0.0]


def first_stored(region: Region, now_ns: int) -> int | None:
    """The page offset of the first store, if it has come."""
    inode = None if region.mapping is None else region.mapping.host
    if inode is None or inode.first_store_ns(now_ns) is None:
        return None
    return inode.first_stored()
