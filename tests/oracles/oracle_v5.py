"""A second, independent transcription of the decision taken by memory_failure() in HWPOISON v5.

Sources: "[PATCH] [13/16] HWPOISON: The high level memory error handler in the VM v5", Message-ID
20090603184648.2E2131D028F@basil.firstfloor.org; patches 8 to 12 of that series; for what surrounds it
mm/rmap.c, mm/truncate.c, mm/vmscan.c and kernel/printk.c of Linux 2.6.30 to 2.6.32.

It knows no time, no locks and no simulator: one page goes in, everything v5 says and does about it comes
out. It shares nothing with the model it is compared with, so that a misreading has to be made twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

ERR, INFO, DEBUG = 3, 6, 7
FAILED, DELAYED, IGNORED, RECOVERED = "Failed", "Delayed", "Ignored", "Recovered"
UNMAP_TRIES = 5
SWAP_AGAIN = 1  # the only reason left for a failed unmap once mlock and the access bit are ignored

KERNEL_FLAGS = ("reserved", "slab", "head", "tail")  # such a page is never unmapped
FLAGS = (*KERNEL_FLAGS, "buddy", "swapcache", "dirty", "unevictable", "mlocked", "lru", "swapbacked")
Exit = Literal["outside", "already", "free_or_high_order", "already_unmapped", "table"]
Pte = Literal["poison", "swap", "none", "present"]
Mapping = Literal["file", "blockdev", "tmpfs", "ramfs", "swapper"]
Line = tuple[int, str]


@dataclass(frozen=True)
class Config:
    """The three build options that change the table."""

    unevictable_lru: bool = True
    mlocked_page_bit: bool = True
    pageflags_extended: bool = True


ALL_ON, NO_UNEVICTABLE, NO_MLOCKED = Config(), Config(unevictable_lru=False), Config(mlocked_page_bit=False)


@dataclass(frozen=True)
class Mapper:
    """A process (thread-group leader) that maps the page, or whose VMAs could map it."""

    name: str
    pid: int
    mapped: bool = True  # has a present PTE; one PTE, one reference
    pte_dirty: bool = False
    writable: bool = False  # counts only for the clean check, which takes a writable PTE for a dirty one
    address_found: bool = True  # the page's address lies inside the VMA
    shares: bool = True  # a VMA hangs on the anon_vma, or covers the file offset
    vmas: int = 1  # how many such VMAs: each is collected on its own


@dataclass(frozen=True)
class PageCase:
    """The page as memory_failure() finds it."""

    flags: frozenset[str] = frozenset()
    count: int | None = None  # all references before the call, pins too; None: add up the holders
    pfn: int = 0x1234
    valid: bool = True
    hwpoison: bool = False
    anon: bool = False
    mapping: Mapping | None = None  # what page_mapping() gives
    private: Literal["idle", "busy"] | None = None  # buffers
    pagevec: Literal["local", "other"] | None = None
    writeback: bool = False  # only waited for: it changes nothing but the time
    mappers: tuple[Mapper, ...] = ()  # in task list order
    early_kill: Literal[0, 1] = 1
    unmap_failures: int = 0  # tries that fail; 5 or more is total failure
    preallocation_fails: bool = False
    further_allocation_fails: frozenset[int] = frozenset()  # pids whose atomic allocation fails
    pins: int = 0
    config: Config = ALL_ON

    @property
    def held(self) -> int:
        """References before the call."""
        if self.count is not None:
            return self.count
        holders = (self.mapping, self.private, self.pagevec)  # a cache, the buffers, an LRU pagevec
        base = sum(m.mapped for m in self.mappers) + sum(holder is not None for holder in holders)
        user_or_free = self.anon or self.flags & {"buddy", "lru", "swapbacked"}
        owned = not user_or_free or not self.flags.isdisjoint(KERNEL_FLAGS)
        return base + (base == 0 and owned) + self.pins  # kernel memory is held by its owner


@dataclass(frozen=True)
class Decision:
    """What v5 says and leaves behind. Row is 0, and handler empty, when the table was not reached."""

    exit: Exit
    row: int
    message: str
    handler: str
    outcome: str
    log: tuple[Line, ...]
    signals: tuple[tuple[int, str, str], ...]
    ptes: dict[str, Pte]
    users: int
    bad_pages_delta: int
    hwpoison: bool
    ref_kept: bool
    flags_after: frozenset[str]
    as_eio: bool
    in_page_cache: bool
    in_swap_cache: bool
    data_lost: bool


class Row(NamedTuple):
    number: int
    must: set[str]
    mustnot: set[str]
    message: str
    handler: str


TABLE = (
    Row(1, {"reserved"}, set(), "reserved kernel", "me_ignore"),
    Row(2, {"buddy"}, set(), "free kernel", "me_free"),
    Row(3, {"slab"}, set(), "kernel slab", "me_kernel"),
    Row(4, {"head"}, set(), "huge", "me_huge_page"),
    Row(5, {"tail"}, set(), "huge", "me_huge_page"),
    Row(6, {"swapcache", "dirty"}, set(), "swapcache", "me_swapcache_dirty"),
    Row(7, {"swapcache"}, {"dirty"}, "swapcache", "me_swapcache_clean"),
    Row(8, {"unevictable", "dirty"}, set(), "unevictable LRU", "me_pagecache_dirty"),
    Row(9, {"unevictable"}, set(), "unevictable LRU", "me_pagecache_clean"),
    Row(10, {"mlocked", "dirty"}, set(), "mlocked LRU", "me_pagecache_dirty"),
    Row(11, {"mlocked"}, set(), "mlocked LRU", "me_pagecache_clean"),
    Row(12, {"lru", "dirty"}, set(), "LRU", "me_pagecache_dirty"),
    Row(13, {"lru"}, {"dirty"}, "clean LRU", "me_pagecache_clean"),
    Row(14, {"swapbacked"}, set(), "anonymous", "me_pagecache_clean"),
    Row(15, set(), set(), "unknown page state", "me_unknown"),
)
IDLE = {"me_ignore": IGNORED, "me_free": DELAYED, "me_kernel": DELAYED, "me_huge_page": FAILED}


def existing(flags: frozenset[str], config: Config) -> frozenset[str]:
    """The flags whose bits exist in this build."""
    gone = set() if config.unevictable_lru else {"unevictable"}
    return flags - gone - (set() if config.mlocked_page_bit else {"mlocked"})


def find_row(flags: frozenset[str], config: Config = ALL_ON) -> Row:
    """First match. Without PAGEFLAGS_EXTENDED one bit marks head and tail alike, and one row takes both."""
    seen = existing(flags, config)
    if not config.pageflags_extended and "tail" in seen:
        seen = seen - {"tail"} | {"head"}
    return next(row for row in TABLE if row.must <= seen and not row.mustnot & seen)


def contradictions(case: PageCase) -> tuple[str, ...]:
    """Why no page can look like this, or why v5 would crash on it instead of deciding."""
    found = [f"unknown flag {flag}" for flag in sorted(case.flags - set(FLAGS))]
    swapcache = "swapcache" in case.flags
    if swapcache != (case.mapping == "swapper"):
        found.append("page_mapping() gives the swapper exactly for a page in swap cache")
    if case.anon and case.mapping not in (None, "swapper"):
        found.append("an anonymous page has no file mapping")
    if len({m.name for m in case.mappers}) != len(case.mappers):
        found.append("two mappers have one name")
    # The unmap of a page that is not anonymous follows page->mapping without a check (mm/rmap.c).
    null_mapping = not case.anon and (case.mapping is None or swapcache)
    started = case.valid and not case.hwpoison and case.held > 0 and case.flags.isdisjoint(KERNEL_FLAGS)
    if started and null_mapping and any(m.mapped for m in case.mappers):
        found.append("mapped, not anonymous, page->mapping is NULL: v5 follows the NULL pointer")
    return tuple(found)


@dataclass
class _Page:
    case: PageCase
    flags: set[str]
    count: int
    in_page_cache: bool
    ptes: dict[str, Pte]
    log: list[Line] = field(default_factory=list)
    signals: list[tuple[int, str, str]] = field(default_factory=list)
    as_eio: bool = False
    data_lost: bool = False

    @property
    def mce(self) -> str:
        return f"MCE {self.case.pfn:#x}"  # number() in lib/vsprintf.c writes 0x before zero too

    @property
    def mapped(self) -> list[Mapper]:
        return [m for m in self.case.mappers if self.ptes[m.name] == "present"]

    def say(self, level: int, text: str) -> None:
        self.log.append((level, text))

    def drop_ptes(self, become: Pte) -> None:
        for mapper in self.mapped:
            self.ptes[mapper.name] = become
            self.count -= 1


def _collect(page: _Page) -> list[tuple[Mapper, bool]]:
    """The kill list: (process, address known), one entry for each VMA that shares, mapped there or not."""
    found, spare = [], not page.case.preallocation_fails
    for mapper in page.case.mappers:
        for _ in range(mapper.vmas if mapper.shares else 0):
            if not spare and mapper.pid in page.case.further_allocation_fails:
                page.say(ERR, "MCE: Out of memory while machine check handling")
                continue
            spare = False
            if not mapper.address_found:
                page.say(DEBUG, f"MCE: Unable to find user space address {page.case.pfn:x} in {mapper.name}")
            found.append((mapper, mapper.address_found))
    return found


def _user_mappings(page: _Page) -> None:
    case = page.case
    if not page.flags.isdisjoint(KERNEL_FLAGS):
        return
    if "lru" not in page.flags and case.pagevec == "local":
        page.flags.add("lru")
        page.count -= 1
    if not page.mapped:
        return
    kill, plant_poison = bool(case.early_kill), True
    if "swapcache" in page.flags:
        page.say(ERR, f"{page.mce}: keeping poisoned page in swap cache")
        plant_poison = False
    disk_backed = case.mapping in ("file", "blockdev")  # the two that account dirty pages
    if "dirty" not in page.flags and not case.anon and "swapbacked" not in page.flags and disk_backed:
        if any(m.pte_dirty or m.writable for m in page.mapped):
            page.flags.add("dirty")
        else:
            kill = plant_poison = False
            page.say(INFO, f"{page.mce}: corrupted page was clean: dropped without side effects")
    victims = _collect(page) if kill else []
    for _ in range(min(case.unmap_failures, UNMAP_TRIES)):
        page.say(DEBUG, f"{page.mce}: try_to_unmap retry needed {SWAP_AGAIN}")
    failed = case.unmap_failures >= UNMAP_TRIES
    if not failed:
        if any(m.pte_dirty for m in page.mapped):
            page.flags.add("dirty")
        page.drop_ptes("poison" if plant_poison else "swap" if case.anon else "none")
    for mapper, address_known in victims if "dirty" in page.flags else []:
        who = f"{mapper.name}:{mapper.pid}"
        if failed or not address_known:
            page.say(ERR, f"{page.mce}: forcibly killing {who} because of failure to unmap corrupted page")
            page.signals.append((mapper.pid, "SIGKILL", ""))
        else:
            page.say(ERR, f"{page.mce}: Killing {who} early due to hardware memory corruption")
            page.signals.append((mapper.pid, "SIGBUS", "BUS_MCEERR_AO"))


def _pagecache(page: _Page) -> str:
    """Isolation is neutral for the count; truncation drops PTEs, idle buffers and the cache's reference."""
    page.flags.discard("lru")
    if page.case.mapping == "blockdev" and page.count > 1:
        page.say(ERR, f"{page.mce}: page looks like a unsupported file system metadata page")
        return FAILED
    if page.case.mapping is None:
        page.data_lost = page.case.anon
        return RECOVERED
    page.data_lost = "dirty" in page.flags or any(m.pte_dirty for m in page.mapped)
    page.drop_ptes("none")
    if page.case.private == "idle":
        page.count -= 1
    page.flags -= {"dirty", "mlocked"}
    page.in_page_cache = False
    page.count -= 1
    if page.case.private == "busy":
        # Two level markers: the log takes the first and prints the second.
        page.say(DEBUG, f"<3>{page.mce}: failed to release buffers")
        return FAILED
    return RECOVERED


