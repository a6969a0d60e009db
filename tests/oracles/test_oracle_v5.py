"""Self checks of the oracle: it must agree with the published facts before anything is compared with it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from typing import Literal

import pytest

from tests.oracles.oracle_v5 import (
    ALL_ON,
    DEBUG,
    ERR,
    FLAGS,
    INFO,
    NO_MLOCKED,
    NO_UNEVICTABLE,
    TRANSCRIPTS,
    VECTORS,
    Config,
    Mapper,
    PageCase,
    contradictions,
    decide,
    find_row,
    flagset,
)

APP, CHILD = Mapper("app", 100), Mapper("child", 101, mapped=False)
ANON = PageCase(flagset("lru dirty swapbacked"), anon=True, mappers=(APP,))
CLEAN_ANON = replace(ANON, flags=flagset("lru swapbacked"))
FILE = PageCase(flagset("lru"), mapping="file", mappers=(APP,))
BLOCK = PageCase(flagset("lru"), mapping="blockdev")
SWAP = PageCase(flagset("swapcache lru dirty swapbacked"), anon=True, mapping="swapper", mappers=(APP,))
RAMFS = PageCase(flagset("unevictable lru"), mapping="ramfs", mappers=(APP,))
TMPFS = PageCase(flagset("lru swapbacked"), mapping="tmpfs", mappers=(APP,))


def anon(flags: str) -> PageCase:
    return replace(ANON, flags=flagset(flags))


#: One page for each row, and how many users remain when nobody odd holds it.
ROW_CASES: dict[int, tuple[PageCase, int]] = {
    1: (PageCase(flagset("reserved")), 1),
    2: (PageCase(flagset("buddy"), pins=1), 1),
    3: (PageCase(flagset("slab head")), 1),
    4: (PageCase(flagset("head")), 1),
    5: (PageCase(flagset("tail")), 1),
    6: (SWAP, 1),
    7: (replace(SWAP, flags=SWAP.flags - {"dirty"}), 0),
    8: (anon("unevictable mlocked lru dirty swapbacked"), 0),
    9: (replace(FILE, flags=flagset("unevictable mlocked lru")), 0),
    10: (anon("mlocked lru dirty swapbacked"), 0),
    11: (replace(FILE, flags=flagset("mlocked lru")), 0),
    12: (ANON, 0),
    13: (FILE, 0),
    14: (replace(anon("swapbacked dirty"), pagevec="other"), 1),
    15: (replace(FILE, flags=flagset("dirty"), pagevec="other"), 2),
}


def texts(case: PageCase) -> list[str]:
    return [text for _, text in decide(case).log]


def test_row_counts_over_all_flags() -> None:
    every = [frozenset(some) for n in range(len(FLAGS) + 1) for some in combinations(FLAGS, n)]
    counts = Counter(find_row(flags).number for flags in every)
    assert [counts[n] for n in range(1, 16)] == [1024, 512, 256, 128, 64, 16, 16, 8, 8, 4, 4, 2, 2, 2, 2]
    assert len(every) == sum(counts.values()) == 2048


@pytest.mark.parametrize(("names", "everything", "no_unevictable", "no_mlocked"), VECTORS)
def test_vectors(names: str, everything: int, no_unevictable: int, no_mlocked: int) -> None:
    flags = flagset(names)
    rows = [find_row(flags, config).number for config in (ALL_ON, NO_UNEVICTABLE, NO_MLOCKED)]
    assert rows == [everything, no_unevictable, no_mlocked]


def test_one_compound_row_takes_head_and_tail() -> None:
    config = Config(pageflags_extended=False)
    assert [find_row(flagset(f), config).number for f in ("head", "tail", "head tail", "slab tail")] == [
        4,
        4,
        4,
        3,
    ]


def test_without_the_extended_flags_other_rows_stay() -> None:
    config = Config(pageflags_extended=False)
    assert all(
        find_row(flagset(names), config) == find_row(flagset(names)) for names in ("lru", "dirty", "slab")
    )


def test_a_missing_bit_is_not_seen_by_anybody() -> None:
    got = decide(replace(ROW_CASES[9][0], config=NO_UNEVICTABLE))
    assert (got.row, got.message) == (11, "mlocked LRU")
    assert "unevictable" not in got.flags_after


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(name: str) -> None:
    case, lines = TRANSCRIPTS[name]
    assert decide(case).log == lines


def test_there_are_eleven_transcripts() -> None:
    assert (len(TRANSCRIPTS), len(VECTORS)) == (11, 19)


@pytest.mark.parametrize("row", ROW_CASES)
def test_row_users_and_one_pin_is_one_user(row: int) -> None:
    case, users = ROW_CASES[row]
    plain, pinned = decide(case), decide(replace(case, pins=case.pins + 1))
    assert (plain.row, plain.users, pinned.row, pinned.users) == (row, users, row, users + 1)
    assert pinned.outcome == plain.outcome  # in v5 the count is only a message
    shared = plain.log[:-1] if users else plain.log
    line = f"MCE 0x1234: {plain.message} page still referenced by {users + 1} users"
    assert pinned.log == (*shared, (ERR, line))
    assert replace(pinned, log=plain.log, users=users) == plain  # and nothing else
    assert (plain.bad_pages_delta, plain.ref_kept, plain.hwpoison) == (1, True, True)


@pytest.mark.parametrize(
    ("case", "held"),
    [
        (ANON, 1),
        (SWAP, 2),
        (replace(FILE, private="idle", pagevec="other", pins=3), 7),
        (replace(ANON, mappers=(APP, CHILD, replace(APP, name="sister", pid=102))), 2),
        (PageCase(), 1),
        (PageCase(flagset("head lru")), 1),
        (PageCase(flagset("slab"), pins=1), 2),
        (PageCase(flagset("buddy")), 0),
        (PageCase(flagset("lru")), 0),
        (PageCase(flagset("swapbacked")), 0),
        (PageCase(anon=True), 0),
    ],
)
def test_who_holds_the_page(case: PageCase, held: int) -> None:
    assert case.held == held


def test_explicit_count_replaces_the_ledger() -> None:
    assert decide(PageCase(count=0)).exit == "free_or_high_order"
    assert decide(PageCase(flagset("slab"), count=7)).users == 7


@pytest.mark.parametrize(
    ("case", "exit_", "hwpoison", "ref_kept"),
    [
        (PageCase(valid=False), "outside", False, False),
        (replace(ANON, hwpoison=True), "already", True, False),
        (PageCase(flagset("buddy")), "free_or_high_order", True, False),
        (PageCase(flagset("lru"), pins=1), "already_unmapped", True, True),
        (PageCase(flagset("head lru"), pins=1), "already_unmapped", True, True),
    ],
)
def test_exits_before_the_table(case: PageCase, exit_: str, hwpoison: bool, ref_kept: bool) -> None:
    got = decide(case)
    assert (got.exit, got.hwpoison, got.ref_kept) == (exit_, hwpoison, ref_kept)
    assert (got.row, got.handler, got.outcome, got.bad_pages_delta, got.users) == (0, "", "Ignored", 0, 0)
    assert got.ptes == {m.name: "present" for m in case.mappers}
    assert (got.signals, len(got.log)) == ((), 1)


def test_second_report_of_a_dirty_page_says_dirty() -> None:
    line = "MCE 0x1234: dirty  page recovery: already hardware poisonedIgnored"
    assert texts(replace(ANON, hwpoison=True)) == [line]


def test_pfn_zero_has_no_prefix() -> None:
    assert texts(PageCase(pfn=0, valid=False)) == [
        "MCE 0x0:  page recovery: memory outside kernel controlIgnored"
    ]


@pytest.mark.parametrize(
    ("case", "pte", "signals"),
    [
        (ANON, "poison", 1),
        (CLEAN_ANON, "poison", 0),
        (TMPFS, "poison", 0),
        (RAMFS, "poison", 0),
        (FILE, "none", 0),
        (SWAP, "swap", 1),
        (replace(FILE, flags=flagset("lru dirty")), "poison", 1),
        (replace(FILE, mappers=(replace(APP, pte_dirty=True),)), "poison", 1),
        (replace(FILE, mappers=(replace(APP, writable=True),)), "poison", 1),
        (replace(TMPFS, mappers=(replace(APP, writable=True),)), "poison", 0),
        (replace(TMPFS, mappers=(replace(APP, pte_dirty=True),)), "poison", 1),
    ],
)
def test_what_the_pte_becomes(case: PageCase, pte: str, signals: int) -> None:
    got = decide(case)
    assert got.ptes == {"app": pte}
    assert len(got.signals) == signals
    late = decide(replace(case, early_kill=0))
    assert late.ptes == got.ptes
    assert late.signals == ()
    assert late.row == got.row


def test_the_dirty_bit_of_a_pte_chooses_the_row() -> None:
    dirty = (replace(APP, pte_dirty=True),)
    assert [decide(replace(c, mappers=dirty)).row for c in (FILE, TMPFS, CLEAN_ANON)] == [12, 12, 12]
    clean_swap = replace(SWAP, flags=SWAP.flags - {"dirty"})
    assert (decide(clean_swap).row, decide(replace(clean_swap, mappers=dirty)).row) == (7, 6)


def test_guilt_by_association() -> None:
    far = replace(CHILD, name="far", pid=102, address_found=False)
    stranger = replace(CHILD, name="stranger", pid=103, shares=False)
    got = decide(replace(ANON, mappers=(APP, CHILD, far, stranger)))
    told = [(pid, "SIGBUS", "BUS_MCEERR_AO") for pid in (100, 101)]
    assert got.signals == (*told, (102, "SIGKILL", ""))
    assert got.log[0] == (DEBUG, "MCE: Unable to find user space address 1234 in far")
    assert got.ptes == {"app": "poison", "child": "none", "far": "none", "stranger": "none"}


def test_a_lost_address_is_a_forced_kill() -> None:
    assert texts(replace(ANON, mappers=(replace(APP, address_found=False),))) == [
        "MCE: Unable to find user space address 1234 in app",
        "MCE 0x1234: forcibly killing app:100 because of failure to unmap corrupted page",
        "MCE 0x1234: dirty  page recovery: LRURecovered",
    ]


def test_each_matching_vma_is_told() -> None:
    assert [s[0] for s in decide(replace(ANON, mappers=(replace(APP, vmas=3),))).signals] == [100, 100, 100]


def test_allocation_failures() -> None:
    case = replace(ANON, mappers=(APP, CHILD), further_allocation_fails=frozenset({100, 101}))
    assert [s[0] for s in decide(case).signals] == [100]
    none = decide(replace(case, preallocation_fails=True))
    assert none.signals == ()
    assert none.log[:2] == ((ERR, "MCE: Out of memory while machine check handling"),) * 2
    some = replace(case, preallocation_fails=True, further_allocation_fails=frozenset({100}))
    assert [s[0] for s in decide(some).signals] == [101]


@pytest.mark.parametrize("tries", range(6))
def test_unmap_tries(tries: int) -> None:
    got = decide(replace(ANON, unmap_failures=tries))
    assert got.log[:tries] == ((DEBUG, "MCE 0x1234: try_to_unmap retry needed 1"),) * tries
    failed = tries == 5
    assert got.signals == (((100, "SIGKILL", "") if failed else (100, "SIGBUS", "BUS_MCEERR_AO")),)
    assert (got.ptes["app"], got.outcome) == ("present" if failed else "poison", "Recovered")
    assert got.users == int(failed)


def test_total_failure_kills_nobody_late_or_clean() -> None:
    unseen_dirt = replace(CLEAN_ANON, mappers=(replace(APP, pte_dirty=True),))
    for case in (replace(ANON, early_kill=0), CLEAN_ANON, unseen_dirt):
        got = decide(replace(case, unmap_failures=5))
        assert got.signals == ()
        assert got.ptes == {"app": "present"}
        assert got.users == 1


def test_truncation_zaps_what_unmapping_left() -> None:
    got = decide(replace(FILE, flags=flagset("lru dirty"), unmap_failures=9))
    assert (got.ptes, got.users, got.in_page_cache) == ({"app": "none"}, 0, False)
    assert got.signals == ((100, "SIGKILL", ""),)
    assert got.log[5][0] == ERR


def test_pagevec_of_this_cpu_is_drained_and_of_another_is_not() -> None:
    here = decide(replace(FILE, flags=frozenset(), pagevec="local"))
    there = decide(replace(FILE, flags=frozenset(), pagevec="other"))
    unmapped = decide(replace(FILE, flags=frozenset(), pagevec="local", mappers=()))
    on_lru = decide(replace(FILE, pagevec="local"))  # a page already on the LRU drains nothing
    assert [got.row for got in (here, there, unmapped, on_lru)] == [13, 15, 13, 13]
    assert [got.users for got in (here, there, unmapped, on_lru)] == [0, 2, 0, 1]


def test_huge_and_slab_pages_are_never_unmapped() -> None:
    for flags, row in (("head dirty", 4), ("tail dirty", 5), ("slab dirty", 3), ("reserved dirty", 1)):
        got = decide(PageCase(flagset(flags), mapping="file", mappers=(APP,)))
        assert (got.row, got.ptes, got.signals, got.users) == (row, {"app": "present"}, (), 2)
        assert got.log[0][1].startswith("MCE 0x1234: dirty  page recovery: ")


def test_the_clean_message_does_not_ask_for_the_kill_policy() -> None:
    assert decide(replace(FILE, early_kill=0)).log == decide(FILE).log
    assert decide(FILE).log[0][0] == INFO
    refused = decide(replace(BLOCK, mappers=(APP,)))
    assert (refused.ptes, refused.users, len(refused.log)) == ({"app": "none"}, 1, 4)


@pytest.mark.parametrize(("private", "users"), [(None, 1), ("idle", 2), ("busy", 2)])
def test_every_block_device_page_is_refused(private: Literal["idle", "busy"] | None, users: int) -> None:
    got = decide(PageCase(flagset("lru dirty"), mapping="blockdev", private=private))
    assert (got.outcome, got.users, got.as_eio) == ("Failed", users, True)
    assert got.in_page_cache
    assert not got.data_lost
    assert got.log[1] == (ERR, "MCE 0x1234: dirty  page recovery: LRUFailed")
    assert "lru" not in got.flags_after


def test_busy_buffers_survive_truncation() -> None:
    got = decide(replace(FILE, flags=flagset("lru dirty"), private="busy", mappers=()))
    assert got.log == (
        (DEBUG, "<3>MCE 0x1234: failed to release buffers"),
        (ERR, "MCE 0x1234:  page recovery: LRUFailed"),
        (ERR, "MCE 0x1234: LRU page still referenced by 1 users"),
    )
    assert not got.in_page_cache
    assert got.as_eio
    assert got.data_lost


@pytest.mark.parametrize(
    ("case", "lost", "eio"),
    [
        (ANON, True, False),
        (FILE, False, False),
        (replace(FILE, flags=flagset("lru dirty")), True, True),
        (TMPFS, False, False),
        (replace(TMPFS, flags=flagset("lru dirty swapbacked")), True, True),
        (replace(TMPFS, flags=flagset("dirty swapbacked"), pagevec="other"), True, False),
        (SWAP, True, False),
        (replace(SWAP, flags=SWAP.flags - {"dirty"}), False, False),
        (PageCase(flagset("slab")), False, False),
        (BLOCK, False, False),
    ],
)
def test_losses_and_who_is_told(case: PageCase, lost: bool, eio: bool) -> None:
    got = decide(case)
    assert (got.data_lost, got.as_eio) == (lost, eio)


def test_dirt_that_only_a_pte_knew_is_lost_without_eio() -> None:
    got = decide(replace(TMPFS, mappers=(replace(APP, pte_dirty=True),), unmap_failures=5))
    assert (got.row, got.data_lost, got.as_eio, got.ptes) == (13, True, False, {"app": "none"})


@pytest.mark.parametrize(
    "case",
    [
        PageCase(valid=False, mappers=(APP,)),
        PageCase(hwpoison=True, mappers=(APP,)),
        PageCase(count=0, mappers=(APP,)),
        PageCase(flagset("reserved"), mappers=(APP,)),
        PageCase(flagset("lru"), pins=1),
    ],
)
def test_no_null_pointer_is_followed_without_an_unmap(case: PageCase) -> None:
    assert contradictions(case) == ()


def test_flags_left_behind() -> None:
    assert decide(SWAP).flags_after == flagset("swapcache swapbacked")
    assert decide(SWAP).in_swap_cache
    clean = decide(replace(SWAP, flags=SWAP.flags - {"dirty"}))
    assert clean.flags_after == flagset("swapbacked")
    assert not clean.in_swap_cache
    assert decide(ROW_CASES[9][0]).flags_after == flagset("unevictable")
    assert decide(ROW_CASES[8][0]).flags_after == flagset("unevictable mlocked dirty swapbacked")


def test_writeback_changes_nothing() -> None:
    assert all(decide(replace(case, writeback=True)) == decide(case) for case, _ in ROW_CASES.values())


@pytest.mark.parametrize(
    "case",
    [
        PageCase(flagset("lru"), mappers=(APP,)),
        PageCase(flagset("swapcache")),
        PageCase(mapping="swapper"),
        PageCase(anon=True, mapping="file"),
        PageCase(flagset("uptodate")),
        replace(ANON, mappers=(APP, APP)),
        replace(SWAP, anon=False),
    ],
)
def test_impossible_pages_are_refused(case: PageCase) -> None:
    assert contradictions(case)
    with pytest.raises(ValueError, match=re.escape(contradictions(case)[0])):
        decide(case)
