"""References are a ledger of holders; an entry of the page table leads to its page and back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hwsim.kernel.frames import Layout
from hwsim.kernel.mm_types import CACHE, HANDLER, PIN, AddressSpace, Page, Region


def _page(pfn: int = 7) -> Page:
    return Page(pfn, Region(0, Layout("r", "file", 0, 16)), pfn, 0)


def test_each_holder_drops_what_it_holds_and_no_more() -> None:
    page = _page()
    for holder in (CACHE, PIN, PIN, PIN):
        page.get(holder)
    assert (page.count, page.holders) == (4, {CACHE: 1, PIN: 3})
    page.put(PIN)
    assert (page.count, page.holders) == (3, {CACHE: 1, PIN: 2})
    page.put(PIN)
    page.put(PIN)
    assert (page.count, page.holders) == (1, {CACHE: 1})
    for holder in (PIN, HANDLER):
        with pytest.raises(RuntimeError, match=f"pfn 0x7: {holder} dropped a reference it does not hold"):
            page.put(holder)
    page.put(CACHE)
    assert (page.count, page.holders) == (0, {})


def test_references_to_a_tail_page_are_those_of_its_head() -> None:
    head, tail = _page(8), _page(9)
    tail.head = head
    tail.get(HANDLER)
    tail.get(HANDLER)
    head.get(CACHE)
    assert (head.count, head.holders, tail.holders) == (3, {HANDLER: 2, CACHE: 1}, {})
    tail.put(HANDLER)
    assert (head.count, tail.holders) == (2, {})


def test_a_mapping_of_a_boot_that_is_over_knows_nothing_any_more() -> None:
    mapping = AddressSpace("file:data", "ext4")
    page, vma, file = _page(), SimpleNamespace(), SimpleNamespace()
    mapping.vmas.append(vma)
    mapping.files.append(file)
    mapping.pages[7] = mapping.swapped[8] = page
    mapping.tear_down()
    assert (mapping.vmas, mapping.files, mapping.pages, mapping.swapped) == ([], [], {}, {})