def _handle(page: _Page, handler: str) -> str:
    if handler in IDLE:
        return IDLE[handler]
    if handler == "me_unknown":
        page.say(ERR, f"{page.mce}: Unknown page state")
        return FAILED
    if handler == "me_swapcache_dirty":
        page.flags -= {"dirty", "lru"}
        page.data_lost = True
        return DELAYED
    if handler == "me_swapcache_clean":
        page.flags -= {"swapcache", "lru"}
        page.count -= 1
        page.data_lost = bool(page.mapped)  # still mapped means no swap entry holds the slot for it
        return RECOVERED
    if handler == "me_pagecache_dirty":
        page.as_eio = page.case.mapping is not None
    return _pagecache(page)


def decide(case: PageCase) -> Decision:
    """Everything v5 says and does about this page; ValueError for a page that cannot be."""
    if problems := contradictions(case):
        raise ValueError("; ".join(problems))
    flags = existing(case.flags, case.config) if case.valid else frozenset()
    before: dict[str, Pte] = {m.name: "present" if m.mapped else "none" for m in case.mappers}
    page = _Page(case, set(flags), case.held, case.mapping not in (None, "swapper"), before)

    def done(exit_: Exit, message: str, outcome: str = IGNORED, row: Row | None = None) -> Decision:
        dirty = "dirty " if "dirty" in page.flags else ""  # read only now; and the slots are misordered
        page.say(ERR, f"{page.mce}: {dirty} page recovery: {message}{outcome}")
        if row and page.count != 1:
            page.say(ERR, f"{page.mce}: {message} page still referenced by {page.count - 1} users")
        # fmt: off
        return Decision(
            exit=exit_, row=row.number if row else 0, message=message, handler=row.handler if row else "",
            outcome=outcome, log=tuple(page.log), signals=tuple(page.signals), ptes=page.ptes,
            users=page.count - 1 if row else 0, bad_pages_delta=int(row is not None), hwpoison=case.valid,
            ref_kept=exit_ in ("already_unmapped", "table"), flags_after=frozenset(page.flags),
            as_eio=page.as_eio, in_page_cache=page.in_page_cache, in_swap_cache="swapcache" in page.flags,
            data_lost=page.data_lost,
        )
        # fmt: on

    if not case.valid:
        return done("outside", "memory outside kernel control")
    if case.hwpoison:
        return done("already", "already hardware poisoned")
    if page.count == 0:
        return done("free_or_high_order", "free or high order kernel")
    page.count += 1
    _user_mappings(page)
    if "lru" in page.flags and "swapcache" not in page.flags and not case.anon and case.mapping is None:
        return done("already_unmapped", "already unmapped LRU")
    row = find_row(frozenset(page.flags), case.config)
    return done("table", row.message, _handle(page, row.handler), row)


#: Flags, then the row with everything built in, without the unevictable rows, without the mlocked rows.
# fmt: off
VECTORS: tuple[tuple[str, int, int, int], ...] = (
    ("reserved slab", 1, 1, 1), ("buddy", 2, 2, 2), ("slab head", 3, 3, 3), ("head lru", 4, 4, 4),
    ("tail", 5, 5, 5), ("swapcache dirty lru swapbacked mlocked unevictable", 6, 6, 6),
    ("swapcache lru swapbacked", 7, 7, 7), ("unevictable lru dirty", 8, 12, 8), ("unevictable lru", 9, 13, 9),
    ("unevictable mlocked lru dirty swapbacked", 8, 10, 8), ("mlocked lru dirty", 10, 10, 12),
    ("mlocked lru", 11, 11, 13), ("mlocked dirty", 10, 10, 15), ("lru dirty swapbacked", 12, 12, 12),
    ("lru swapbacked", 13, 13, 13), ("swapbacked dirty", 14, 14, 14), ("dirty", 15, 15, 15), ("", 15, 15, 15),
    ("unevictable", 9, 15, 9),
)
# fmt: on


def flagset(names: str) -> frozenset[str]:
    return frozenset(names.split())


_APP = (Mapper("app", 100),)
_DIRTY, _SWAP = flagset("lru dirty"), flagset("swapcache lru swapbacked")
_CASES = {
    "anon dirty, mapped once": PageCase(flagset("lru dirty swapbacked"), anon=True, mappers=_APP),
    "file clean, mapped": PageCase(flagset("lru"), mapping="file", mappers=_APP),
    "file dirty, written with write(), unmapped": PageCase(_DIRTY, mapping="file", private="idle"),
    "swap cache dirty, mapped": PageCase(_SWAP | {"dirty"}, anon=True, mapping="swapper", mappers=_APP),
    "swap cache clean, unmapped": PageCase(_SWAP, anon=True, mapping="swapper"),
    "free page": PageCase(flagset("buddy")),
    "second report of a page": PageCase(hwpoison=True),
    "order-0 slab": PageCase(flagset("slab")),
    "reserved": PageCase(flagset("reserved")),
    "page table page": PageCase(),
    "block device, clean, with buffers": PageCase(flagset("lru"), mapping="blockdev", private="idle"),
}
# In the order of the cases, each begins with a dash; the level stands before each line.
_LINES = """
- 3 MCE 0x1234: Killing app:100 early due to hardware memory corruption
  3 MCE 0x1234: dirty  page recovery: LRURecovered
- 6 MCE 0x1234: corrupted page was clean: dropped without side effects
  3 MCE 0x1234:  page recovery: clean LRURecovered
- 3 MCE 0x1234:  page recovery: LRURecovered
- 3 MCE 0x1234: keeping poisoned page in swap cache
  3 MCE 0x1234: Killing app:100 early due to hardware memory corruption
  3 MCE 0x1234:  page recovery: swapcacheDelayed
  3 MCE 0x1234: swapcache page still referenced by 1 users
- 3 MCE 0x1234:  page recovery: swapcacheRecovered
- 3 MCE 0x1234:  page recovery: free or high order kernelIgnored
- 3 MCE 0x1234:  page recovery: already hardware poisonedIgnored
- 3 MCE 0x1234:  page recovery: kernel slabDelayed
  3 MCE 0x1234: kernel slab page still referenced by 1 users
- 3 MCE 0x1234:  page recovery: reserved kernelIgnored
  3 MCE 0x1234: reserved kernel page still referenced by 1 users
- 3 MCE 0x1234: Unknown page state
  3 MCE 0x1234:  page recovery: unknown page stateFailed
  3 MCE 0x1234: unknown page state page still referenced by 1 users
- 3 MCE 0x1234: page looks like a unsupported file system metadata page
  3 MCE 0x1234:  page recovery: clean LRUFailed
  3 MCE 0x1234: clean LRU page still referenced by 2 users"""

TRANSCRIPTS: dict[str, tuple[PageCase, tuple[Line, ...]]] = {
    name: (case, tuple((int(line[0]), line[2:]) for line in block.split("\n  ")))
    for (name, case), block in zip(_CASES.items(), _LINES.split("\n- ")[1:], strict=True)
}
